//! Putting an authorization server together.

use std::sync::Arc;

use jwt_issuer::{KeyRing, SigningAlgorithm};
use kv_storage::{KeyValue, Protected};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::{Host, Url};

use crate::{
    OAuthProxy,
    access::AccessPolicy,
    app::{App, Keys},
    audit::AuditSink,
    cimd::{ClientDocuments, Documents},
    client_settings::{ClientRules, ClientSettings},
    clock::{Clock, UnixClock},
    config::{Config, Lifetimes},
    outbox::{Outbox, ProviderRevocation},
    provider::Provider,
    redirect_uri::RedirectPolicy,
    renewal::ahead::Renewals,
    resource::Resources,
    resource_server::ResourceServer,
    routes::register::UnusedQuota,
    scope::{OFFLINE_ACCESS, ScopeSet},
    store::Store,
};

/// Collects what an [`OAuthProxy`] needs; [`build`](Self::build) says what is missing.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct OAuthProxyBuilder {
    base_url: String,
    provider: Arc<dyn Provider>,
    storage: Option<Arc<dyn KeyValue>>,
    keys: Option<KeyRing>,
    algorithm: SigningAlgorithm,
    access: Option<AccessPolicy>,
    resources: Vec<String>,
    required_scopes: Vec<String>,
    extra_scopes: Vec<String>,
    provider_name: Option<String>,
    callback_path: String,
    redirect_policy: RedirectPolicy,
    client_documents: ClientDocuments,
    resource_servers: Vec<ResourceServer>,
    provider_revocation: ProviderRevocation,
    lifetimes: Lifetimes,
    client_settings: Vec<ClientSettings>,
    trusted_proxies: usize,
    audit: Option<Arc<dyn AuditSink>>,
    clock: UnixClock,
}

