//! From what was given to a configuration: every complaint is collected, none ends the reading.

mod lifetimes;
pub(super) mod operation;
mod reader;
mod values;

use kv_storage::{Fernet, SealedWith};
use oidc_proxy::{
    ClientDocuments, ClientSettings, Lifetimes, OidcProxy, OidcProxyBuilder, SigningAlgorithm,
};

#[cfg(test)]
pub(super) use self::lifetimes::LIFETIMES;
pub(super) use self::reader::items;
use self::{
    reader::Reader,
    values::{
        GOOD_CONFIG_URL, assertion_lifetime, auth_method, backend, base_url, build, config_url,
        is_loopback, key_list, listen, mcp_path, param, provider_revocation, redirect_path,
        resource_server, signing_keys, trial, with_stand_ins,
    },
};
use super::{
    Config, Given, KeyPlace, KeyPlaces, Problems, Storage,
    access::Access,
    client_settings,
    setting::{
        ALLOW_ANY_USER, ALLOW_CLAIM, ALLOW_EMAIL, ALLOW_EMAIL_DOMAIN, ALLOW_GROUP,
        ASSERTION_LIFETIME, AUDIENCE, BACKEND, BACKEND_CA_FILE, BASE_URL, CLIENT_ID,
        CLIENT_METADATA_DOCUMENTS, CLIENT_METADATA_HOSTS, CLIENT_SECRET, CONFIG_URL,
        DANGER_CLIENT_METADATA_ON_LOOPBACK, DANGER_MEMORY_STORAGE, DANGER_REPLACE_SIGNING_KEYS,
        EXTRA_AUTHORIZE_PARAMS, IDENTITY, INTROSPECTION_CLIENT, JWT_SIGNING_KEY, LISTEN,
        LOG_FORMAT, MCP_PATH, PRODUCTION, PROVIDER_REVOCATION, PROVIDER_SCOPES, REDIRECT_PATH,
        REQUIRED_SCOPES, SIGNING_ALGORITHM, STORAGE, STORAGE_CIPHER, STORAGE_ENCRYPTION_KEY,
        TOKEN_ENDPOINT_AUTH_METHOD, USERINFO,
    },
};
use crate::{backend_tls, data_dir, identity::Ways, keys::Which, log};

/// Checks everything; what was found wrong before is reported along.
pub(super) fn check(given: &Given, problems: Problems) -> Result<Config, Problems> {
    let mut reader = Reader::new(given, problems);
    let config = read(&mut reader);
    let problems = reader.into_problems();
    let Some(config) = config.filter(|_| problems.is_empty()) else { return Err(problems) };
    // Each setting is good by itself; whether all go together is seen here.
    match build(with_stand_ins(config.proxy())) {
        Ok(()) => Ok(config),
        Err(why) => {
            let mut problems = problems;
            problems.add(format!("these settings do not go together: {why}"));
            Err(problems)
        }
    }
}

