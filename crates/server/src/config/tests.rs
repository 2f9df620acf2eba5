//! The table of settings, and what is said about wrong ones.

mod access;
mod backend;
mod client_settings;
mod clients;
mod keeping;
mod lifetimes;
mod print;
mod sources;

use std::{collections::BTreeSet, fs};

use insta::assert_snapshot;

use super::{
    setting::{CONFIG, Name},
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
        ("access-token-basis", "idp"),
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
    error: --access-token-basis (environment OIDC_PROXY_ACCESS_TOKEN_BASIS, TOML access_token_basis): "idp" is neither provider nor fixed
    error: --refresh-grace (environment OIDC_PROXY_REFRESH_GRACE, TOML refresh_grace): lifetime `refresh_grace` is 3600s; it must be at most 600s
    error: --code-memory (environment OIDC_PROXY_CODE_MEMORY, TOML code_memory): it must not be shorter than --code-lifetime (environment OIDC_PROXY_CODE_LIFETIME, TOML code_lifetime)
    error: --required-scopes (environment OIDC_PROXY_REQUIRED_SCOPES, TOML required_scopes): it begins like a JSON array, but is not one of texts
    "#);
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
