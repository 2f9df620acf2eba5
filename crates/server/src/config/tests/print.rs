//! The settings as people see them.

use std::{fs, path::Path};

use insta::assert_snapshot;
use kv_storage::Fernet;
use secrecy::ExposeSecret;

use super::{ENOUGH, load, sources};
use crate::config::{Config, Given, effective, reference};

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
    client_metadata_documents = true  # default
    # client_metadata_hosts: every public host
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
    danger_client_metadata_on_loopback = false  # default
    "#);
    assert!(lifetimes.ends_with("client_metadata_stale = \"24h\"  # default\n"));
    assert!(toml::from_str::<toml::Table>(&printed).is_ok(), "{printed}");
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