/// `None` if something is missing; the reader knows why.
fn read(reader: &mut Reader<'_>) -> Option<Config> {
    let config_url = reader.parsed(&CONFIG_URL, config_url);
    let client_id = reader.text(&CLIENT_ID);
    let client_secret = reader.secret(&CLIENT_SECRET);
    let token_endpoint_auth_method = reader.parsed(&TOKEN_ENDPOINT_AUTH_METHOD, auth_method);
    let audience = reader.text(&AUDIENCE);
    let provider_scopes = reader.list(&PROVIDER_SCOPES);
    let extra_authorize_params = reader.each(&EXTRA_AUTHORIZE_PARAMS, Vec::new(), param);
    let provider_revocation = reader.parsed(&PROVIDER_REVOCATION, provider_revocation);
    let userinfo = reader.switch(&USERINFO).unwrap_or(false);
    let base_url = reader.parsed(&BASE_URL, base_url);
    let listen = reader.parsed(&LISTEN, listen);
    let mcp_path = reader.parsed(&MCP_PATH, mcp_path);
    let redirect_path =
        reader.parsed(&REDIRECT_PATH, |path| redirect_path(path, mcp_path.as_deref()));
    let required_scopes = reader.list(&REQUIRED_SCOPES);
    let client_documents = client_documents(reader);
    let resource_servers = reader.each(&INTROSPECTION_CLIENT, Vec::new(), resource_server);
    let access = access(reader, config_url.as_deref().unwrap_or_default());
    let backend = reader.parsed(&BACKEND, backend);
    let backend_tls = reader.parsed(&BACKEND_CA_FILE, |file| match &backend {
        Some(url) if !url.starts_with("https:") => Err("it is for an https backend".to_owned()),
        _ => backend_tls::trusting(file),
    });
    let identity = identity(reader, backend.as_deref());
    let storage = storage(reader);
    let storage_keys = reader.keys(&STORAGE_ENCRYPTION_KEY, |keys| {
        // What Fernet reads as a key, AES-GCM does too.
        let read = Fernet::new(keys).map(|_| keys.to_vec());
        read.map_err(|error| format!("{error}; `oidc-proxy keys generate` makes one"))
    });
    let storage_cipher = reader.parsed(&STORAGE_CIPHER, str::parse::<SealedWith>);
    let signing_keys = reader.keys(&JWT_SIGNING_KEY, signing_keys);
    let replace_signing_keys = reader.switch(&DANGER_REPLACE_SIGNING_KEYS) == Some(true);
    let signing_algorithm = reader.parsed(&SIGNING_ALGORITHM, str::parse::<SigningAlgorithm>);
    shared_keys(reader, storage.as_ref());
    let log_format = match reader.parsed(&LOG_FORMAT, log::Format::parse) {
        Some(format) => format,
        None => log::Format::by_terminal(),
    };
    production(reader, config_url.as_deref(), base_url.as_deref(), storage.as_ref());
    if let (Some(base_url), Some(listen)) = (&base_url, &listen)
        && base_url.starts_with("http:")
        && !listen.is_loopback()
    {
        // The cookies of a plain-http login are plain as well (D9).
        let why = format!(
            "with a plain-http {} it must be a loopback address",
            BASE_URL.own_name().flag()
        );
        reader.wrong(&LISTEN, why);
    }
    let lifetimes = lifetimes::read(reader);
    let client_settings = client_settings(reader, &lifetimes);
    let operation = operation::read(reader, listen, storage.as_ref());

    Some(Config {
        config_url: config_url?,
        client_id: client_id?,
        client_secret,
        token_endpoint_auth_method,
        audience,
        provider_scopes,
        extra_authorize_params,
        provider_revocation: provider_revocation?,
        userinfo,
        base_url: base_url?,
        listen: listen?,
        mcp_path: mcp_path?,
        redirect_path: redirect_path?,
        required_scopes,
        client_documents,
        resource_servers,
        access,
        backend: backend?,
        backend_tls,
        identity,
        storage: storage?,
        storage_keys,
        storage_cipher,
        signing_keys,
        signing_algorithm: signing_algorithm?,
        replace_signing_keys,
        log_format,
        lifetimes,
        client_settings,
        operation: operation?,
    })
}

impl Config {
    /// The proxy as configured; storage and signing keys are still to come.
    pub(crate) fn proxy(&self) -> OidcProxyBuilder {
        let mut builder = OidcProxy::builder(&self.config_url)
            .client_id(&self.client_id)
            .base_url(&self.base_url)
            .resource(&self.mcp_path)
            .redirect_path(&self.redirect_path)
            .required_scopes(&self.required_scopes)
            .client_documents(self.client_documents.clone())
            .extra_authorize_params(self.extra_authorize_params.clone())
            .provider_revocation(self.provider_revocation)
            .userinfo(self.userinfo)
            .access(self.access.policy.clone())
            .signing_algorithm(self.signing_algorithm)
            .trusted_proxies(self.operation.trusted_proxies)
            .lifetimes(self.lifetimes.clone());
        for server in &self.resource_servers {
            let server = server.clone();
            builder = builder.proxy(|proxy| proxy.resource_server(server));
        }
        for settings in &self.client_settings {
            builder = builder.client_settings(settings.clone());
        }
        if let Some(secret) = &self.client_secret {
            builder = builder.client_secret(secret.clone());
        }
        if let Some(method) = self.token_endpoint_auth_method {
            builder = builder.token_endpoint_auth_method(method);
        }
        if let Some(audience) = &self.audience {
            builder = builder.audience(audience);
        }
        if !self.provider_scopes.is_empty() {
            builder = builder.scopes(&self.provider_scopes);
        }
        builder
    }
}

