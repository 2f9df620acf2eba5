//! What is left when a process dies, a client hangs up, or the store goes back by one write: no
//! session lost and none doubled, but for the one window that D6 names.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use http::StatusCode;
use kv_storage::Ttl;
use serde_json::Value;

use crate::support::{Browser, Deployment, Tokens, param};

/// Long enough for a provider token of [`SHORT`] to be due.
const SHORT: Duration = Duration::from_mins(10);

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

#[tokio::test]
async fn a_store_that_goes_back_by_one_write_locks_nobody_out() {
    for undone in ["activation", "rotation", "renewal"] {
        let deployment = Deployment::new();
        deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
        let client = deployment.register().await;
        let code = deployment.code(&client).await;
        let id = deployment.storage.keys("grants").await.remove(0);
        let snapshot =
            async || deployment.storage.inner().get("grants", &id).await.unwrap().unwrap();
        let mut before = snapshot().await;
        let mut tokens = Tokens::of(&deployment.redeem(&client, &code).await);
        if undone != "activation" {
            if undone == "renewal" {
                deployment.clock.advance(SHORT);
            }
            before = snapshot().await;
            tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        }
        let ttl = Ttl::After(Duration::from_mins(5));
        deployment.storage.inner().put("grants", &id, before.value, ttl).await.unwrap();
        let next = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        let call = deployment.call(&next.access).await;
        assert_eq!(call.status, StatusCode::OK, "{undone}");
        Tokens::of(&deployment.refresh(&client, &next.refresh).await);
    }
}
