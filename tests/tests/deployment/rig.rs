//! A provider, an MCP server, and the built binary between them.

use anyhow::Context as _;
use axum::Router;
use dev_idp::{ClientConfig, DevIdp};
use end_to_end::{
    User,
    browser::Intent,
    serve::{Serve, Settings},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

const CLIENT_ID: &str = "mcp-proxy";
const CLIENT_SECRET: &str = "the secret of the one application";

/// All that stands behind what is in front.
pub(crate) struct Rig {
    pub(crate) serve: Serve,
    pub(crate) alice: Intent,
    _servers: JoinSet<()>,
    _stop: DropGuard,
}

impl Rig {
    pub(crate) async fn start(settings: Settings) -> anyhow::Result<Self> {
        let mut servers = JoinSet::new();
        let callback = format!("{}/auth/callback", settings.base_url());
        let mut alice = None;
        let issuer = run(&mut servers, |issuer| {
            let client = ClientConfig {
                client_id: CLIENT_ID.into(),
                client_secret: Some(CLIENT_SECRET.into()),
                redirect_uris: vec![callback],
            };
            let idp = DevIdp::builder().issuer(issuer).client(client).build()?;
            let account = idp.users().iter().find(|user| user.username == "alice");
            let account = account.context("no alice")?;
            let (name, password) = (account.username.clone(), account.password.clone());
            alice = Some(Intent::LogIn(User { name, password }));
            Ok(idp.into_router())
        })
        .await?;
        let stop = CancellationToken::new();
        let mcp = dev_mcp::router("/mcp", stop.clone());
        let backend = run(&mut servers, |_| Ok(mcp)).await?;
        let settings = settings
            .set("config-url", &issuer)
            .set("client-id", CLIENT_ID)
            .set("client-secret", CLIENT_SECRET)
            .set("backend", format!("{backend}/mcp"))
            .set("allow-email", "alice@example.com");
        let serve = settings.start().await?;
        let alice = alice.context("no provider")?;
        Ok(Self { serve, alice, _servers: servers, _stop: stop.drop_guard() })
    }
}

/// Serves the router, whose URL it is told, on a port of its own.
async fn run(
    servers: &mut JoinSet<()>,
    router: impl FnOnce(&str) -> anyhow::Result<Router>,
) -> anyhow::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = router(&url)?;
    servers.spawn(async move {
        // It ends with the test.
        let _ = axum::serve(listener, router).await;
    });
    Ok(url)
}
