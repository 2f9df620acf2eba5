use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use insta::assert_snapshot;
use jwt_issuer::MasterKey;
use kv_storage::Fernet;
use secrecy::ExposeSecret;

use super::{
    check::LIFETIMES,
    setting::{CONFIG, Fallback, Name},
    *,
};

/// What must be given.
const ENOUGH: [(&str, &str); 5] = [
    ("config-url", "https://idp.example"),
    ("client-id", "the-client"),
    ("base-url", "http://localhost:8000"),
    ("backend", "http://127.0.0.1:9001/mcp"),
    ("allow-email", "alice@example.com"),
];

fn sources(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::default();
    for (flag, value) in flags {
        let known = [CONFIG.own_name()].into_iter().chain(Name::all());
        let name = known.into_iter().find(|name| name.0 == *flag).expect(flag);
        sources.flags.entry(name.0).or_default().push((*value).to_owned().into());
    }
    sources.environment =
        environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
    sources
}

/// What is given beside what must be; a flag here replaces the one there.
fn load(flags: &[(&str, &str)]) -> Result<Config, String> {
    let given = |name: &str| flags.iter().any(|(flag, _)| *flag == name);
    let enough = ENOUGH.into_iter().filter(|(name, _)| !given(name));
    let all: Vec<_> = enough.chain(flags.iter().copied()).collect();
    Config::load(&sources(&all, &[])).map_err(|problems| problems.to_string())
}

fn load_in(environment: &[(&str, &str)]) -> Result<Config, String> {
    Config::load(&sources(&ENOUGH, environment)).map_err(|problems| problems.to_string())
}

/// With a file that holds `toml` and flags for what must be given.
fn load_file(toml: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, toml).unwrap();
    load(&[("config", path.to_str().unwrap())])
        .map_err(|problems| problems.replace(path.to_str().unwrap(), "x.toml"))
}

#[test]
fn an_unreadable_file_hides_no_other_complaint_and_makes_none_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, "client_id = 'a\n").unwrap();
    let path = path.to_str().unwrap();
    let wrong = [("config", path), ("listen", "here"), ("storage", "memory:")];
    let environment =
        [("OIDC_PROXY_BASE_URL", "https://mcp.example.com"), ("OIDC_PROXY_MCP_PAHT", "/")];
    let problems = Config::load(&sources(&wrong, &environment)).unwrap_err().to_string();
    assert_eq!(problems.lines().count(), 3, "{problems}");
    for name in ["OIDC_PROXY_MCP_PAHT", "is not TOML", "--listen"] {
        assert!(problems.contains(name), "{problems}");
    }
}

#[test]
fn provider_tokens_cross_no_network_in_the_clear() {
    for (backend, is_good) in [
        ("http://127.0.0.1:9001/mcp", true),
        ("unix:/run/mcp.sock:/mcp", true),
        ("https://mcp.internal/mcp", true),
        ("http://mcp.internal/mcp", false),
    ] {
        let loaded = load(&[("identity", "provider-token"), ("backend", backend)]);
        assert_eq!(loaded.is_ok(), is_good, "{backend}: {loaded:?}");
        assert!(load(&[("backend", backend)]).is_ok(), "{backend}");
    }
}

#[test]
fn what_must_be_given_is_enough() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listen, Listen::At("127.0.0.1:8000".parse().unwrap()));
    assert_eq!(
        (config.mcp_path.as_str(), config.redirect_path.as_str()),
        ("/mcp", "/auth/callback")
    );
    assert_eq!(config.required_scopes, ["openid"]);
    assert!(config.client_secret.is_none() && config.audience.is_none());
    assert!(config.storage_keys.is_none() && config.signing_keys.is_none());
    assert_eq!(config.identity, Ways::headers());
    assert!(
        matches!(config.storage, Storage::Sqlite(path) if path.ends_with("oidc-proxy/state.sqlite"))
    );
    assert_eq!(config.lifetimes, Lifetimes::default());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    let secret = directory.path().join("secret");
    fs::write(&path, "audience = 'file'\nmcp_path = '/file'\nclient_secret = 'file'\n").unwrap();
    fs::write(&secret, "from a file\n").unwrap();
    let path = path.to_str().unwrap();
    let load = |flags: &[(&str, &str)], environment: &[(&str, &str)]| {
        let flags: Vec<_> = ENOUGH.iter().chain(flags).copied().collect();
        Config::load(&sources(&flags, environment)).unwrap()
    };
    let file = ("OIDC_PROXY_CONFIG", path);

    let config = load(&[], &[file]);
    assert_eq!(config.audience.as_deref(), Some("file"));
    let config = load(&[], &[file, ("OIDC_PROXY_AUDIENCE", "environment")]);
    assert_eq!(config.audience.as_deref(), Some("environment"));
    assert_eq!(config.mcp_path, "/file");
    let config = load(&[("audience", "flag")], &[file, ("OIDC_PROXY_AUDIENCE", "environment")]);
    assert_eq!(config.audience.as_deref(), Some("flag"));

    // The file of a secret counts as much as the secret.
    let config = load(&[], &[file, ("OIDC_PROXY_CLIENT_SECRET_FILE", secret.to_str().unwrap())]);
    assert_eq!(config.client_secret.unwrap().expose_secret(), "from a file");
    // The file that a flag names is read, not the other one.
    let config = load(&[("config", path)], &[("OIDC_PROXY_CONFIG", "/nowhere")]);
    assert_eq!(config.mcp_path, "/file");
}

