//! An rmcp server behind a login, in one process: `cargo run -p oidc-proxy --example rmcp`.

pub(crate) mod support;

use std::sync::Arc;

use axum::Router;
use http::request::Parts;
use kv_storage::Memory;
use oidc_proxy::{AccessPolicy, KeyRing, MasterKey, OidcProxy, Principal};
use rmcp::{
    ServerHandler,
    handler::server::tool::Extension,
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};

#[derive(Clone)]
struct Greeter;

#[tool_router]
impl Greeter {
    /// Greets the person who is logged in.
    #[tool]
    async fn greet(&self, Extension(parts): Extension<Parts>) -> String {
        let user = parts.extensions.get::<Principal>();
        let name = user.and_then(|user| user.claim_str("name")).unwrap_or("somebody");
        format!("Hello {name}!")
    }
}

#[tool_handler]
impl ServerHandler for Greeter {}

pub(crate) fn app(config_url: &str, base_url: &str) -> anyhow::Result<Router> {
    let proxy = OidcProxy::builder(config_url)
        .client_id(support::CLIENT_ID)
        .client_secret(support::CLIENT_SECRET.into())
        .base_url(base_url)
        .resource("/mcp")
        .storage(Memory::new())
        .signing_keys(KeyRing::new(MasterKey::generate()))
        .access(AccessPolicy::nobody().allow_group("staff"))
        .build()?;
    let sessions: Arc<LocalSessionManager> = Arc::default();
    let config = StreamableHttpServerConfig::default();
    let server = StreamableHttpService::new(|| Ok(Greeter), sessions, config);
    Ok(proxy.protect(Router::new().route_service("/mcp", server)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    support::run("/mcp", app).await
}
