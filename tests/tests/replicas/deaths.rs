//! A process that is killed before and after every write to its storage: whoever was waiting for
//! its answer comes again, at the other replica, and no session is lost and none doubled.
//!
//! The writes are not written down here: a login and a refresh at a healthy replica tell, by its
//! metrics, which there are. The windows in which something is lost nevertheless are those that D3
//! and D6 name, and no others.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use end_to_end::{
    browser::{Browser, Page},
    client::{Answer, Authorized, Client, Pkce, REDIRECT_URI, Tokens, query},
    eventually,
};
use http::StatusCode;
use serde_json::json;
use url::Url;

use crate::{
    is_invalid_grant, on_each_store,
    rig::{A, B, Provider, Rig, Store},
};

/// What tells the process when to die; a build that serves refuses it.
const KILL_POINT: &str = "OIDC_PROXY_KILL_POINT";

/// Operations that write, by their names in the metrics.
const WRITES: [&str; 7] =
    ["put", "put_if_absent", "compare_and_swap", "compare_and_delete", "delete", "take", "expire"];

/// The lease of a dead process ends after three times that.
const SHORT_LEASE: (&str, &str) = ("provider-call", "1s");

/// One request of a login, or of what comes after it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Register,
    Consent,
    Callback,
    Redeem,
    Refresh,
}

/// What a client knows before a step.
struct Before {
    client: Client,
    browser: Browser,
    pkce: Pkce,
    page: Option<Page>,
    callback: Option<Url>,
    authorized: Option<Authorized>,
    tokens: Option<Tokens>,
}

/// What a step answered.
enum Answered {
    Page(Box<Page>),
    Answer(Box<Answer>),
}

impl Before {
    /// Does all that comes before `step`, wherever the base URL leads.
    async fn prepare(rig: &Rig, step: Step) -> anyhow::Result<Self> {
        let client = rig.register().await?;
        let mut all = Self {
            client,
            browser: Browser::new()?,
            pkce: Pkce::new(),
            page: None,
            callback: None,
            authorized: None,
            tokens: None,
        };
        if matches!(step, Step::Register) {
            return Ok(all);
        }
        let request = all.client.authorization_request(&all.pkce, &[])?;
        all.page = Some(all.browser.open(request).await?);
        if matches!(step, Step::Consent) {
            return Ok(all);
        }
        let approved = all.approve().await?;
        all.go_to_provider(rig, &approved).await?;
        if matches!(step, Step::Callback) {
            return Ok(all);
        }
        let back = all.call_back().await?;
        all.take_code(&back)?;
        if matches!(step, Step::Redeem) {
            return Ok(all);
        }
        all.tokens = Some(all.redeem().await?.tokens()?);
        Ok(all)
    }

    /// One request, whose answer may never come.
    async fn attempt(&mut self, step: Step) -> anyhow::Result<Answered> {
        Ok(match step {
            Step::Register => {
                let body = json!({"client_name": "Again", "redirect_uris": [REDIRECT_URI]});
                Answered::Answer(Box::new(self.client.register_with(&body).await?))
            }
            Step::Consent => Answered::Page(Box::new(self.approve().await?)),
            Step::Callback => Answered::Page(Box::new(self.call_back().await?)),
            Step::Redeem => Answered::Answer(Box::new(self.redeem().await?)),
            Step::Refresh => Answered::Answer(Box::new(self.refresh().await?)),
        })
    }

    async fn approve(&mut self) -> anyhow::Result<Page> {
        let page = self.page.as_ref().context("no consent page")?;
        let form = page.form()?;
        let yes = form.approval().context("no button to go on")?;
        self.browser.submit(page, &form, yes, &[]).await
    }

    /// Logs in, up to the redirect to our callback.
    async fn go_to_provider(&mut self, rig: &Rig, approved: &Page) -> anyhow::Result<()> {
        let provider = approved.redirect()?.with_context(|| approved.body.clone())?;
        let target = rig.callback_url();
        let arrived = self.browser.authorize(provider, &target, &Provider::alice()).await?;
        self.callback = Some(arrived);
        Ok(())
    }