#[test]
fn an_empty_variable_is_none() {
    assert!(load_in(&[("OIDC_PROXY_AUDIENCE", "")]).unwrap().audience.is_none());
}

#[test]
fn lists_are_separated_in_every_usual_way() {
    let scopes = |text| load(&[("required-scopes", text)]).unwrap().required_scopes;
    for text in ["openid read", "openid,read", " openid ,  read,", r#"["openid", "read"]"#] {
        assert_eq!(scopes(text), ["openid", "read"], "{text}");
    }
    let twice = load(&[("required-scopes", "openid"), ("required-scopes", "read")]).unwrap();
    assert_eq!(twice.required_scopes, ["openid", "read"]);
    for toml in ["required_scopes = ['openid', 'read']", "required_scopes = 'openid read'"] {
        assert_eq!(load_file(toml).unwrap().required_scopes, ["openid", "read"]);
    }
}

#[test]
fn a_group_may_have_a_space_in_its_name() {
    let who = |config: Config| config.access.who[1..].join("; ");
    let two = "everybody in the group \"Domain Admins\"; everybody in the group \"ops\"";
    for flags in [
        &[("allow-group", "Domain Admins"), ("allow-group", "ops")][..],
        &[("allow-group", r#"["Domain Admins", "ops"]"#)],
    ] {
        assert_eq!(who(load(flags).unwrap()), two);
    }
    // A comma never makes two rules out of one.
    for config in [
        load(&[("allow-group", "CN=Staff, OU=x")]).unwrap(),
        load_file("allow_group = 'CN=Staff, OU=x'").unwrap(),
        load_file("allow_group = ['CN=Staff, OU=x']").unwrap(),
    ] {
        assert_eq!(who(config), "everybody in the group \"CN=Staff, OU=x\"");
    }
}

#[test]
fn an_unfilled_template_is_no_rule() {
    for flag in ["allow-group", "allow-claim", "allow-email-domain", "required-scopes"] {
        let problems = load(&[(flag, r#"["", "x=y"]"#)]).unwrap_err();
        assert!(problems.contains("one of its items is empty"), "{flag}: {problems}");
    }
    assert!(load_file("allow_group = ['  ']").unwrap_err().contains("one of its items is empty"));
    assert!(load(&[("allow-group", " ")]).unwrap_err().contains("one of its items is empty"));
}

#[test]
fn a_service_of_our_name_in_kubernetes_does_no_harm() {
    let variables = [
        ("OIDC_PROXY_SERVICE_HOST", "10.0.0.1"),
        ("OIDC_PROXY_SERVICE_PORT", "80"),
        ("OIDC_PROXY_SERVICE_PORT_HTTP", "80"),
        ("OIDC_PROXY_PORT", "tcp://10.0.0.1:80"),
        ("OIDC_PROXY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("OIDC_PROXY_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load_in(&variables).is_ok());
    assert!(load_in(&[("OIDC_PROXY_PORT", "8000")]).is_err());
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let problems = Config::load(&Sources::default()).unwrap_err().to_string();
    assert_snapshot!(problems, @r#"
    error: --config-url (environment OIDC_PROXY_CONFIG_URL, TOML config_url) is missing: the provider's discovery URL, or its issuer
    error: --client-id (environment OIDC_PROXY_CLIENT_ID, TOML client_id) is missing: the id of your application at the provider
    error: --base-url (environment OIDC_PROXY_BASE_URL, TOML base_url) is missing: the URL under which clients reach this server
    error: nobody could log in: give --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email), --allow-email-domain (environment OIDC_PROXY_ALLOW_EMAIL_DOMAIN, TOML allow_email_domain), --allow-group (environment OIDC_PROXY_ALLOW_GROUP, TOML allow_group), --allow-claim (environment OIDC_PROXY_ALLOW_CLAIM, TOML allow_claim), or --allow-any-user (environment OIDC_PROXY_ALLOW_ANY_USER, TOML allow_any_user) for everybody whom the provider lets in
    error: --backend (environment OIDC_PROXY_BACKEND, TOML backend) is missing: the full URL of the MCP endpoint behind, or unix:/run/mcp.sock:/mcp
    "#);
}

/// One line for each value.
fn complaints(wrong: &[(&str, &str)]) -> String {
    wrong
        .iter()
        .map(|one| load(&[*one]).map_or_else(|no| no, |_| format!("{one:?} is accepted\n")))
        .collect()
}

#[test]
fn wrong_names_of_the_provider() {
    assert_snapshot!(complaints(&[
        ("config-url", "idp.example"),
        ("config-url", "http://idp.example"),
        ("config-url", "https://me:hush@idp.example"),
        ("client-id", ""),
        ("client-secret-file", "/nowhere/secret"),
        ("token-endpoint-auth-method", "tls"),
        ("extra-authorize-params", "access_type"),
        ("extra-authorize-params", "state=7"),
    ]), @r#"
    error: --config-url (environment OIDC_PROXY_CONFIG_URL, TOML config_url): "idp.example" is no URL of a metadata document: it is not an absolute URL
    error: --config-url (environment OIDC_PROXY_CONFIG_URL, TOML config_url): "http://idp.example" is no URL of a metadata document: it is neither https nor on this machine
    error: --config-url (environment OIDC_PROXY_CONFIG_URL, TOML config_url): the URL must not contain a user name or password
    error: --client-id (environment OIDC_PROXY_CLIENT_ID, TOML client_id): it is empty
    error: --client-secret-file (environment OIDC_PROXY_CLIENT_SECRET_FILE, TOML client_secret_file): "/nowhere/secret" could not be read: No such file or directory (os error 2)
    error: --token-endpoint-auth-method (environment OIDC_PROXY_TOKEN_ENDPOINT_AUTH_METHOD, TOML token_endpoint_auth_method): "tls" is none of client_secret_basic, client_secret_post, none
    error: --extra-authorize-params (environment OIDC_PROXY_EXTRA_AUTHORIZE_PARAMS, TOML extra_authorize_params): "access_type" is not of the form NAME=VALUE
    error: --extra-authorize-params (environment OIDC_PROXY_EXTRA_AUTHORIZE_PARAMS, TOML extra_authorize_params): extra_authorize_params contains `state`, which the proxy sets itself; leave it out
    "#);
}

#[test]
fn wrong_names_of_ours() {
    assert_snapshot!(complaints(&[
        ("base-url", "https://mcp.example/"),
        ("base-url", "http://mcp.example"),
        ("base-url", "https://me:hush@mcp.example"),
        ("listen", "8000"),
        ("mcp-path", "mcp"),
        ("mcp-path", "/token"),
        ("redirect-path", "callback"),
        ("redirect-path", "/token"),
        ("redirect-path", "/mcp/callback"),
        ("backend", "127.0.0.1:9001"),
        ("backend", "ftp://127.0.0.1/mcp"),
        ("identity", "header"),
        ("identity", "headers none"),
        ("identity", ","),
        ("assertion-lifetime", "61s"),
        ("assertion-lifetime", "0s"),
        ("log-format", "xml"),
        ("production", "yes"),
        ("access-token-lifetime", "0s"),
        ("access-token-lifetime", "an hour"),
        ("refresh-grace", "1h"),
        ("code-memory", "1m"),
        ("required-scopes", "[openid"),
    ]), @r#"
    error: --base-url (environment OIDC_PROXY_BASE_URL, TOML base_url): the base URL `https://mcp.example/` cannot be used: it must not end with a slash
    error: --base-url (environment OIDC_PROXY_BASE_URL, TOML base_url): the base URL `http://mcp.example` cannot be used: plain http is for loopback only; use https
    error: --base-url (environment OIDC_PROXY_BASE_URL, TOML base_url): the URL must not contain a user name or password
    error: --listen (environment OIDC_PROXY_LISTEN, TOML listen): "8000" is not an address and a port like 127.0.0.1:8000, [::]:8000 or localhost:8000
    error: --mcp-path (environment OIDC_PROXY_MCP_PATH, TOML mcp_path): the resource `mcp` cannot be used: it must begin with `/`
    error: --mcp-path (environment OIDC_PROXY_MCP_PATH, TOML mcp_path): the resource `/token` cannot be used: an endpoint of this server has that path
    error: --redirect-path (environment OIDC_PROXY_REDIRECT_PATH, TOML redirect_path): the callback path `callback` must begin with `/` and be an ordinary path
    error: --redirect-path (environment OIDC_PROXY_REDIRECT_PATH, TOML redirect_path): `/token` is taken by another endpoint of this server
    error: --redirect-path (environment OIDC_PROXY_REDIRECT_PATH, TOML redirect_path): `/mcp/callback` lies in the MCP endpoint, where the provider cannot return
    error: --backend (environment OIDC_PROXY_BACKEND, TOML backend): cannot forward to this backend URL: it is not an absolute URL
    error: --backend (environment OIDC_PROXY_BACKEND, TOML backend): cannot forward to this backend URL: its scheme is none of http, https and unix
    error: --identity (environment OIDC_PROXY_IDENTITY, TOML identity): "header" is none of headers, assertion, provider-token, none
    error: --identity (environment OIDC_PROXY_IDENTITY, TOML identity): none goes with nothing else
    error: --identity (environment OIDC_PROXY_IDENTITY, TOML identity): it names no way; none is said as none
    error: --assertion-lifetime (environment OIDC_PROXY_ASSERTION_LIFETIME, TOML assertion_lifetime): "61s" is not between 1s and 60s
    error: --assertion-lifetime (environment OIDC_PROXY_ASSERTION_LIFETIME, TOML assertion_lifetime): "0s" is not between 1s and 60s
    error: --log-format (environment OIDC_PROXY_LOG_FORMAT, TOML log_format): "xml" is neither text nor json
    error: --production (environment OIDC_PROXY_PRODUCTION, TOML production): "yes" is neither true nor false
    error: --access-token-lifetime (environment OIDC_PROXY_ACCESS_TOKEN_LIFETIME, TOML access_token_lifetime): lifetime `access_token` is 0ns; it must be at least 1 s
    error: --access-token-lifetime (environment OIDC_PROXY_ACCESS_TOKEN_LIFETIME, TOML access_token_lifetime): "an hour": expected a number and a unit, as in 2s
    error: --refresh-grace (environment OIDC_PROXY_REFRESH_GRACE, TOML refresh_grace): lifetime `refresh_grace` is 3600s; it must be at most 600s
    error: --code-memory (environment OIDC_PROXY_CODE_MEMORY, TOML code_memory): it must not be shorter than --code-lifetime (environment OIDC_PROXY_CODE_LIFETIME, TOML code_lifetime)
    error: --required-scopes (environment OIDC_PROXY_REQUIRED_SCOPES, TOML required_scopes): it begins like a JSON array, but is not one of texts
    "#);
}

#[test]
fn wrong_rules_about_who_may_log_in() {
    assert_snapshot!(complaints(&[
        ("allow-email", ""),
        ("allow-email", "alice"),
        ("allow-email-domain", "*.example.com"),
        ("allow-claim", "tid"),
        ("allow-any-user", "true"),
    ]), @r#"
    error: nobody could log in: give --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email), --allow-email-domain (environment OIDC_PROXY_ALLOW_EMAIL_DOMAIN, TOML allow_email_domain), --allow-group (environment OIDC_PROXY_ALLOW_GROUP, TOML allow_group), --allow-claim (environment OIDC_PROXY_ALLOW_CLAIM, TOML allow_claim), or --allow-any-user (environment OIDC_PROXY_ALLOW_ANY_USER, TOML allow_any_user) for everybody whom the provider lets in
    error: --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email): "alice" is not an e-mail address
    error: --allow-email-domain (environment OIDC_PROXY_ALLOW_EMAIL_DOMAIN, TOML allow_email_domain): "*.example.com" is not a domain like example.com; subdomains are listed one by one
    error: --allow-claim (environment OIDC_PROXY_ALLOW_CLAIM, TOML allow_claim): "tid" is not of the form NAME=VALUE
    error: --allow-any-user (environment OIDC_PROXY_ALLOW_ANY_USER, TOML allow_any_user): it lets in everybody, so that --allow-email (environment OIDC_PROXY_ALLOW_EMAIL, TOML allow_email) has no effect; give one of them
    "#);
}

#[test]
fn wrong_storage_and_keys() {
    assert_snapshot!(complaints(&[
        ("storage", "mysql://:hush@db/0"),
        ("storage", "disk://hush"),
        ("storage", "sqlite://state.sqlite"),
        ("storage", "state.sqlite"),
        ("storage-cipher", "rot13"),
        ("storage-encryption-key", "hush"),
        ("jwt-signing-key", "hush"),
        ("jwt-signing-key", "aHVzaA"),
        ("jwt-signing-key", ","),
    ]), @r#"
    error: --storage (environment OIDC_PROXY_STORAGE, TOML storage): it is sqlite:///path, disk:///path, postgres://..., redis://... (or rediss, each also with +sentinel or +cluster) or memory:
    error: --storage (environment OIDC_PROXY_STORAGE, TOML storage): a directory is named by its absolute path and nothing more, as in disk:///var/lib/oidc-proxy/state
    error: --storage (environment OIDC_PROXY_STORAGE, TOML storage): a database is named by its absolute path and nothing more, as in sqlite:///var/lib/oidc-proxy/state.sqlite
    error: --storage (environment OIDC_PROXY_STORAGE, TOML storage): it is sqlite:///path, disk:///path, postgres://..., redis://... (or rediss, each also with +sentinel or +cluster) or memory:
    error: --storage-cipher (environment OIDC_PROXY_STORAGE_CIPHER, TOML storage_cipher): "rot13" is neither aes-gcm nor fernet
    error: --storage-encryption-key (environment OIDC_PROXY_STORAGE_ENCRYPTION_KEY, TOML storage_encryption_key): storage key 1 is not 32 bytes in url-safe base64; `oidc-proxy keys generate` makes one
    error: --jwt-signing-key (environment OIDC_PROXY_JWT_SIGNING_KEY, TOML jwt_signing_key): key 1: a master key needs at least 32 bytes, this one has 3; `oidc-proxy keys generate` makes one
    error: --jwt-signing-key (environment OIDC_PROXY_JWT_SIGNING_KEY, TOML jwt_signing_key): key 1: a master key needs at least 32 bytes, this one has 4; `oidc-proxy keys generate` makes one
    error: --jwt-signing-key (environment OIDC_PROXY_JWT_SIGNING_KEY, TOML jwt_signing_key): it holds no key
    "#);
}

#[test]
fn one_of_a_secret_and_its_file_is_enough() {
    let problems = load(&[("client-secret", "hush"), ("client-secret-file", "/x")]).unwrap_err();
    assert!(problems.contains("are both given (flag); one of them is enough"), "{problems}");
    assert!(!problems.contains("hush"), "{problems}");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let problems = load_in(&[
        ("OIDC_PROXY_BASEURL", "x"),
        ("OIDC_PROXY_ISSUER", "x"),
        ("OIDC_PROXY_client_id", "x"),
        ("OIDC_PROXYX", "not ours"),
        ("HOME", "not ours"),
    ]);
    assert_snapshot!(problems.unwrap_err(), @r#"
    error: the environment variable OIDC_PROXY_BASEURL is no setting; did you mean OIDC_PROXY_BASE_URL?
    error: the environment variable OIDC_PROXY_ISSUER is no setting; did you mean OIDC_PROXY_LISTEN?
    error: the environment variable OIDC_PROXY_client_id is no setting; did you mean OIDC_PROXY_CLIENT_ID?
    "#);
    let problems =
        load_file("baseurl = 'x'\nconfig = 'x'\nclient-id = 'x'\n[storage]\nurl = 'x'\n");
    assert_snapshot!(problems.unwrap_err(), @r#"
    error: "baseurl" in x.toml is no setting; did you mean base_url?
    error: "client-id" in x.toml is no setting; did you mean client_id?
    error: "config" in x.toml is no setting; did you mean config_url?
    error: --storage (environment OIDC_PROXY_STORAGE, TOML storage): it is a table in x.toml, not a text, true, false or an array of texts
    "#);
}

#[test]
fn a_file_that_cannot_be_read_is_named_without_what_is_in_it() {
    let broken = load_file("audience = 'x'\nclient_secret = 'hush\n").unwrap_err();
    let typed = load_file("client_secret = 12\nallow_group = [1]\nproduction = 1979-05-27\n");
    let listed = load_file("client_secret = ['hush']\n");
    assert_snapshot!(format!("{broken}{}{}", typed.unwrap_err(), listed.unwrap_err()), @r#"
    error: --config (environment OIDC_PROXY_CONFIG): line 2 of x.toml is not TOML: invalid literal string, expected `'`
    error: --allow-group (environment OIDC_PROXY_ALLOW_GROUP, TOML allow_group): it is an array of other things than texts in x.toml, not a text, true, false or an array of texts
    error: --client-secret (environment OIDC_PROXY_CLIENT_SECRET, TOML client_secret): it is a number in x.toml, not a text, true, false or an array of texts
    error: --production (environment OIDC_PROXY_PRODUCTION, TOML production): it is a date in x.toml, not a text, true, false or an array of texts
    error: --client-secret (environment OIDC_PROXY_CLIENT_SECRET, TOML client_secret): it is an array; one text is expected
    "#);
    // Nobody knows what is missing as long as the file is.
    let nowhere = Config::load(&sources(&[("config", "/nowhere.toml")], &[])).unwrap_err();
    assert_eq!(
        nowhere.to_string(),
        "error: --config (environment OIDC_PROXY_CONFIG): /nowhere.toml could not be read: \
         No such file or directory (os error 2)\n"
    );
}

#[test]
fn production_refuses_what_is_good_for_trying_out_only() {
    let memory = ("storage", "memory:");
    let public = ("base-url", "https://mcp.example");
    let danger = ("danger-memory-storage", "true");
    assert!(load(&[memory]).is_ok());
    assert!(load(&[public]).is_ok());
    assert!(load(&[public, memory, danger]).is_ok());
    for flags in [&[public, memory][..], &[("production", "true"), memory]] {
        let problems = load(flags).unwrap_err();
        assert!(problems.contains("in production memory: logs everybody out"), "{problems}");
    }
    let plain = ("config-url", "http://localhost:9000");
    let problems = load(&[public, plain]).unwrap_err();
    assert!(problems.contains("must be reached by https"), "{problems}");
    let problems = load(&[public, ("production", "false")]).unwrap_err();
    assert!(problems.contains("false is for a --base-url on loopback only"), "{problems}");
}

#[test]
fn ways_of_telling_are_combined() {
    let ways = |identity| load(&[("identity", identity)]).unwrap().identity;
    assert_eq!(ways("none"), Ways::default());
    assert_eq!(ways("headers"), Ways::headers());
    let minute = Some(Duration::from_mins(1));
    assert_eq!(ways("assertion"), Ways { assertion: minute, ..Ways::default() });
    assert_eq!(
        ways("provider-token,headers assertion"),
        Ways { headers: true, assertion: minute, provider_token: true }
    );
    let short = load(&[("identity", "assertion"), ("assertion-lifetime", "2s")]).unwrap();
    assert_eq!(short.identity.assertion, Some(Duration::from_secs(2)));
}

#[test]
fn the_algorithm_is_one_of_three() {
    for algorithm in SigningAlgorithm::ALL {
        let config = load(&[("signing-algorithm", algorithm.as_str())]).unwrap();
        assert_eq!(config.signing_algorithm, algorithm);
    }
    for other in ["RS256", "none", "eddsa"] {
        let problems = load(&[("signing-algorithm", other)]).unwrap_err();
        assert!(problems.contains("it is none of HS256, ES256, EdDSA"), "{problems}");
    }
}

#[test]
fn a_listener_beyond_this_machine_is_noticed() {
    for (listen, loopback) in [
        ("127.0.0.1:0", true),
        ("[::1]:8000", true),
        ("localhost:8000", true),
        ("0.0.0.0:8000", false),
        ("[::]:8000", false),
        ("192.0.2.1:8000", false),
    ] {
        let public = ("base-url", "https://mcp.example");
        let config = load(&[("listen", listen), public]).unwrap();
        assert_eq!(config.listen.is_loopback(), loopback, "{listen}");
        // Plain cookies stay on this machine.
        assert_eq!(load(&[("listen", listen)]).is_ok(), loopback, "{listen}");
    }
    for (base_url, loopback) in [
        ("http://localhost:8000", true),
        ("http://[::1]:8000", true),
        ("https://mcp.localhost", true),
        ("https://mcp.example", false),
        ("https://127.0.0.1.example", false),
    ] {
        // Off loopback it is production, which refuses this.
        let trying = load(&[("base-url", base_url), ("storage", "memory:")]);
        assert_eq!(trying.is_ok(), loopback, "{base_url}");
    }
}

#[test]
fn keys_are_taken_newest_first() {
    let (new, old) = (MasterKey::generate(), MasterKey::generate());
    let text = format!(
        "# newest first\n{}\n{}\n",
        new.to_base64url().expose_secret(),
        old.to_base64url().expose_secret()
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    fs::write(&path, text).unwrap();
    let ring = load(&[("jwt-signing-key-file", path.to_str().unwrap())]).unwrap().signing_keys;
    let ids: Vec<_> = ring.unwrap().ids().map(ToString::to_string).collect();
    assert_eq!(ids, [new.id().to_string(), old.id().to_string()]);
}

#[test]
fn a_secret_is_shown_nowhere() {
    let key = Fernet::generate_key();
    let flags = [("client-secret", "hush"), ("storage-encryption-key", key.expose_secret())];
    let all: Vec<_> = ENOUGH.into_iter().chain(flags).collect();
    let sources = sources(&all, &[]);
    let config = Config::load(&sources).unwrap();
    let printed = effective(&Given::collect(&sources).0);
    let shown = format!("{sources:?} {config:?} {printed}");
    assert!(!shown.contains("hush") && !shown.contains(key.expose_secret()), "{shown}");
    assert!(printed.contains("# client_secret: redacted  # flag\n"), "{printed}");
}

/// Of several processes none may make keys that the others do not have.
#[test]
fn shared_storage_needs_given_keys() {
    assert_snapshot!(complaints(&[("storage", "redis+sentinel://:hush@a,b/main")]), @r"
    error: --storage-encryption-key (environment OIDC_PROXY_STORAGE_ENCRYPTION_KEY, TOML storage_encryption_key): with storage that several processes share it must be given, the same to each of them; `oidc-proxy keys generate` makes one
    error: --jwt-signing-key (environment OIDC_PROXY_JWT_SIGNING_KEY, TOML jwt_signing_key): with storage that several processes share it must be given, the same to each of them; `oidc-proxy keys generate` makes one
    ");
    let (storage, signing) = (Fernet::generate_key(), MasterKey::generate().to_base64url());
    let config = load(&[
        ("storage", "postgres://me:hush@db/app"),
        ("storage-encryption-key", storage.expose_secret()),
        ("jwt-signing-key", signing.expose_secret()),
    ])
    .unwrap();
    assert!(matches!(config.storage, Storage::Shared(_)));
    assert!(!format!("{config:?}").contains("hush"));
}

#[test]
fn a_password_in_a_url_is_repeated_nowhere() {
    for wrong in [
        ("storage", "postgres://db/0?user=me&password=hush"),
        ("storage", "redis://:hu/hush@db/0"),
        ("base-url", "https://me:hu/hush@mcp.example"),
        ("config-url", "https://me:hu/hush@idp.example"),
        ("backend", "http://me:hu/hush@localhost"),
    ] {
        let problems = load(&[wrong]).unwrap_err();
        let printed = effective(&Given::collect(&sources(&[wrong], &[])).0);
        assert!(printed.contains("redacted"), "{printed}");
        assert!(!problems.contains("hush") && !printed.contains("hush"), "{problems} {printed}");
    }
}

#[test]
fn what_counts_is_printed_with_its_source() {
    let environment = [
        ("OIDC_PROXY_ALLOW_GROUP", r#"["a b", "c"]"#),
        ("OIDC_PROXY_PRODUCTION", "false"),
        ("OIDC_PROXY_CLIENT_SECRET_FILE", "/run/secrets/x"),
        ("OIDC_PROXY_STORAGE", "redis://me:hush@db/0"),
    ];
    let flags: Vec<_> = ENOUGH.into_iter().filter(|(name, _)| *name != "backend").collect();
    let printed = effective(&Given::collect(&sources(&flags, &environment)).0);
    let (settings, lifetimes) = printed.split_once("consent_lifetime").unwrap();
    assert_snapshot!(settings, @r#"
    config_url = "https://idp.example"  # flag
    client_id = "the-client"  # flag
    client_secret_file = "/run/secrets/x"  # environment
    # token_endpoint_auth_method: what the provider advertises
    # audience: none
    # provider_scopes: openid profile email, as far as the provider knows them
    # extra_authorize_params: none
    provider_revocation = "last-session"  # default
    userinfo = false  # default
    base_url = "http://localhost:8000"  # flag
    listen = "127.0.0.1:8000"  # default
    mcp_path = "/mcp"  # default
    redirect_path = "/auth/callback"  # default
    required_scopes = ["openid"]  # default
    # introspection_client: nobody
    allow_email = ["alice@example.com"]  # flag
    # allow_email_domain: no such rule
    allow_group = ["a b", "c"]  # environment
    # allow_claim: no such rule
    allow_any_user = false  # default
    # backend: missing
    # backend_ca_file: the CAs of the operating system
    identity = ["headers"]  # default
    assertion_lifetime = "1m"  # default
    storage = "redis://redacted@db/0"  # environment
    # storage_cipher: aes-gcm, or what the storage was written with
    # storage_encryption_key: made once and kept beside the database
    # jwt_signing_key: made once and kept beside the database
    signing_algorithm = "HS256"  # default
    # admin_listen: off
    # admin_host: localhost and IP addresses
    # admin_token_file: made beside the database at each start
    audit_log = "off"  # default
    trusted_proxies = "0"  # default
    max_connections = "4096"  # default
    drain_time = "5s"  # default
    # log_format: text on a terminal, else json
    danger_replace_signing_keys = false  # default
    production = false  # environment
    danger_memory_storage = false  # default
    "#);
    assert!(lifetimes.ends_with("used_client_lifetime = \"90d\"  # default\n"));
    assert!(toml::from_str::<toml::Table>(&printed).is_ok(), "{printed}");
}

#[test]
fn names_are_those_that_are_promised() {
    let names: BTreeSet<_> = Name::all().map(|name| name.0).collect();
    assert_eq!(names.len(), Name::all().count(), "a name is given twice");
    // Issue 3 fixes these.
    for fixed in [
        "config-url",
        "client-id",
        "client-secret",
        "client-secret-file",
        "base-url",
        "backend",
        "listen",
        "mcp-path",
        "required-scopes",
        "audience",
        "storage",
        "storage-encryption-key",
        "storage-encryption-key-file",
        "jwt-signing-key",
        "jwt-signing-key-file",
        "allow-email",
        "allow-email-domain",
        "allow-group",
        "allow-claim",
        "allow-any-user",
        "identity",
        "log-format",
    ] {
        assert!(names.contains(fixed), "{fixed}");
    }
    let name = Name("client-secret-file");
    assert_eq!(name.flag(), "--client-secret-file");
    assert_eq!(name.environment(), "OIDC_PROXY_CLIENT_SECRET_FILE");
    assert_eq!(name.toml(), "client_secret_file");
}

#[test]
fn the_lifetimes_in_the_table_are_the_ones_that_hold() {
    let mut seen = BTreeSet::new();
    for (setting, place) in &LIFETIMES {
        let Fallback::Is(text) = setting.fallback else { panic!("{}", setting.name) };
        let stated = crate::cli::duration::parse(text).unwrap();
        assert_eq!(*place(&mut Lifetimes::default()), stated, "{}", setting.name);
        // Each has a place of its own.
        let mut lifetimes = Lifetimes::default();
        *place(&mut lifetimes) = Duration::from_secs(7);
        assert!(seen.insert(format!("{lifetimes:?}")), "{}", setting.name);
        let config = load(&[(setting.name, "7h")]);
        if let Ok(config) = config {
            assert_ne!(config.lifetimes, Lifetimes::default(), "{}", setting.name);
        }
    }
}

#[test]
fn the_manual_has_the_same_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let manual = fs::read_to_string(path).unwrap();
    let (_, after) = manual.split_once("<!-- settings: begin -->\n\n").unwrap();
    let (table, _) = after.split_once("<!-- settings: end -->").unwrap();
    assert!(
        table == reference(),
        "replace the reference in docs/configuration.md by what `oidc-proxy config reference` prints"
    );
}

#[test]
fn who_may_ask_about_tokens_has_an_id_and_a_secret_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, short) = (file("good", "0123456789abcdef\n"), file("short", "hush\n"));
    let given = format!("rs={good}");
    let config = load(&[("introspection-client", &given)]).unwrap();
    assert_eq!(config.resource_servers[0].id(), "rs");
    for (wrong, why) in [
        (good.as_str(), "expected ID=FILE"),
        (&format!("={good}"), "its id is empty"),
        (&format!("rs={short}"), "shorter than 16 bytes"),
        ("rs=/nowhere", "could not be read"),
    ] {
        let problems = load(&[("introspection-client", wrong)]).unwrap_err();
        assert!(problems.contains(why) && !problems.contains("hush"), "{problems}");
    }
}
