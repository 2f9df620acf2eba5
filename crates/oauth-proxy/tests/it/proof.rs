//! What is left when a process dies, a client hangs up, or the store goes back by one write: no
//! session lost and none doubled, but for the one window that D6 names.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use http::StatusCode;
use serde_json::Value;

use crate::support::{Browser, Deployment, Tokens, Undone, authorize_path, param};

/// Long enough for a provider token of [`SHORT`] to be due.
const SHORT: Duration = Duration::from_mins(10);

/// When an unused session ends.
const IDLE: Duration = Duration::from_hours(12);

/// Longer than the lease of a dead process.
const LEASE: Duration = Duration::from_secs(31);

/// A moment at which a process dies: after so many operations of its storage, the last one with its
/// answer (and whatever the process did upon it) or without.
#[derive(Clone, Copy, Debug)]
struct Death {
    steps: usize,
    answered: bool,
}

impl Death {
    fn all() -> impl Iterator<Item = Self> {
        (0..).flat_map(|steps| [false, true].map(|answered| Self { steps, answered }))
    }
}

/// What comes of `request` in a process that dies; `None` if it died first.
async fn dying<T>(
    deployment: &Deployment,
    death: Death,
    request: impl Future<Output = T>,
) -> Option<T> {
    deployment.storage.die_after(death.steps, death.answered);
    tokio::select! {
        biased;
        answer = request => Some(answer),
        () = deployment.storage.died() => None,
    }
}

/// The only grant, as it is stored.
async fn stored_grant(deployment: &Deployment) -> Option<Value> {
    let mut keys = deployment.storage.keys("grants").await;
    assert!(keys.len() <= 1, "a session is doubled: {keys:?}");
    let key = keys.pop()?;
    let entry = deployment.storage.inner().get("grants", &key).await.unwrap().unwrap();
    Some(serde_json::from_slice::<Value>(&entry.value).unwrap()["record"].clone())
}

fn is_active(grant: &Value) -> bool {
    grant["phase"] != "pending"
}

