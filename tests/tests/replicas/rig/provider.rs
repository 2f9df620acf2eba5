//! A provider that counts, and can be told to wait.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use dev_idp::{ClientConfig, DevIdp, ExpiresInFault, RefreshTokenFault};
use end_to_end::{PATIENCE, User, browser::Intent};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

pub(super) const CLIENT_ID: &str = "the-client";
pub(super) const CLIENT_SECRET: &str = "the-secret";

/// Its access tokens are over when it gives them, so that every refresh of ours wants one of the
/// provider's; unless it is told to give [lasting ones](Self::give_lasting_tokens). A refresh token
/// that comes twice ends its session. Gone when dropped.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    idp: DevIdp,
    gate: watch::Sender<Gate>,
    _server: JoinSet<()>,
}

/// Before the token endpoint.
#[derive(Clone, Copy, Default)]
struct Gate {
    is_closed: bool,
    waiting: usize,
}

impl Provider {
    pub(super) async fn start(callback_url: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let idp = DevIdp::builder()
            .issuer(&issuer)
            .client(ClientConfig {
                client_id: CLIENT_ID.to_owned(),
                client_secret: Some(CLIENT_SECRET.to_owned()),
                redirect_uris: vec![callback_url.to_owned()],
            })
            .build()?;
        idp.misbehave().set(|switches| switches.expires_in = Some(ExpiresInFault::Negative));
        let gate = watch::Sender::<Gate>::default();
        let router = idp.clone().into_router().layer(from_fn_with_state(gate.clone(), pass));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ends_with_the_test = axum::serve(listener, router).await;
        });
        Ok(Self { issuer, idp, gate, _server: server })
    }

    /// Alice, and what she wants.
    pub(crate) fn alice() -> Intent {
        let alice = dev_idp::User::alice();
        Intent::LogIn(User { name: alice.username, password: alice.password })
    }

    /// How often it was asked to refresh.
    pub(crate) fn refreshes(&self) -> u64 {
        self.idp.stats().refresh_calls
    }

    /// From now on nobody needs a refresh for an hour.
    pub(crate) fn give_lasting_tokens(&self) {
        self.idp.misbehave().set(|switches| switches.expires_in = None);
    }

    /// From now on a refresh token may be used as often as somebody likes.
    pub(crate) fn allow_reuse(&self) {
        self.idp.misbehave().set(|switches| {
            switches.refresh_token = Some(RefreshTokenFault::NotRotated);
        });
    }

    /// From now on who wants tokens waits.
    pub(crate) fn close(&self) {
        self.gate.send_modify(|gate| gate.is_closed = true);
    }

    /// Until somebody waits for tokens.
    pub(crate) async fn is_waited_for(&self) -> anyhow::Result<()> {
        let mut gate = self.gate.subscribe();
        let waiting = gate.wait_for(|gate| gate.waiting > 0);
        timeout(PATIENCE, waiting).await.context("nobody asks the provider")??;
        Ok(())
    }

    /// Lets everybody go on.
    pub(crate) fn open(&self) {
        self.gate.send_modify(|gate| gate.is_closed = false);
    }
}

async fn pass(State(gate): State<watch::Sender<Gate>>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/token" {
        gate.send_modify(|gate| gate.waiting += 1);
        // Fails only without a sender, and this is one.
        let _ = gate.subscribe().wait_for(|gate| !gate.is_closed).await;
        gate.send_modify(|gate| gate.waiting -= 1);
    }
    next.run(request).await
}
