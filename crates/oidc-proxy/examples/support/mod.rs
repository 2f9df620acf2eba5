//! What both examples need beside themselves: a provider to log in at, and ports.

use anyhow::Context;
use axum::Router;
use dev_idp::{ClientConfig, DevIdp};
use tokio::{net::TcpListener, task::JoinHandle};

/// The application that stands registered at the provider.
pub(crate) const CLIENT_ID: &str = "example";
/// Its secret.
pub(crate) const CLIENT_SECRET: &str = "the example's secret";

/// An app and its provider, both answering.
pub(crate) struct Running {
    pub(crate) base_url: String,
    pub(crate) provider: DevIdp,
    pub(crate) server: JoinHandle<std::io::Result<()>>,
}

/// Serves a provider on a free port and, on another one, what `app` makes of its URL and ours.
pub(crate) async fn start(
    port: u16,
    app: impl FnOnce(&str, &str) -> anyhow::Result<Router>,
) -> anyhow::Result<Running> {
    let (listener, base_url) = listen(port).await?;
    let (provider_listener, issuer) = listen(0).await?;
    let provider = DevIdp::builder()
        .issuer(issuer)
        .client(ClientConfig {
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(CLIENT_SECRET.to_owned()),
            redirect_uris: vec![format!("{base_url}/auth/callback")],
        })
        .build()?;
    let app = app(provider.issuer(), &base_url)?;
    let provider_app = provider.clone().into_router();
    tokio::spawn(async move { axum::serve(provider_listener, provider_app).await });
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(Running { base_url, provider, server })
}

/// Serves until somebody presses Ctrl-C.
#[expect(clippy::print_stdout, reason = "the person in front of it reads this")]
pub(crate) async fn run(
    path: &str,
    app: impl FnOnce(&str, &str) -> anyhow::Result<Router>,
) -> anyhow::Result<()> {
    let running = start(8000, app).await?;
    println!("Point an MCP client at {}{path}", running.base_url);
    for user in running.provider.users() {
        println!("Log in as {} with the password {}", user.username, user.password);
    }
    tokio::select! {
        ended = running.server => ended??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn listen(port: u16) -> anyhow::Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))?;
    let url = format!("http://localhost:{}", listener.local_addr()?.port());
    Ok((listener, url))
}