/// What keeps an [`OAuthProxy`] from being built, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Something that has no safe default was not given.
    #[error("nothing was given for `{what}`: {fix}")]
    Missing {
        /// The builder's method.
        what: &'static str,
        /// What to call.
        fix: &'static str,
    },
    /// The base URL cannot be the issuer.
    #[error("the base URL `{url}` cannot be used: {why}")]
    BaseUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A resource is not a path below the base URL.
    #[error("the resource `{resource}` cannot be used: {why}")]
    Resource {
        /// As it was given.
        resource: String,
        /// What is wrong with it.
        why: String,
    },
    /// The callback path cannot be used.
    #[error("the callback path `{path}` must begin with `/` and be an ordinary path")]
    CallbackPath {
        /// As it was given.
        path: String,
    },
    /// A resource server cannot be let in.
    #[error("the resource server `{id}` cannot be used: {why}")]
    ResourceServer {
        /// What it calls itself.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// What holds for some clients cannot hold.
    #[error("the settings of {whose} cannot be used: {why}")]
    ClientSettings {
        /// Which clients.
        whose: String,
        /// What is wrong.
        why: String,
    },
    /// The hosts that may describe clients are none.
    #[error("client documents cannot be had from `{host}`: {why}")]
    ClientDocuments {
        /// As it was given.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A lifetime is out of its bounds.
    #[error("{0}")]
    Lifetime(String),
}

impl OAuthProxyBuilder {
    pub(crate) fn new(base_url: String, provider: Arc<dyn Provider>) -> Self {
        Self {
            base_url,
            provider,
            storage: None,
            keys: None,
            algorithm: SigningAlgorithm::default(),
            access: None,
            resources: Vec::new(),
            required_scopes: vec!["openid".to_owned()],
            extra_scopes: Vec::new(),
            provider_name: None,
            callback_path: "/auth/callback".to_owned(),
            redirect_policy: RedirectPolicy::default(),
            client_documents: ClientDocuments::default(),
            resource_servers: Vec::new(),
            provider_revocation: ProviderRevocation::default(),
            lifetimes: Lifetimes::default(),
            client_settings: Vec::new(),
            trusted_proxies: 0,
            audit: None,
            clock: UnixClock::system(),
        }
    }

    /// Where clients, transactions, codes and grants rest: encrypted, or in plain memory (D8).
    /// Required.
    pub fn storage(mut self, storage: impl Protected) -> Self {
        self.storage = Some(Arc::new(storage));
        self
    }

    /// Stores the provider's tokens in the clear in whatever this is.
    ///
    /// Everybody who reads that storage can act as the people who logged in.
    pub fn danger_unencrypted_storage(mut self, storage: impl KeyValue) -> Self {
        self.storage = Some(Arc::new(storage));
        self
    }

    /// Signs and seals everything that we issue; the first key is the current one. Required.
    pub fn signing_keys(mut self, keys: KeyRing) -> Self {
        self.keys = Some(keys);
        self
    }

    /// What access tokens are signed with. Default: HS256, which only we can verify.
    ///
    /// With the others every resource server can, with the keys at `jwks_uri`; it then learns of a
    /// revocation only when the token ends, so that no access token lives longer than
    /// [`Lifetimes::MAX_PUBLIC_ACCESS_TOKEN`], whatever was given.
    pub fn signing_algorithm(mut self, algorithm: SigningAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Who may log in. Required: there is no default that is right for anybody (D10).
    pub fn access(mut self, policy: AccessPolicy) -> Self {
        self.access = Some(policy);
        self
    }

    /// A protected resource as a path below the base URL. Default: `/mcp`. The first is the one
    /// that a client gets that names none.
    pub fn resource(mut self, path: impl Into<String>) -> Self {
        self.resources.push(path.into());
        self
    }

    /// What a token must have at the resource, and what a client that asks for nothing gets.
    /// Default: `openid`.
    pub fn required_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.required_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// What a client may ask for beyond the required scopes. `offline_access` always.
    pub fn extra_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.extra_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// How the consent page names the provider. Default: "your identity provider".
    pub fn provider_name(mut self, name: impl Into<String>) -> Self {
        self.provider_name = Some(name.into());
        self
    }

    /// Where the provider returns, below the base URL. Default: `/auth/callback`. The base URL
    /// with this path is the redirect URI to register at the provider.
    pub fn callback_path(mut self, path: impl Into<String>) -> Self {
        self.callback_path = path.into();
        self
    }

    /// Which redirect URIs clients may register.
    pub fn redirect_policy(mut self, policy: RedirectPolicy) -> Self {
        self.redirect_policy = policy;
        self
    }

    /// Which clients may be described by a document at their own URL, that is their client id
    /// (client-ID metadata documents). Default: those of every public host.
    pub fn client_documents(mut self, documents: ClientDocuments) -> Self {
        self.client_documents = documents;
        self
    }

    /// A resource server that may ask about tokens at `/introspect` (RFC 7662). Without one there
    /// is no such endpoint.
    pub fn resource_server(mut self, server: ResourceServer) -> Self {
        self.resource_servers.push(server);
        self
    }

    /// When the provider is told that a grant was revoked. Default: when it was the person's last.
    pub fn provider_revocation(mut self, policy: ProviderRevocation) -> Self {
        self.provider_revocation = policy;
        self
    }

    /// How long everything lives.
    pub fn lifetimes(mut self, lifetimes: Lifetimes) -> Self {
        self.lifetimes = lifetimes;
        self
    }

    /// What holds for some clients instead of what holds for all (D5). The most specific settings
    /// hold alone: those of a client id before those of a redirect host before those of all
    /// confidential clients.
    pub fn client_settings(mut self, settings: ClientSettings) -> Self {
        self.client_settings.push(settings);
        self
    }

    /// Who keeps the events that an auditor may ask for. Default: nobody; they stand in the log
    /// either way.
    pub fn audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit = Some(sink);
        self
    }

    /// How many proxies of the operator stand in front, each of which adds the address that it saw
    /// to `X-Forwarded-For`. Default: none, the header is not believed.
    ///
    /// With more than there are, whoever asks can choose the address that the audit log shows.
    pub fn trusted_proxies(mut self, proxies: usize) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// Where the present moment comes from. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = UnixClock::new(clock);
        self
    }

    /// The authorization server.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names what is missing or wrong, and the way out.
    pub fn build(self) -> Result<OAuthProxy, BuildError> {
        let missing = |what, fix| BuildError::Missing { what, fix };
        let storage = self.storage.ok_or_else(|| {
            missing("storage", "call `.storage(…)` with `Encrypted` storage or `Memory`")
        })?;
        let keys = self.keys.ok_or_else(|| {
            missing("signing_keys", "call `.signing_keys(…)` with a `KeyRing` that is kept")
        })?;
        let access = self.access.filter(|access| !access.is_empty()).ok_or_else(|| {
            missing("access", "call `.access(…)` with a rule, or with `AccessPolicy::any_user()`")
        })?;
        if let Some(complaint) = self.lifetimes.complaint() {
            return Err(BuildError::Lifetime(complaint));
        }
        let client_rules = ClientRules::new(self.client_settings, &self.lifetimes)
            .map_err(|(whose, why)| BuildError::ClientSettings { whose, why })?;
        let base = check_base_url(&self.base_url)
            .map_err(|why| BuildError::BaseUrl { url: self.base_url.clone(), why })?;
        check_client_documents(&self.client_documents, &self.base_url)?;
        if !is_plain_path(&self.callback_path) {
            return Err(BuildError::CallbackPath { path: self.callback_path });
        }
        let paths =
            if self.resources.is_empty() { vec!["/mcp".to_owned()] } else { self.resources };
        let resources = Resources::new(&self.base_url, &paths)
            .map_err(|(resource, why)| BuildError::Resource { resource, why })?;
        let resource_servers = settle(self.resource_servers, &resources)?;
        let required_scopes: ScopeSet = self.required_scopes.iter().map(String::as_str).collect();
        let supported_scopes = required_scopes
            .iter()
            .chain(self.extra_scopes.iter().map(String::as_str))
            .chain([OFFLINE_ACCESS])
            .collect();
        let mut lifetimes = self.lifetimes;
        if self.algorithm.is_asymmetric() {
            lifetimes.access_token = lifetimes.access_token.min(Lifetimes::MAX_PUBLIC_ACCESS_TOKEN);
        }
        let config = Config {
            base_path: base.path,
            secure_cookies: base.https,
            issuer: self.base_url,
            callback_path: self.callback_path,
            resources,
            required_scopes,
            supported_scopes,
            redirect_policy: self.redirect_policy,
            client_documents: self.client_documents,
            resource_servers,
            access,
            provider_name: self
                .provider_name
                .unwrap_or_else(|| "your identity provider".to_owned()),
            lifetimes,
            client_rules,
            trusted_proxies: self.trusted_proxies,
        };
        let keys = Keys::new(&keys, &config.issuer, self.algorithm);
        Ok(OAuthProxy::new(App {
            config,
            clock: self.clock,
            store: Store::new(storage, self.audit.clone()),
            provider: self.provider,
            keys,
            audit: self.audit,
            registrations: UnusedQuota::default(),
            documents: Documents::new(),
            outbox: Outbox::new(self.provider_revocation),
            renewals: Renewals::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }))
    }
}