/// What a file says about some clients, each table together with those before it.
fn client_settings(reader: &mut Reader<'_>, lifetimes: &Lifetimes) -> Vec<ClientSettings> {
    let lifetimes = client_settings::measure(lifetimes);
    let (given, problems) = reader.parts();
    client_settings::read(&given.client_tables, problems, |known| {
        let builder = trial(GOOD_CONFIG_URL).lifetimes(lifetimes.clone());
        build(known.iter().cloned().fold(builder, OidcProxyBuilder::client_settings))
    })
}

fn client_documents(reader: &mut Reader<'_>) -> ClientDocuments {
    let hosts = reader.each(&CLIENT_METADATA_HOSTS, Vec::new(), |mut hosts: Vec<String>, host| {
        hosts.push(host.to_owned());
        let documents = ClientDocuments::only(&hosts);
        build(trial(GOOD_CONFIG_URL).client_documents(documents)).map(|()| hosts)
    });
    let on = reader.switch(&CLIENT_METADATA_DOCUMENTS).unwrap_or(true);
    let loopback = reader.switch(&DANGER_CLIENT_METADATA_ON_LOOPBACK) == Some(true);
    if reader.is_given(&CLIENT_METADATA_HOSTS) && reader.list(&CLIENT_METADATA_HOSTS).is_empty() {
        let off = CLIENT_METADATA_DOCUMENTS.own_name().flag();
        reader.wrong(&CLIENT_METADATA_HOSTS, format!("it names no host; {off}=false means none"));
    }
    let documents = match (on, hosts.is_empty()) {
        (false, _) => ClientDocuments::off(),
        (true, true) => ClientDocuments::default(),
        (true, false) => ClientDocuments::only(hosts),
    };
    if loopback { documents.danger_loopback() } else { documents }
}

fn access(reader: &mut Reader<'_>, config_url: &str) -> Access {
    let mut access = Access::nobody();
    access = reader.each(&ALLOW_EMAIL, access, Access::email);
    access = reader.each(&ALLOW_EMAIL_DOMAIN, access, Access::email_domain);
    access = reader.each(&ALLOW_GROUP, access, |access, group| Ok(access.group(group)));
    access = reader.each(&ALLOW_CLAIM, access, Access::claim);
    let rules = [&ALLOW_EMAIL, &ALLOW_EMAIL_DOMAIN, &ALLOW_GROUP, &ALLOW_CLAIM];
    let ruled = rules.into_iter().find(|setting| reader.has_items(setting));
    match (reader.switch(&ALLOW_ANY_USER), ruled) {
        (Some(true), None) => Access::any_user(config_url),
        (Some(true), Some(rule)) => {
            let why = format!(
                "it lets in everybody, so that {} has no effect; give one of them",
                rule.own_name()
            );
            reader.wrong(&ALLOW_ANY_USER, why);
            access
        }
        (Some(false), None) if reader.is_complete() => {
            let flags = rules.map(|setting| setting.own_name().to_string()).join(", ");
            reader.problem(format!(
                "nobody could log in: give {flags}, or {} for everybody whom the provider lets in",
                ALLOW_ANY_USER.own_name()
            ));
            access
        }
        _ => access,
    }
}

