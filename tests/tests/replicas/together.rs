//! What is begun at one replica goes on at the other.

use std::time::Duration;

use anyhow::{Context as _, bail};
use end_to_end::{PATIENCE, browser::Browser, eventually};
use http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    is_invalid_grant, logged_in, on_each_store,
    rig::{A, B, Provider, Rig, Store},
};

async fn one_login_uses_both(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[]).await?;
    // Registered at A, authorized at B, called back at A, where the base URL leads.
    let [at_a, at_b] = rig.register_at_both().await?;
    let mut browser = Browser::new()?;
    let authorized = at_b.authorize(&mut browser, &Provider::alice()).await?;
    let visited = |port| browser.visited.iter().any(|url| url.port() == Some(port));
    let b = rig.replica(B)?.address()?.port();
    assert!(visited(b) && visited(rig.port()), "{:?}", browser.visited);
    let first = at_b.redeem(&authorized, &[]).await?.tokens()?;
    let second = at_a.refresh(&first.refresh).await?.tokens()?;
    let third = at_b.refresh(&second.refresh).await?.tokens()?;
    for replica in [A, B] {
        let status = rig.status_with(&at_a, replica, &third.access).await?;
        assert_eq!(status, StatusCode::OK, "replica {replica}");
    }
    assert_eq!(at_a.revoke(&third.refresh).await?.status, StatusCode::OK);
    assert!(is_invalid_grant(&at_b.refresh(&third.refresh).await?));
    for replica in [A, B] {
        eventually("the access token to be refused", async || {
            let status = rig.status_with(&at_a, replica, &third.access).await;
            status.is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
        })
        .await?;
    }
    Ok(())
}

async fn a_stream_of_the_other_replica_is_cut(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[("stream-check", "1s")]).await?;
    let ([at_a, mut at_b], tokens) = logged_in(&rig).await?;
    at_b.resource = rig.directly(B, &at_b.resource)?;
    let countdown = json!({"steps": 600, "interval_ms": 200});
    let mut stream = at_b.call(&tokens.access, "countdown", countdown).await?;
    assert_eq!(stream.status(), StatusCode::OK);
    stream.chunk().await?.context("the stream ended at once")?;
    assert_eq!(at_a.revoke(&tokens.refresh).await?.status, StatusCode::OK);
    let cut = async {
        loop {
            match stream.chunk().await {
                // Broken off, so that nobody takes it for a whole answer.
                Err(_) => return Ok(()),
                Ok(None) => bail!("the stream ended as if nothing had happened"),
                Ok(Some(_)) => {}
            }
        }
    };
    timeout(PATIENCE, cut).await.context("the stream goes on")?
}

/// The client is gone while the provider thinks; then it comes again, at the other replica.
async fn a_hang_up_in_a_refresh_loses_nothing(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[]).await?;
    let (clients, mut tokens) = logged_in(&rig).await?;
    for replica in [A, B] {
        let before = rig.provider.refreshes();
        rig.provider.close();
        let refresh = clients[replica].refresh(&tokens.refresh);
        tokio::select! {
            answer = refresh => bail!("answered without the provider: {}", answer?.text),
            asked = rig.provider.is_waited_for() => asked?,
        }
        rig.provider.open();
        // Whether the answer is there already or not, it is for whoever comes.
        tokens = clients[1 - replica].refresh(&tokens.refresh).await?.tokens()?;
        assert_eq!(rig.provider.refreshes() - before, 1, "replica {replica}");
    }
    // And at any moment, be it before, amid or after what the server does.
    for attempt in 0..HANG_UPS {
        let before = rig.provider.refreshes();
        let patience = Duration::from_micros(attempt * MORE_PATIENCE_MICROS);
        let cut = timeout(patience, clients[A].refresh(&tokens.refresh)).await;
        let next = clients[B].refresh(&tokens.refresh).await?.tokens()?;
        if let Ok(answer) = cut {
            assert_eq!(answer?.tokens()?.refresh, next.refresh, "{patience:?}: it was forked");
        }
        let asked = rig.provider.refreshes() - before;
        assert!(asked <= 1, "{patience:?}: the provider was asked {asked} times");
        tokens = next;
    }
    let status = rig.status_with(&clients[A], B, &tokens.access).await?;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(rig.sessions(&clients[A]).await?, 1);
    Ok(())
}

/// So many clients hang up, each after a little more patience: an idle machine answers the last
/// ones.
const HANG_UPS: u64 = 40;
const MORE_PATIENCE_MICROS: u64 = 700;

on_each_store!(
    one_login_uses_both,
    a_stream_of_the_other_replica_is_cut,
    a_hang_up_in_a_refresh_loses_nothing,
);
