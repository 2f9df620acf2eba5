#![doc = include_str!("../README.md")]

use std::{sync::Arc, time::Duration};

use axum::Router;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio_util::sync::CancellationToken;

mod activity;
mod tools;

pub use crate::{activity::Activity, tools::IDENTITY_HEADERS};

use crate::tools::DevMcp;

/// What can be set beyond path and end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Values of `Host` that are answered, with or without a port; others are refused with 403
    /// (DNS rebinding). Default: `localhost`, `127.0.0.1` and `::1`. Empty: every host.
    pub allowed_hosts: Vec<String>,
    /// How often a silent stream gets a comment, so that nothing on the way gives it up and a
    /// vanished client is noticed. Default: 15 seconds.
    pub keep_alive: Duration,
    /// Counts the countdowns; keep a clone to look at them.
    pub activity: Activity,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allowed_hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            keep_alive: Duration::from_secs(15),
            activity: Activity::default(),
        }
    }
}

/// The MCP endpoint at `path` (such as `/mcp`), for loopback hosts.
///
/// Canceling `cancel` ends all sessions and streams.
///
/// # Panics
/// If `path` is no route: empty, or without a leading slash.
pub fn router(path: &str, cancel: CancellationToken) -> Router {
    router_with(path, cancel, Options::default())
}

/// The MCP endpoint at `path`, with [`Options`].
///
/// # Panics
/// If `path` is no route: empty, or without a leading slash.
pub fn router_with(path: &str, cancel: CancellationToken, options: Options) -> Router {
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(options.allowed_hosts)
        .with_sse_keep_alive(Some(options.keep_alive))
        .with_cancellation_token(cancel);
    let server = DevMcp::new(options.activity);
    let service: StreamableHttpService<DevMcp, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config);
    let router = Router::new();
    // People type the slash; it means the same endpoint.
    let router = match path.strip_suffix('/').unwrap_or(path) {
        "" => router,
        bare => router.route_service(&format!("{bare}/"), service.clone()),
    };
    router.route_service(path, service)
}