/// What a stranger names on this machine is fetched only while nobody but this machine is served.
fn check_client_documents(documents: &ClientDocuments, base_url: &str) -> Result<(), BuildError> {
    if let Some((host, why)) = documents.complaint() {
        return Err(BuildError::ClientDocuments { host, why });
    }
    if documents.allows_loopback() && !Url::parse(base_url).is_ok_and(|url| is_loopback(&url)) {
        return Err(BuildError::ClientDocuments {
            host: "localhost".to_owned(),
            why: "that is for trying out, with a base URL on loopback",
        });
    }
    Ok(())
}

/// Gives each resource server its resource, and refuses those that nobody could tell apart.
fn settle(
    servers: Vec<ResourceServer>,
    resources: &Resources,
) -> Result<Vec<ResourceServer>, BuildError> {
    let mut settled: Vec<ResourceServer> = Vec::with_capacity(servers.len());
    for server in servers {
        let id = server.id().to_owned();
        let refuse = |why: String| BuildError::ResourceServer { id: id.clone(), why };
        if settled.iter().any(|other| other.id() == id) {
            return Err(refuse("it is given twice".to_owned()));
        }
        let resource = resources.resolve(server.asked_for()).map_err(|_| {
            let known = resources.iter().collect::<Vec<_>>().join(", ");
            refuse(format!("its resource is none of {known}"))
        })?;
        settled.push(server.settled(resource.to_owned()).map_err(|why| refuse(why.to_owned()))?);
    }
    Ok(settled)
}

struct BaseUrl {
    path: String,
    https: bool,
}

/// The base URL is the issuer, byte for byte: it must be written the way that URL parsers write it,
/// so that no client sees another string (D1).
fn check_base_url(text: &str) -> Result<BaseUrl, &'static str> {
    let url = Url::parse(text).map_err(|_| "it is not an absolute URL")?;
    let https = match url.scheme() {
        "https" => true,
        "http" if is_loopback(&url) => false,
        "http" => return Err("plain http is for loopback only; use https"),
        _ => return Err("it must begin with https:// (or http:// on loopback)"),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it must have no query and no fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it must not contain a user name or password");
    }
    if text.ends_with('/') {
        return Err("it must not end with a slash");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if format!("{}{path}", url.origin().ascii_serialization()) != text {
        return Err(
            "it is not in its normal form: lower-case host, no default port, no dots in the path",
        );
    }
    if !path.is_empty() && !is_plain_path(&path) {
        return Err("its path must be ordinary segments of letters, digits, `-`, `.`, `_`, `~`");
    }
    Ok(BaseUrl { path, https })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Segments of unreserved characters: nothing that a router would read as a pattern.
fn is_plain_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|segment| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_as_it_is_written_or_refused() {
        for good in [
            "https://mcp.example",
            "https://mcp.example:8443",
            "https://mcp.example/team/a",
            "http://localhost:8000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
        ] {
            assert!(check_base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "https://mcp.example/",
            "https://MCP.example",
            "https://mcp.example:443",
            "https://mcp.example/a/../b",
            "https://mcp.example/a//b",
            "https://mcp.example/{a}",
            "https://user:pw@mcp.example",
            "https://mcp.example?x=1",
            "https://mcp.example#x",
            "http://mcp.example",
            "ftp://mcp.example",
            "mcp.example",
        ] {
            assert!(check_base_url(bad).is_err(), "{bad}");
        }
    }
}
