//! A small axum app behind a login: `cargo run -p oidc-proxy --example axum`.

pub(crate) mod support;

use axum::{Router, routing::get};
use kv_storage::Memory;
use oidc_proxy::{AccessPolicy, KeyRing, MasterKey, OidcProxy, Principal};

async fn hello(user: Principal) -> String {
    let name = user.claim_str("name").unwrap_or("somebody");
    format!("Hello {name}, you are {} at {}.", user.subject(), user.issuer().unwrap_or_default())
}

pub(crate) fn app(config_url: &str, base_url: &str) -> anyhow::Result<Router> {
    let proxy = OidcProxy::builder(config_url)
        .client_id(support::CLIENT_ID)
        .client_secret(support::CLIENT_SECRET.into())
        .base_url(base_url)
        .resource("/hello")
        .storage(Memory::new())
        .signing_keys(KeyRing::new(MasterKey::generate()))
        .access(AccessPolicy::nobody().allow_email_domain("example.com"))
        .build()?;
    Ok(proxy.protect(Router::new().route("/hello", get(hello))))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    support::run("/hello", app).await
}
