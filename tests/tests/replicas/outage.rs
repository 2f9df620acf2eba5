//! The storage's server is really stopped: everybody hears "later", nobody is logged out.

use anyhow::{Context as _, ensure};
use end_to_end::{browser::Browser, client::Answer, eventually};
use http::{StatusCode, header};
use serde_json::json;

use crate::{
    load::{Bearing, Load},
    logged_in, on_each_store,
    rig::{A, B, Provider, Rig, Store},
};

/// People at work.
const PEOPLE: usize = 4;

fn is_later(answer: &Answer) -> anyhow::Result<()> {
    let found = (answer.status, answer.error());
    let expected = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    ensure!(found == expected, "{} {}", answer.status, answer.text);
    answer.header(header::RETRY_AFTER).parse::<u64>().context("it says not when")?;
    Ok(())
}

async fn an_outage_is_no_bad_token(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::start(store, &[("revocation-delay", "0s")]).await?;
    let (clients, tokens) = logged_in(&rig).await?;
    let mut browser = Browser::new()?;
    let code = clients[A].authorize(&mut browser, &Provider::alice()).await?;
    rig.store.kill()?;
    for (replica, client) in clients.iter().enumerate() {
        let context = || format!("replica {replica}");
        is_later(&client.refresh(&tokens.refresh).await?).with_context(context)?;
        is_later(&client.redeem(&code, &[]).await?).with_context(context)?;
        is_later(&client.revoke(&tokens.refresh).await?).with_context(context)?;
        let body = json!({"redirect_uris": [end_to_end::client::REDIRECT_URI]});
        is_later(&client.register_with(&body).await?).with_context(context)?;
        let mut directly = client.clone();
        directly.resource = rig.directly(replica, &client.resource)?;
        let call = directly.call(&tokens.access, "echo", json!({"text": "hello"})).await?;
        is_later(&Answer::read(call).await?).with_context(context)?;
        let request = client.authorization_request(&code.pkce, &[])?;
        let page = browser.open(request).await?;
        ensure!(page.status == StatusCode::SERVICE_UNAVAILABLE, "{}", page.body);
        let metadata = rig
            .directly(replica, &format!("{}/.well-known/oauth-authorization-server", rig.url()))?;
        ensure!(browser.open(metadata.parse()?).await?.status == StatusCode::OK);
    }
    let ready = rig.ask_admin("/readyz").await?;
    ensure!(ready.status == StatusCode::SERVICE_UNAVAILABLE, "{}", ready.text);
    rig.store.start_again()?;
    for replica in [A, B] {
        eventually("the storage to be reached again", async || {
            let status = rig.status_with(&clients[A], replica, &tokens.access).await;
            status.is_ok_and(|status| status == StatusCode::OK)
        })
        .await?;
    }
    // What was refused meanwhile did nothing.
    let next = insist(|| clients[B].refresh(&tokens.refresh)).await?.tokens()?;
    insist(|| clients[A].refresh(&next.refresh)).await?.tokens()?;
    insist(|| clients[B].redeem(&code, &[])).await?.tokens()?;
    Ok(())
}

/// The first answer that is not "later": one connection to the storage may be there before another.
async fn insist<F>(send: impl Fn() -> F) -> anyhow::Result<Answer>
where
    F: Future<Output = anyhow::Result<Answer>>,
{
    let mut answered = None;
    eventually("an answer", async || {
        let answer = send().await;
        let is_later = answer.as_ref().is_ok_and(|answer| is_later(answer).is_ok());
        answered = Some(answer);
        !is_later
    })
    .await?;
    answered.context("it waited for that")?
}

async fn under_load_everybody_goes_on_after_an_outage(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::start(store, &[("revocation-delay", "0s")]).await?;
    rig.lead_to(&[A, B]);
    let mut load = Load::begin(&rig, PEOPLE, Bearing::Outages).await?;
    for _ in 0..OUTAGES {
        load.all_go_on().await?;
        let before = load.retried();
        rig.store.kill()?;
        eventually("somebody to notice", async || load.retried() > before).await?;
        rig.store.start_again()?;
    }
    load.all_go_on().await?;
    println!("{} requests were sent again", load.retried());
    load.end().await
}

/// Each comes at other moments.
const OUTAGES: usize = 4;

on_each_store!(an_outage_is_no_bad_token, under_load_everybody_goes_on_after_an_outage);