#[tokio::test]
async fn a_process_that_dies_in_a_callback_leaves_no_session_behind() {
    for death in Death::all() {
        let first = Deployment::new();
        let client = first.register().await;
        let mut browser = Browser::default();
        let state = browser.approve(&first, &client).await;
        let finished = dying(&first, death, browser.clone().return_with_code(&first, &state)).await;
        let second = first.replica();
        let back = browser.return_with_code(&second, &state).await;
        let code = if back.status == StatusCode::FOUND {
            param(back.location(), "code").unwrap()
        } else {
            // The transaction was used up: the person starts the login again.
            assert_eq!(back.status, StatusCode::BAD_REQUEST, "{death:?}");
            second.code(&client).await
        };
        let tokens = Tokens::of(&second.redeem(&client, &code).await);
        // What the dead process left has expired by then.
        second.clock.advance(SHORT);
        assert!(is_active(&stored_grant(&second).await.unwrap()), "{death:?}");
        Tokens::of(&second.refresh(&client, &tokens.refresh).await);
        if finished.is_some() {
            assert!(death.steps >= 9, "{death:?}");
            return;
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_in_a_redemption_leaves_one_session_or_none() {
    for death in Death::all() {
        let first = Deployment::new();
        let client = first.register().await;
        let code = first.code(&client).await;
        let finished = dying(&first, death, first.redeem(&client, &code)).await;
        let was_active = is_active(&stored_grant(&first).await.unwrap());
        let second = first.replica();
        let again = second.redeem(&client, &code).await;
        if was_active {
            // Whoever has the tokens, nobody can tell: a second redemption is a replay (D3).
            again.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
            assert!(stored_grant(&second).await.is_none(), "{death:?}");
        } else {
            let tokens = Tokens::of(&again);
            assert!(is_active(&stored_grant(&second).await.unwrap()), "{death:?}");
            Tokens::of(&second.refresh(&client, &tokens.refresh).await);
        }
        if finished.is_some() {
            assert!(death.steps >= 4, "{death:?}");
            return;
        }
    }
}

/// The process dies after the grant became active and before the client has its answer.
async fn orphan() -> (Deployment, String, String) {
    for death in Death::all() {
        let first = Deployment::with_lifetimes(|lifetimes| lifetimes.refresh_idle = IDLE);
        let client = first.register().await;
        let code = first.code(&client).await;
        let finished = dying(&first, death, first.redeem(&client, &code)).await;
        assert!(finished.is_none(), "there is such a moment");
        if is_active(&stored_grant(&first).await.unwrap()) {
            return (first.replica(), client, code);
        }
    }
    unreachable!("deaths have no end")
}

#[tokio::test]
async fn the_second_try_of_a_code_whose_answer_was_lost_is_a_replay_and_leaves_nothing() {
    let (deployment, client, code) = orphan().await;
    let answer = deployment.redeem(&client, &code).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    assert!(stored_grant(&deployment).await.is_none(), "no session is left behind");
    // The person logs in again, with the same client.
    let tokens = deployment.login(&client).await;
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn without_a_second_try_that_grant_ends_by_itself() {
    let (deployment, client, code) = orphan().await;
    // Nobody has a token of it, and nobody is kept from logging in meanwhile.
    deployment.clock.advance(IDLE.saturating_sub(SHORT));
    assert!(stored_grant(&deployment).await.is_some());
    deployment.clock.advance(SHORT);
    assert!(stored_grant(&deployment).await.is_none(), "as one that nobody uses");
    let answer = deployment.redeem(&client, &code).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    Tokens::of(&deployment.refresh(&client, &deployment.login(&client).await.refresh).await);
}

#[tokio::test]
async fn a_process_that_dies_in_a_refresh_logs_nobody_out() {
    for death in Death::all() {
        let first = Deployment::new();
        let client = first.register().await;
        let tokens = first.login(&client).await;
        let finished = dying(&first, death, first.refresh(&client, &tokens.refresh)).await;
        let second = first.replica();
        let next = Tokens::of(&second.refresh(&client, &tokens.refresh).await);
        Tokens::of(&second.refresh(&client, &next.refresh).await);
        assert!(stored_grant(&second).await.is_some(), "{death:?}");
        if finished.is_some() {
            assert!(death.steps >= 3, "{death:?}");
            return;
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_in_a_renewal_loses_a_session_in_one_window_only() {
    for reusable in [true, false] {
        let mut lost = 0;
        for death in Death::all() {
            let first = Deployment::new();
            first.provider.change(|plan| plan.expires_in = Some(SHORT));
            first.provider.change(|plan| plan.reusable = reusable);
            let client = first.register().await;
            let tokens = first.login(&client).await;
            first.clock.advance(SHORT);
            let finished = dying(&first, death, first.refresh(&client, &tokens.refresh)).await;
            let answered = first.provider.refreshes() == 1;
            let held = stored_grant(&first).await.unwrap()["provider"]["refresh_token"].clone();
            let second = first.replica();
            second.clock.advance(LEASE);
            let again = second.refresh(&client, &tokens.refresh).await;
            if answered && held == "provider-refresh-0" && !reusable {
                // The provider has given a new token, and nobody knows it any more (D6).
                again.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
                lost += 1;
            } else {
                let next = Tokens::of(&again);
                Tokens::of(&second.refresh(&client, &next.refresh).await);
            }
            if finished.is_some() {
                assert!(death.steps >= 4, "{death:?}");
                break;
            }
        }
        // Between the provider's answer and our write: one moment, before that write.
        assert_eq!(lost, usize::from(!reusable), "reusable: {reusable}");
    }
}

/// Polls so often and hangs up.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn a_client_that_hangs_up_at_any_moment_of_a_refresh_loses_nothing() {
    for due in [false, true] {
        for times in 1.. {
            let deployment = Deployment::new();
            deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
            deployment.provider.change(|plan| plan.reusable = false);
            let client = deployment.register().await;
            let tokens = deployment.login(&client).await;
            if due {
                deployment.clock.advance(SHORT);
            }
            deployment.storage.dawdle();
            let finished = polled(times, deployment.refresh(&client, &tokens.refresh)).await;
            // What no client may interrupt is finished.
            deployment.proxy.shutdown().await;
            let other = deployment.replica();
            let next = Tokens::of(&other.refresh(&client, &tokens.refresh).await);
            Tokens::of(&other.refresh(&client, &next.refresh).await);
            assert!(other.provider.refreshes() <= 1, "{times} polls");
            if finished.is_some() {
                assert!(times > 3, "{times} polls");
                break;
            }
        }
    }
}

/// What a client and its person do, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Step {
    Register,
    Consent,
    Callback,
    Redemption,
    Refresh,
    Renewal,
}

/// Everything up to a step, and the writes of that step alone.
struct Story {
    deployment: Deployment,
    client: String,
    /// Of the login that was begun.
    browser: Browser,
    state: String,
    code: String,
    tokens: Option<Tokens>,
    writes: Vec<Undone>,
}

async fn until_after(step: Step) -> Story {
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
    let client = deployment.register().await;
    let (browser, text) = (Browser::default(), String::new());
    let (state, code) = (text.clone(), text);
    let mut story =
        Story { deployment, client, browser, state, code, tokens: None, writes: Vec::new() };
    for next in [Step::Consent, Step::Callback, Step::Redemption, Step::Refresh, Step::Renewal] {
        if next > step {
            break;
        }
        let Story { deployment, client, browser, state, code, tokens, .. } = &mut story;
        deployment.storage.writes();
        let token = tokens.as_ref().map(|tokens| tokens.refresh.clone()).unwrap_or_default();
        match next {
            Step::Register => {}
            Step::Consent => *state = browser.approve(deployment, client).await,
            Step::Callback => {
                let back = browser.clone().return_with_code(deployment, state).await;
                *code = param(back.location(), "code").unwrap();
            }
            Step::Redemption => *tokens = Some(Tokens::of(&deployment.redeem(client, code).await)),
            Step::Refresh => *tokens = Some(Tokens::of(&deployment.refresh(client, &token).await)),
            Step::Renewal => {
                deployment.clock.advance(SHORT);
                *tokens = Some(Tokens::of(&deployment.refresh(client, &token).await));
                assert_eq!(deployment.provider.refreshes(), 1);
            }
        }
    }
    story.writes = story.deployment.storage.writes();
    story
}

/// A restored dump: whichever write is missing, a session goes on, and who was logging in can.
#[tokio::test]
async fn a_store_that_goes_back_by_one_write_locks_nobody_out() {
    let all = [
        (Step::Register, vec!["clients"]),
        (Step::Consent, vec!["once", "transactions"]),
        (Step::Callback, vec!["transactions", "grants", "by_subject", "by_client", "codes"]),
        (Step::Redemption, vec!["grants", "clients"]),
        (Step::Refresh, vec!["grants"]),
        // The lease, and what came of the call.
        (Step::Renewal, vec!["grants", "grants"]),
    ];
    for (step, collections) in all {
        for (index, collection) in collections.iter().enumerate() {
            let Story { deployment, mut client, mut browser, state, code, tokens, writes } =
                until_after(step).await;
            let written: Vec<&str> = writes.iter().map(|(name, ..)| name.as_str()).collect();
            assert_eq!(written, collections, "{step:?}");
            deployment.storage.undo(&writes[index]).await;
            if let Some(tokens) = tokens {
                // The lease that came back with an older record may still have to end.
                deployment.clock.advance(LEASE);
                let next = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
                let call = deployment.call(&next.access).await;
                assert_eq!(call.status, StatusCode::OK, "{step:?} without {collection}");
                Tokens::of(&deployment.refresh(&client, &next.refresh).await);
                continue;
            }
            // The login that was begun goes on or is refused in words, and a new one works.
            if step == Step::Consent {
                let back = browser.return_with_code(&deployment, &state).await;
                let goes_on = back.status == StatusCode::FOUND;
                assert_eq!(goes_on, *collection != "transactions", "{collection}");
            }
            if step == Step::Callback {
                let answer = deployment.redeem(&client, &code).await;
                if ["grants", "codes"].contains(collection) {
                    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
                } else {
                    Tokens::of(&answer);
                }
            }
            if step == Step::Register {
                let page = deployment.get(&authorize_path(&client, &[])).await;
                assert_eq!(page.status, StatusCode::BAD_REQUEST, "it is told to register again");
                client = deployment.register().await;
            }
            let tokens = deployment.login(&client).await;
            Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        }
    }
}

/// A revocation that the store forgot is no session that nobody can end.
#[tokio::test]
async fn a_revocation_that_went_missing_can_be_made_again() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let form = [("token", &*tokens.refresh), ("client_id", &*client)];
    deployment.storage.writes();
    deployment.post("/revoke", &form).await;
    let writes = deployment.storage.writes();
    let deletion = writes.iter().find(|(collection, ..)| collection == "grants").unwrap();
    deployment.storage.undo(deletion).await;
    deployment.post("/revoke", &form).await;
    assert!(stored_grant(&deployment).await.is_none());
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}
