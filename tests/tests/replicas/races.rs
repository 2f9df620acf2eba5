//! Races as races: many callers at two replicas, one instant, again and again.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use end_to_end::{
    browser::Browser,
    client::{Answer, Authorized, Client, Tokens},
    eventually,
};
use http::StatusCode;
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    is_invalid_grant, logged_in, on_each_store,
    rig::{A, B, Provider, Rig, Store},
};

/// As many callers as there are in one instant, half of them at each replica.
const CALLERS: usize = 64;

/// Who has the code and nothing else, among them or before them.
const THIEVES: usize = 16;

/// Codes that are prepared at once, each by a browser of its own.
const BROWSERS: usize = 8;

/// In every so manieth round the thieves come first, and alone.
const ALONE: usize = 4;

/// How often each race is run: `RACE_ROUNDS`, else few enough for every day.
fn rounds() -> usize {
    test_servers::rounds(2)
}

/// What is raced is the work of the server, not its taking of connections.
fn connected(clients: &[Client; 2]) -> anyhow::Result<[Client; 2]> {
    let [a, b] = clients.each_ref().map(|client| client.keeping_connections(CALLERS));
    Ok([a?, b?])
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

/// Somebody who wants to redeem a code; those who cannot must not do harm either.
#[derive(Clone)]
struct Redeemer {
    client: Client,
    change: &'static [(&'static str, Option<&'static str>)],
}

impl Redeemer {
    fn call(
        &self,
        authorized: &Authorized,
    ) -> impl Future<Output = anyhow::Result<Answer>> + Send + 'static {
        let (redeemer, authorized) = (self.clone(), authorized.clone());
        async move { redeemer.client.redeem(&authorized, redeemer.change).await }
    }
}

/// Half of them have the wrong verifier, the others are another client.
fn thieves(clients: &[Client; 2], strangers: &[Client; 2]) -> Vec<Redeemer> {
    let verifier: &[_] =
        &[("code_verifier", Some("a-verifier-of-somebody-else-that-is-long-enough"))];
    let thief = |index: usize| match index % 4 {
        replica @ (A | B) => Redeemer { client: clients[replica].clone(), change: verifier },
        other => Redeemer { client: strangers[other % 2].clone(), change: &[] },
    };
    (0..THIEVES).map(thief).collect()
}

/// A code for each of the browsers.
async fn authorized(
    client: &Client,
    browsers: Vec<Browser>,
) -> anyhow::Result<Vec<(Browser, Authorized)>> {
    let mut logins = JoinSet::new();
    for mut browser in browsers {
        let client = client.clone();
        logins.spawn(async move {
            let authorized = client.authorize(&mut browser, &Provider::alice()).await?;
            anyhow::Ok((browser, authorized))
        });
    }
    logins.join_all().await.into_iter().collect()
}

async fn a_code_is_redeemed_once(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[]).await?;
    rig.lead_to(&[A, B]);
    let clients = connected(&rig.register_at_both().await?)?;
    let strangers = connected(&rig.register_at_both().await?)?;
    let thieves = thieves(&clients, &strangers);
    let owners = clients.each_ref().map(|client| Redeemer { client: client.clone(), change: &[] });
    let mut browsers = (0..BROWSERS).map(|_| Browser::new()).collect::<Result<Vec<_>, _>>()?;
    let mut round = 0;
    while round < rounds() {
        browsers.truncate(rounds() - round);
        let mut free = Vec::new();
        for (browser, code) in authorized(&clients[round % 2], browsers).await? {
            free.push(browser);
            let context = || format!("round {round}");
            if round % ALONE == 0 {
                thieves_alone(&rig, &thieves, &owners, &code).await.with_context(context)?;
            } else {
                everybody(&rig, &thieves, &owners, &code).await.with_context(context)?;
            }
            round += 1;
        }
        browsers = free;
    }
    println!("{round} rounds of {CALLERS} redemptions and {THIEVES} thieves at two replicas");
    Ok(())
}

