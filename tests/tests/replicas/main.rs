//! Two server processes on one storage behave as one: on Redis and on PostgreSQL.

#![expect(clippy::print_stdout, reason = "how often a race was run is to be seen")]

mod rig;

use std::sync::Arc;

use anyhow::Context as _;
use end_to_end::{
    browser::Browser,
    client::{Answer, Client, Tokens},
    eventually,
};
use http::StatusCode;
use tokio::{sync::Barrier, task::JoinSet};

use crate::rig::{Replicas, Store};

/// As many callers as there are in one instant, half of them at each replica.
const CALLERS: usize = 64;

/// One round logs somebody in and asks both processes 64 times, so a race of one process that is
/// run so often is run once here.
const ROUNDS_OF_OTHERS: usize = 20;

fn rounds() -> usize {
    let told = std::env::var("RACE_ROUNDS").ok().and_then(|rounds| rounds.parse::<usize>().ok());
    (told.unwrap_or(0) / ROUNDS_OF_OTHERS).max(2)
}

/// Makes a call by each of many clients, all in the same instant.
async fn at_once<F>(calls: impl IntoIterator<Item = F>) -> anyhow::Result<Vec<Answer>>
where
    F: Future<Output = anyhow::Result<Answer>> + Send + 'static,
{
    let calls: Vec<_> = calls.into_iter().collect();
    let start = Arc::new(Barrier::new(calls.len()));
    let mut running = JoinSet::new();
    for call in calls {
        let start = Arc::clone(&start);
        running.spawn(async move {
            start.wait().await;
            call.await
        });
    }
    running.join_all().await.into_iter().collect()
}

fn is_invalid_grant(answer: &Answer) -> bool {
    (answer.status, answer.error()) == (StatusCode::BAD_REQUEST, "invalid_grant")
}

/// A client that knows both replicas, and tokens of Alice's.
async fn logged_in(replicas: &Replicas) -> anyhow::Result<([Client; 2], Tokens)> {
    let clients = replicas.register().await?;
    let tokens = clients[1].log_in(&mut Browser::new()?, &Replicas::alice()).await?;
    Ok((clients, tokens))
}

async fn one_login_uses_both(store: Store) -> anyhow::Result<()> {
    let replicas = Replicas::start(store, &[]).await?;
    // Registered at A, authorized at B, called back at A, which has the base URL.
    let [at_a, at_b] = replicas.register().await?;
    let mut browser = Browser::new()?;
    let authorized = at_b.authorize(&mut browser, &Replicas::alice()).await?;
    let visited = |port| browser.visited.iter().any(|url| url.port() == Some(port));
    assert!(visited(replicas.ports[0]) && visited(replicas.ports[1]), "{:?}", browser.visited);
    let first = at_b.redeem(&authorized, &[]).await?.tokens()?;
    let second = at_a.refresh(&first.refresh).await?.tokens()?;
    let third = at_b.refresh(&second.refresh).await?.tokens()?;
    for replica in 0..2 {
        let status = replicas.status_with(&at_a, replica, &third.access).await?;
        assert_eq!(status, StatusCode::OK, "replica {replica}");
    }
    assert_eq!(at_a.revoke(&third.refresh).await?.status, StatusCode::OK);
    assert!(is_invalid_grant(&at_b.refresh(&third.refresh).await?));
    eventually("the other replica to refuse the access token", async || {
        let status = replicas.status_with(&at_a, 1, &third.access).await;
        status.is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
    })
    .await
}