    async fn call_back(&mut self) -> anyhow::Result<Page> {
        self.browser.open(self.callback.clone().context("no callback")?).await
    }

    fn take_code(&mut self, back: &Page) -> anyhow::Result<()> {
        let response = back.redirect()?.with_context(|| back.body.clone())?;
        let code = query(&response, "code").with_context(|| format!("no code: {response}"))?;
        self.authorized = Some(Authorized { code, pkce: self.pkce.clone(), response });
        Ok(())
    }

    async fn redeem(&self) -> anyhow::Result<Answer> {
        self.client.redeem(self.authorized.as_ref().context("no code")?, &[]).await
    }

    async fn refresh(&self) -> anyhow::Result<Answer> {
        self.client.refresh(&self.tokens.as_ref().context("no tokens")?.refresh).await
    }

    /// From the beginning, with the same client: what a person does who was told to.
    async fn log_in_again(&mut self) -> anyhow::Result<Tokens> {
        self.client.log_in(&mut self.browser, &Provider::alice()).await
    }
}

/// How often each kind of record is written by one step, at a replica that lives on.
async fn writes(rig: &Rig, step: Step) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut healthy = Before::prepare(rig, step).await?;
    let before = counted(rig).await?;
    healthy.attempt(step).await?;
    let mut writes = counted(rig).await?;
    writes.retain(|collection, count| {
        *count -= before.get(collection).copied().unwrap_or(0);
        *count > 0
    });
    ensure!(!writes.is_empty(), "{step:?} writes nothing");
    Ok(writes)
}

async fn counted(rig: &Rig) -> anyhow::Result<BTreeMap<String, u64>> {
    let metrics = rig.ask_admin("/metrics").await?.text;
    let mut counted = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("kv_storage_operations_total{")) {
        let label = |name: &str| end_to_end::client::parameter(line, name);
        let (Some(operation), Some(collection)) = (label("operation"), label("collection")) else {
            continue;
        };
        let (_, count) = line.rsplit_once(' ').context("a metric without a number")?;
        if WRITES.contains(&operation) {
            *counted.entry(collection.to_owned()).or_insert(0) += count.parse::<u64>()?;
        }
    }
    Ok(counted)
}

/// Every moment at which a process may die in `step`, in words that it understands.
async fn kill_points(rig: &Rig, step: Step) -> anyhow::Result<Vec<String>> {
    let mut points = Vec::new();
    for (collection, count) in writes(rig, step).await? {
        for nth in 1..=count {
            for moment in ["before", "after"] {
                points.push(format!("{moment} {collection} {nth}"));
            }
        }
    }
    Ok(points)
}

/// Kills A at `point` of `step`; what its client knew. From then on the base URL leads to B.
async fn killed(rig: &mut Rig, step: Step, point: &str) -> anyhow::Result<Before> {
    let mut before = Before::prepare(rig, step).await?;
    rig.start_replica(A, |settings| settings.env(KILL_POINT, point)).await?;
    rig.lead_to(&[A]);
    let answered = before.attempt(step).await;
    ensure!(answered.is_err(), "it answered");
    rig.died(A).await?;
    rig.lead_to(&[B]);
    Ok(before)
}