/// Nothing that they do uses the code up or ends its grant; then, at the other replica, its owner
/// is served.
async fn thieves_alone(
    rig: &Rig,
    thieves: &[Redeemer],
    owners: &[Redeemer; 2],
    code: &Authorized,
) -> anyhow::Result<()> {
    let calls = thieves.iter().cycle().take(CALLERS).map(|thief| thief.call(code));
    for refused in at_once(calls).await? {
        ensure!(is_invalid_grant(&refused), "a thief: {} {}", refused.status, refused.text);
    }
    let tokens = owners[B].call(code).await?.tokens()?;
    let next = owners[A].client.refresh(&tokens.refresh).await?.tokens()?;
    for replica in [A, B] {
        let status = rig.status_with(&owners[A].client, replica, &next.access).await?;
        ensure!(status == StatusCode::OK, "replica {replica}: {status}");
    }
    // One fewer for the next rounds.
    ensure!(owners[B].client.revoke(&next.refresh).await?.status == StatusCode::OK);
    Ok(())
}

/// One of the owner's calls is answered with tokens; the others are replays, which end the grant.
async fn everybody(
    rig: &Rig,
    thieves: &[Redeemer],
    owners: &[Redeemer; 2],
    code: &Authorized,
) -> anyhow::Result<()> {
    let calls = owners.iter().cycle().take(CALLERS).chain(thieves).map(|one| one.call(code));
    let answers = at_once(calls).await?;
    let (good, bad): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::OK);
    ensure!(good.len() == 1, "{} redeemed one code", good.len());
    for answer in bad {
        ensure!(is_invalid_grant(answer), "{} {}", answer.status, answer.text);
    }
    let tokens = good[0].tokens()?;
    for (replica, owner) in owners.iter().enumerate() {
        let refused = owner.client.refresh(&tokens.refresh).await?;
        ensure!(is_invalid_grant(&refused), "the grant lives on at replica {replica}");
        let status = rig.status_with(&owner.client, replica, &tokens.access).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "replica {replica} believes: {status}");
    }
    Ok(())
}

async fn simultaneous_refreshes_go_on_together(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[]).await?;
    let (clients, mut tokens) = logged_in(&rig).await?;
    let clients = connected(&clients)?;
    for round in 0..rounds() {
        let before = rig.provider.refreshes();
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
        let called = rig.provider.refreshes() - before;
        assert_eq!(called, 1, "round {round}: the provider was called so often");
        tokens = next;
    }
    for replica in [A, B] {
        let status = rig.status_with(&clients[A], replica, &tokens.access).await?;
        assert_eq!(status, StatusCode::OK, "replica {replica}");
    }
    println!("{} rounds of {CALLERS} refreshes at two replicas", rounds());
    Ok(())
}

async fn a_delayed_refresh_depends_on_the_window(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[("refresh-grace", "5m")]).await?;
    let ([at_a, at_b], first) = logged_in(&rig).await?;
    let second = at_a.refresh(&first.refresh).await?.tokens()?;
    let third = at_b.refresh(&second.refresh).await?.tokens()?;
    // The answers to N and N + 1 were lost; N arrives once more, at the other replica.
    for (client, old) in [(&at_a, &second), (&at_b, &first), (&at_b, &second), (&at_a, &first)] {
        let delayed = client.refresh(&old.refresh).await?.tokens()?;
        assert_eq!(delayed.refresh, third.refresh, "it was rotated again");
    }
    at_b.refresh(&third.refresh).await?.tokens()?;
    Ok(())
}

async fn the_window_closes(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[("refresh-grace", "2s")]).await?;
    let (clients, first) = logged_in(&rig).await?;
    let second = clients[A].refresh(&first.refresh).await?.tokens()?;
    let mut turn = 0;
    let mut refused = None;
    // To come again and again does not keep it open.
    eventually("the end of the window", async || {
        turn += 1;
        let Ok(answer) = clients[turn % 2].refresh(&first.refresh).await else { return false };
        let goes_on = answer.tokens().is_ok_and(|tokens| tokens.refresh == second.refresh);
        refused = (!goes_on).then_some(answer);
        refused.is_some()
    })
    .await?;
    let refused = refused.context("it waited for that")?;
    assert!(is_invalid_grant(&refused), "{} {}", refused.status, refused.text);
    for client in &clients {
        let refused = client.refresh(&second.refresh).await?;
        assert!(is_invalid_grant(&refused), "the grant survived a replay");
    }
    Ok(())
}

on_each_store!(
    a_code_is_redeemed_once,
    simultaneous_refreshes_go_on_together,
    a_delayed_refresh_depends_on_the_window,
    the_window_closes,
);
