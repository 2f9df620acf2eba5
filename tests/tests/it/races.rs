//! Races as races, over SQLite: many callers, one instant, again and again.

use std::sync::Arc;

use anyhow::Context as _;
use end_to_end::{
    browser::Browser,
    client::{Answer, Client},
    eventually,
    process::Launch,
};
use http::StatusCode;
use tokio::{sync::Barrier, task::JoinSet};

use crate::{alice, logged_in};

/// As many callers as there are in one instant.
const CALLERS: usize = 32;

/// How often each race is run: `RACE_ROUNDS`, else few enough for every day.
fn rounds() -> usize {
    test_servers::rounds(5)
}

/// Runs the same call [`CALLERS`] times at once.
async fn at_once<F>(call: impl Fn() -> F) -> anyhow::Result<Vec<Answer>>
where
    F: Future<Output = anyhow::Result<Answer>> + Send + 'static,
{
    let start = Arc::new(Barrier::new(CALLERS));
    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let (start, call) = (Arc::clone(&start), call());
        calls.spawn(async move {
            start.wait().await;
            call.await
        });
    }
    calls.join_all().await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_redeemed_once_and_a_replay_ends_its_grant() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let mut browser = Browser::new()?;
    for round in 0..rounds() {
        let authorized = client.authorize(&mut browser, &alice(&demo)).await?;
        let answers = at_once(|| {
            let (client, authorized) = (client.clone(), authorized.clone());
            async move { client.redeem(&authorized, &[]).await }
        })
        .await?;
        let (good, bad): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        let [winner] = good[..] else {
            panic!("round {round}: {} of {CALLERS} redeemed one code", good.len())
        };
        for answer in bad {
            let found = (answer.status, answer.error());
            assert_eq!(
                found,
                (StatusCode::BAD_REQUEST, "invalid_grant"),
                "round {round}: {}",
                answer.text
            );
        }
        let tokens = winner.tokens()?;
        let refused = client.refresh(&tokens.refresh).await?;
        let found = (refused.status, refused.error());
        assert_eq!(
            found,
            (StatusCode::BAD_REQUEST, "invalid_grant"),
            "round {round}: the grant lives on"
        );
        eventually("the access token to be refused", async || {
            client
                .status_with(&tokens.access)
                .await
                .is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
        })
        .await
        .with_context(|| format!("round {round}"))?;
    }
    println!("{} rounds of {CALLERS} redemptions", rounds());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_refreshes_all_go_on_with_the_same_token() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, mut tokens) = logged_in(&demo).await?;
    for round in 0..rounds() {
        let answers = at_once(|| {
            let (client, refresh) = (client.clone(), tokens.refresh.clone());
            async move { client.refresh(&refresh).await }
        })
        .await?;
        let answers: Vec<_> = answers
            .iter()
            .map(Answer::tokens)
            .collect::<Result<_, _>>()
            .with_context(|| format!("round {round}"))?;
        let next = answers[0].clone();
        assert_ne!(next.refresh, tokens.refresh, "round {round}: it did not rotate");
        let successors = answers.iter().filter(|answer| answer.refresh == next.refresh).count();
        assert_eq!(successors, CALLERS, "round {round}: several successors");
        tokens = next;
    }
    // The last successor is the current one, and the session is alive.
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK);
    let last = client.refresh(&tokens.refresh).await?.tokens()?;
    assert_ne!(last.refresh, tokens.refresh);
    println!("{} rounds of {CALLERS} refreshes", rounds());
    Ok(())
}