fn identity(reader: &mut Reader<'_>, backend: Option<&str>) -> Ways {
    let ways = reader.list(&IDENTITY);
    for way in &ways {
        if !["headers", "assertion", "provider-token", "none"].contains(&way.as_str()) {
            let why = format!("{way:?} is none of headers, assertion, provider-token, none");
            reader.wrong(&IDENTITY, why);
        }
    }
    if ways.is_empty() {
        reader.wrong(&IDENTITY, "it names no way; none is said as none");
    }
    let has = |wanted| ways.iter().any(|way| way == wanted);
    if has("none") && ways.iter().any(|way| way != "none") {
        reader.wrong(&IDENTITY, "none goes with nothing else");
    }
    let in_the_clear =
        backend.is_some_and(|backend| backend.starts_with("http:") && !is_loopback(backend));
    if has("provider-token") && in_the_clear {
        let why = format!(
            "provider-token would show the provider's tokens to the network; {} must be on \
             loopback, a Unix socket or https",
            BACKEND.own_name().flag()
        );
        reader.wrong(&IDENTITY, why);
    }
    let lifetime = reader.parsed(&ASSERTION_LIFETIME, assertion_lifetime);
    Ways {
        headers: has("headers"),
        assertion: lifetime.filter(|_| has("assertion")),
        provider_token: has("provider-token"),
    }
}

fn storage(reader: &mut Reader<'_>) -> Option<Storage> {
    if reader.is_given(&STORAGE) {
        return reader.parsed(&STORAGE, Storage::parse);
    }
    match Storage::platform() {
        Ok(storage) => Some(storage),
        Err(_) if !reader.is_complete() => None,
        Err(why) => {
            reader.wrong(&STORAGE, why);
            None
        }
    }
}

/// Where the keys are; the other settings do not matter.
pub(super) fn key_places(given: &Given, problems: Problems) -> Result<KeyPlaces, Problems> {
    let mut reader = Reader::new(given, problems);
    let storage = storage(&mut reader);
    let mut place = |setting, which| {
        if let Some((name, is_file, text)) = reader.named_secret(setting) {
            return KeyPlace::Given { name, is_file, text };
        }
        match &storage {
            Some(Storage::Sqlite(path) | Storage::Disk(path)) => {
                KeyPlace::Kept(data_dir::kept_keys(path, which))
            }
            _ => KeyPlace::Nowhere,
        }
    };
    let places = KeyPlaces {
        signing: place(&JWT_SIGNING_KEY, Which::Signing),
        storage: place(&STORAGE_ENCRYPTION_KEY, Which::Storage),
        lifetimes: lifetimes::read(&mut reader),
    };
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(places) } else { Err(problems) }
}

/// Every process that shares a storage must have the same keys, so none can make its own (D8).
fn shared_keys(reader: &mut Reader<'_>, storage: Option<&Storage>) {
    if !matches!(storage, Some(Storage::Shared(_))) || !reader.is_complete() {
        return;
    }
    for setting in [&STORAGE_ENCRYPTION_KEY, &JWT_SIGNING_KEY] {
        if !reader.is_given(setting) {
            reader.wrong(
                setting,
                "with storage that several processes share it must be given, the same to each of \
                 them; `oidc-proxy keys generate` makes one",
            );
        }
    }
}

/// What is good for trying out only is refused where strangers can reach us (D8).
fn production(
    reader: &mut Reader<'_>,
    config_url: Option<&str>,
    base_url: Option<&str>,
    storage: Option<&Storage>,
) {
    let implied = base_url.is_some_and(|url| !is_loopback(url));
    let given = reader.switch(&PRODUCTION);
    if given == Some(false) && implied {
        let why = format!("false is for a {} on loopback only", BASE_URL.own_name().flag());
        reader.wrong(&PRODUCTION, why);
    }
    let production = implied || given == Some(true);
    if production && config_url.is_some_and(|url| url.starts_with("http:")) {
        reader.wrong(&CONFIG_URL, "in production the provider must be reached by https");
    }
    let insisted = reader.switch(&DANGER_MEMORY_STORAGE) == Some(true) || !reader.is_complete();
    if production && matches!(storage, Some(Storage::Memory(_))) && !insisted {
        let flag = DANGER_MEMORY_STORAGE.own_name().flag();
        reader.wrong(
            &STORAGE,
            format!(
                "in production memory: logs everybody out at every restart; use sqlite:///path, \
                 or insist with {flag}"
            ),
        );
    }
}
