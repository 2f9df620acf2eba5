//! Storage and keys.

use std::fs;

use insta::assert_snapshot;
use jwt_issuer::MasterKey;
use kv_storage::Fernet;
use secrecy::ExposeSecret;

use super::{complaints, load};
use crate::config::Storage;

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
