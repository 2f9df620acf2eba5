//! The providers.

use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use dev_idp::{ClientConfig, DevIdp, Lifetimes};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::script::Script;

/// The one application that somebody registered by hand.
pub(crate) const CLIENT_ID: &str = "mcp-proxy";
pub(crate) const CLIENT_SECRET: &str = "the secret of the one application";

/// Over before ours is refused, so that the proxy renews it when the client refreshes.
const ACCESS_TOKEN: Duration = Duration::from_secs(5);

/// A running provider. Gone when dropped.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    kind: Kind,
}

enum Kind {
    Dev { idp: DevIdp, server: JoinHandle<()> },
    Certified(Box<Script>),
}

/// How `oidc-provider` is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// JWT access tokens; refresh tokens are used once, and given for `offline_access` only.
    Rotating,
    /// Opaque access tokens, and a refresh token that stays.
    Fixed,
}

/// Serves `router`, whose URL it is told, on a port of its own.
pub(crate) async fn serve(
    router: impl FnOnce(&str) -> anyhow::Result<Router>,
) -> anyhow::Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = router(&url)?;
    let server = tokio::spawn(async move {
        // It ends with the test.
        let _ = axum::serve(listener, router).await;
    });
    Ok((url, server))
}

impl Provider {
    /// Ours.
    pub(crate) async fn dev_idp(callback_url: &str) -> anyhow::Result<Self> {
        let mut idp = None;
        let (issuer, server) = serve(|issuer| {
            let lifetimes = Lifetimes { access_token: ACCESS_TOKEN, ..Lifetimes::default() };
            let client = ClientConfig {
                client_id: CLIENT_ID.into(),
                client_secret: Some(CLIENT_SECRET.into()),
                redirect_uris: vec![callback_url.into()],
            };
            let built = DevIdp::builder().issuer(issuer).client(client).lifetimes(lifetimes);
            Ok(idp.insert(built.build()?).clone().into_router())
        })
        .await?;
        let idp = idp.context("it was built")?;
        Ok(Self { issuer, kind: Kind::Dev { idp, server } })
    }

    /// npm `oidc-provider`.
    pub(crate) async fn certified(callback_url: &str, tokens: Tokens) -> anyhow::Result<Self> {
        let settings = json!({
            "client": {"id": CLIENT_ID, "secret": CLIENT_SECRET, "redirectUri": callback_url},
            "rotating": tokens == Tokens::Rotating,
            "accessTokenSeconds": ACCESS_TOKEN.as_secs(),
        });
        let mut script = Script::start("provider.mjs", &[&settings.to_string()])?;
        let started = script.receive().await?;
        let issuer = started["issuer"].as_str().context("no issuer")?.to_owned();
        Ok(Self { issuer, kind: Kind::Certified(Box::new(script)) })
    }

    /// How often it has answered a refresh token with new tokens.
    pub(crate) async fn refreshes(&mut self) -> anyhow::Result<u64> {
        match &mut self.kind {
            Kind::Dev { idp, .. } => Ok(idp.stats().refresh_calls),
            Kind::Certified(script) => {
                let nobody = async |url| bail!("a provider asks for {url}");
                let count: Value = script.answer(&json!({"do": "refreshes"}), nobody).await?;
                count.as_u64().context("no number of refreshes")
            }
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Kind::Dev { server, .. } = &self.kind {
            server.abort();
        }
    }
}