/// Whoever got no answer comes again, and goes on to the end.
///
/// `true` if the session that there was is lost.
async fn come_again(rig: &Rig, step: Step, before: &mut Before) -> anyhow::Result<bool> {
    let there_was = rig.sessions(&before.client).await?;
    let mut answered = before.attempt(step).await?;
    eventually("another answer than 503", async || {
        // Under the lease of the dead process nobody else asks the provider.
        if let Answered::Answer(answer) = &answered
            && answer.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(next) = before.attempt(step).await
        {
            answered = next;
            return false;
        }
        true
    })
    .await?;
    let (tokens, is_lost) = match answered {
        Answered::Page(page) => {
            // Either it goes on, or the page says that it must begin anew.
            let goes_on = page.redirect()?.is_some();
            ensure!(goes_on || page.status == StatusCode::BAD_REQUEST, "{}", page.status);
            let tokens = match step {
                _ if !goes_on => before.log_in_again().await?,
                Step::Consent => {
                    before.go_to_provider(rig, &page).await?;
                    let back = before.call_back().await?;
                    before.take_code(&back)?;
                    before.redeem().await?.tokens()?
                }
                _ => {
                    before.take_code(&page)?;
                    before.redeem().await?.tokens()?
                }
            };
            (tokens, false)
        }
        Answered::Answer(answer) if matches!(step, Step::Register) => {
            ensure!(answer.status == StatusCode::CREATED, "{}: {}", answer.status, answer.text);
            before.client.registration = answer.json;
            (before.log_in_again().await?, false)
        }
        Answered::Answer(answer) if is_invalid_grant(&answer) => {
            ensure!(rig.sessions(&before.client).await? == 0, "refused, and it lives on");
            (before.log_in_again().await?, there_was == 1)
        }
        Answered::Answer(answer) => (answer.tokens()?, false),
    };
    let next = before.client.refresh(&tokens.refresh).await?.tokens()?;
    for access in [&tokens.access, &next.access] {
        let status = before.client.status_with(access).await?;
        ensure!(status == StatusCode::OK, "a token is refused with {status}");
    }
    let sessions = rig.sessions(&before.client).await?;
    ensure!(sessions == 1, "there are {sessions} sessions");
    Ok(is_lost)
}

/// Kills a process at every moment of `step`; the moments at which a session was lost.
async fn lost(rig: &mut Rig, step: Step) -> anyhow::Result<Vec<String>> {
    let points = kill_points(rig, step).await?;
    println!("{step:?}: killed {}", points.join(", "));
    let mut lost = Vec::new();
    for point in points {
        let context = || format!("{step:?}, killed {point}");
        let mut before = killed(rig, step, &point).await.with_context(context)?;
        if come_again(rig, step, &mut before).await.with_context(context)? {
            lost.push(point);
        }
    }
    Ok(lost)
}

async fn in_a_login_nothing_is_lost(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::without_a(store, &[]).await?;
    rig.provider.give_lasting_tokens();
    for step in [Step::Register, Step::Consent, Step::Callback] {
        assert_eq!(lost(&mut rig, step).await?, [""; 0], "{step:?}");
    }
    Ok(())
}

/// A redeemed code is a replay when it comes again (D3), and nobody can tell a client that lost the
/// answer from a thief: a death between that write and the answer costs a second login.
async fn in_a_redemption_a_lost_answer_costs_a_login(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::without_a(store, &[]).await?;
    rig.provider.give_lasting_tokens();
    let mut lost = lost(&mut rig, Step::Redeem).await?;
    // The note of the client's use comes between that write and the answer.
    lost.retain(|point| !point.ends_with("clients 1"));
    assert_eq!(lost, ["after grants 1"]);
    Ok(())
}

async fn in_a_refresh_nothing_is_lost(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::without_a(store, &[]).await?;
    rig.provider.give_lasting_tokens();
    assert_eq!(lost(&mut rig, Step::Refresh).await?, [""; 0]);
    Ok(())
}

async fn in_a_renewal_nothing_is_lost_if_the_provider_allows_reuse(
    store: Store,
) -> anyhow::Result<()> {
    let mut rig = Rig::without_a(store, &[SHORT_LEASE]).await?;
    rig.provider.allow_reuse();
    assert_eq!(lost(&mut rig, Step::Refresh).await?, [""; 0]);
    Ok(())
}

/// The window that D6 names: the provider has answered, nobody has written it down, and the token
/// that was sent is not taken again.
async fn in_a_renewal_one_moment_loses_a_session(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::without_a(store, &[SHORT_LEASE]).await?;
    assert_eq!(lost(&mut rig, Step::Refresh).await?, ["before grants 2"]);
    Ok(())
}

on_each_store!(
    in_a_login_nothing_is_lost,
    in_a_redemption_a_lost_answer_costs_a_login,
    in_a_refresh_nothing_is_lost,
    in_a_renewal_nothing_is_lost_if_the_provider_allows_reuse,
    in_a_renewal_one_moment_loses_a_session,
);