async fn a_code_is_redeemed_once(store: Store) -> anyhow::Result<()> {
    let replicas = Replicas::start(store, &[]).await?;
    let clients = replicas.register().await?;
    let strangers = replicas.register().await?;
    let mut browser = Browser::new()?;
    for round in 0..rounds() {
        let authorized = clients[0].authorize(&mut browser, &Replicas::alice()).await?;
        let call = |client: &Client, change: &'static [(&'static str, Option<&'static str>)]| {
            let (client, authorized) = (client.clone(), authorized.clone());
            async move { client.redeem(&authorized, change).await }
        };
        // None of these may use the code up, or end its grant.
        let wrong: &[_] =
            &[("code_verifier", Some("a-verifier-of-somebody-else-that-is-long-enough"))];
        let thieves = (0..8).map(|index| match index % 2 {
            0 => call(&clients[index / 2 % 2], wrong),
            _ => call(&strangers[index / 2 % 2], &[]),
        });
        for refused in at_once(thieves).await? {
            assert!(is_invalid_grant(&refused), "round {round}: {}", refused.text);
        }
        let answers = at_once((0..CALLERS).map(|index| call(&clients[index % 2], &[]))).await?;
        let (good, bad): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(good.len(), 1, "round {round}: so many redeemed one code");
        for answer in bad {
            assert!(is_invalid_grant(answer), "round {round}: {} {}", answer.status, answer.text);
        }
        let tokens = good[0].tokens()?;
        for client in &clients {
            let refused = client.refresh(&tokens.refresh).await?;
            assert!(is_invalid_grant(&refused), "round {round}: the grant lives on");
        }
    }
    println!("{} rounds of {CALLERS} redemptions at two replicas", rounds());
    Ok(())
}

async fn simultaneous_refreshes_go_on_together(store: Store) -> anyhow::Result<()> {
    let replicas = Replicas::start(store, &[]).await?;
    let (clients, mut tokens) = logged_in(&replicas).await?;
    for round in 0..rounds() {
        let before = replicas.provider_refreshes();
        let calls = (0..CALLERS).map(|index| {
            let (client, refresh) = (clients[index % 2].clone(), tokens.refresh.clone());
            async move { client.refresh(&refresh).await }
        });
        let answers = at_once(calls).await?;
        let answers: Vec<Tokens> = answers
            .iter()
            .map(Answer::tokens)
            .collect::<Result<_, _>>()
            .with_context(|| format!("round {round}"))?;
        let next = answers[0].clone();
        assert_ne!(next.refresh, tokens.refresh, "round {round}: it did not rotate");
        let successors = answers.iter().filter(|answer| answer.refresh == next.refresh).count();
        assert_eq!(successors, CALLERS, "round {round}: several successors");
        let called = replicas.provider_refreshes() - before;
        assert!(called <= 1, "round {round}: the provider was called {called} times");
        tokens = next;
    }
    for replica in 0..2 {
        let status = replicas.status_with(&clients[0], replica, &tokens.access).await?;
        assert_eq!(status, StatusCode::OK, "replica {replica}");
    }
    println!("{} rounds of {CALLERS} refreshes at two replicas", rounds());
    Ok(())
}

async fn a_delayed_refresh_depends_on_the_window(store: Store) -> anyhow::Result<()> {
    for (grace, inside) in [("5m", true), ("0s", false)] {
        let flag = format!("--refresh-grace={grace}");
        let replicas = Replicas::start(store, &[&flag]).await?;
        let ([at_a, at_b], first) = logged_in(&replicas).await?;
        let second = at_a.refresh(&first.refresh).await?.tokens()?;
        let third = at_b.refresh(&second.refresh).await?.tokens()?;
        // The answers to N and N + 1 were lost; N arrives once more, at the other replica.
        let delayed = at_a.refresh(&second.refresh).await?;
        if inside {
            assert_eq!(delayed.tokens()?.refresh, third.refresh, "it was rotated again");
            at_b.refresh(&third.refresh).await?.tokens()?;
        } else {
            assert!(is_invalid_grant(&delayed), "{} {}", delayed.status, delayed.text);
            let refused = at_b.refresh(&third.refresh).await?;
            assert!(is_invalid_grant(&refused), "the grant survived a replay");
        }
    }
    Ok(())
}

/// A test of each case, on each store.
macro_rules! on_each_store {
    ($($case:ident),+ $(,)?) => {
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() -> anyhow::Result<()> {
                    super::$case(super::Store::Redis).await
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() -> anyhow::Result<()> {
                    super::$case(super::Store::Postgres).await
                }
            )+
        }
    };
}

on_each_store!(
    one_login_uses_both,
    a_code_is_redeemed_once,
    simultaneous_refreshes_go_on_together,
    a_delayed_refresh_depends_on_the_window,
);
