//! The provider's token (D6, D7): called once, never lost, and an outage is not a bad token.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use oauth_proxy::{AccessPolicy, Lifetimes, provider::ProviderError};
use serde_json::json;

use crate::support::{Browser, Deployment, Fault, TestClock, Tokens, param, person, until};

const SHORT: Duration = Duration::from_mins(10);

/// Somebody whose provider token is due after ten minutes.
async fn due() -> (Arc<Deployment>, String, Tokens) {
    let deployment = Arc::new(Deployment::with_lifetimes(|lifetimes| {
        lifetimes.revocation_delay = Duration::ZERO;
    }));
    let (client, tokens) = logged_in(&deployment).await;
    (deployment, client, tokens)
}

async fn logged_in(deployment: &Deployment) -> (String, Tokens) {
    deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    deployment.clock.advance(SHORT);
    (client, tokens)
}

fn unavailable() -> ProviderError {
    ProviderError::Unavailable { reason: "down".to_owned(), retry_after: None }
}

fn finished() -> ProviderError {
    ProviderError::InvalidGrant { reason: "session ended".to_owned() }
}

#[tokio::test]
async fn a_token_near_its_end_is_renewed_when_it_is_used() {
    let (deployment, client, tokens) = due().await;
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.provider.refreshes(), 1);
    assert_eq!(tokens.expires_in, 600);
    Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.provider.refreshes(), 1, "it is fresh now");
}

#[tokio::test]
async fn a_provider_that_does_not_rotate_keeps_its_refresh_token() {
    let (deployment, client, mut tokens) = due().await;
    deployment.provider.change(|plan| plan.rotates = false);
    for round in 1..4 {
        tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(deployment.provider.refreshes(), round);
        deployment.clock.advance(SHORT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_simultaneous_refreshes_one_calls_the_provider() {
    let (deployment, client, tokens) = due().await;
    let attempts = (0..32).map(|_| {
        let (deployment, client, token) =
            (Arc::clone(&deployment), client.clone(), tokens.refresh.clone());
        tokio::spawn(async move { deployment.refresh(&client, &token).await })
    });
    let mut successors = std::collections::BTreeSet::new();
    for attempt in attempts.collect::<Vec<_>>() {
        successors.insert(Tokens::of(&attempt.await.unwrap()).refresh);
    }
    assert_eq!(successors.len(), 1);
    assert_eq!(deployment.provider.refreshes(), 1);
}

#[tokio::test]
async fn an_outage_leaves_no_lease_that_nobody_works_under() {
    let (deployment, client, tokens) = due().await;
    // The client, the grant, and then the lease, whose writing nobody hears of.
    deployment.storage.fail_at(2, Fault::GrantsLost);
    let later = deployment.refresh(&client, &tokens.refresh).await;
    later.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    deployment.storage.heal();
    let next = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.provider.refreshes(), 1);
    Tokens::of(&deployment.refresh(&client, &next.refresh).await);
}

#[tokio::test]
async fn a_client_that_hangs_up_loses_nothing() {
    let (deployment, client, tokens) = due().await;
    // The provider holds its answer back until the client is gone.
    deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
    let hanging = {
        let (deployment, client, token) =
            (Arc::clone(&deployment), client.clone(), tokens.refresh.clone());
        tokio::spawn(async move { deployment.refresh(&client, &token).await })
    };
    until(async || deployment.provider.refreshes() == 1).await;
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    deployment.provider.refresh_gate.add_permits(1);
    // Shutdown awaits what no client may interrupt.
    deployment.proxy.shutdown().await;
    let next = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.provider.refreshes(), 1, "the renewed token was stored");
    Tokens::of(&deployment.refresh(&client, &next.refresh).await);
}

/// A clock that is behind knows nothing of the renewal, and rotates under its lease: whoever waits
/// for the provider has come second, and is judged as such, however often the other one rotated.
#[tokio::test]
async fn whoever_is_overtaken_while_the_provider_is_asked_is_judged_anew() {
    for (grace, rotations) in [(0, 1), (0, 2), (60, 1), (60, 2)] {
        let grace = Duration::from_secs(grace);
        let deployment = Arc::new(Deployment::with_lifetimes(|lifetimes| {
            lifetimes.refresh_grace = grace;
        }));
        let behind = TestClock::new();
        behind.advance(SHORT.saturating_sub(Duration::from_secs(30)));
        let mut lifetimes = Lifetimes::default();
        lifetimes.refresh_grace = grace;
        let other =
            deployment.replica_of(|builder| builder.lifetimes(lifetimes).clock(behind.clock()));
        let (client, tokens) = logged_in(&deployment).await;
        deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
        let late = {
            let (deployment, client, token) =
                (Arc::clone(&deployment), client.clone(), tokens.refresh.clone());
            tokio::spawn(async move { deployment.refresh(&client, &token).await })
        };
        until(async || deployment.provider.refreshes() == 1).await;
        let mut current = tokens;
        for _ in 0..rotations {
            current = Tokens::of(&other.refresh(&client, &current.refresh).await);
        }
        deployment.provider.refresh_gate.add_permits(1);
        let late = late.await.unwrap();
        if grace.is_zero() {
            late.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
            assert!(deployment.storage.keys("grants").await.is_empty(), "{rotations}: a replay");
        } else {
            assert_eq!(Tokens::of(&late).refresh, current.refresh, "{rotations}: a second tab");
        }
        assert_eq!(deployment.provider.refreshes(), 1);
    }
}

#[tokio::test]
async fn a_renewal_of_whose_writing_nobody_heard_is_no_replay() {
    let deployment =
        Deployment::with_lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::ZERO);
    let (client, tokens) = logged_in(&deployment).await;
    // The client, the grant, the lease, and then what the provider gave.
    deployment.storage.fail_at(3, Fault::AnswerLost);
    let next = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert!(!deployment.storage.is_to_fail(), "it did fail");
    assert_eq!(deployment.provider.refreshes(), 1);
    Tokens::of(&deployment.refresh(&client, &next.refresh).await);
}

#[tokio::test]
async fn the_providers_no_ends_the_grant() {
    let (deployment, client, tokens) = due().await;
    deployment.provider.change(|plan| plan.refresh_fails = Some(finished));
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    assert!(deployment.storage.keys("grants").await.is_empty());
}

#[tokio::test]
async fn an_outage_is_tolerated_for_a_while_with_short_access_tokens() {
    let (deployment, client, mut tokens) = due().await;
    deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    for _ in 0..5 {
        tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 300);
        deployment.clock.advance(SHORT);
    }
    deployment.clock.advance(SHORT * 2);
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    // The outage is over long after the grace window: the client is still logged in.
    deployment.clock.advance(Duration::from_hours(5));
    deployment.provider.change(|plan| plan.refresh_fails = None);
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(tokens.expires_in, 600);
}

#[tokio::test]
async fn an_outage_that_begins_before_the_end_shortens_access_tokens_at_once() {
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    deployment.clock.advance(SHORT.saturating_sub(Duration::from_secs(30)));
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(tokens.expires_in, 300, "the provider's token is good, so nobody waits");
    until(async || deployment.provider.refreshes() == 1).await;
    deployment.clock.advance(Duration::from_secs(30));
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(tokens.expires_in, 300);
    deployment.provider.change(|plan| plan.refresh_fails = None);
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(tokens.expires_in, 600);
}

#[tokio::test]
async fn a_refused_application_is_the_operators_trouble_not_the_persons() {
    let (deployment, client, tokens) = due().await;
    deployment.provider.change(|plan| {
        plan.refresh_fails =
            Some(|| ProviderError::Refused { reason: "the client secret is wrong".to_owned() });
    });
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    deployment.clock.advance(Duration::from_hours(2));
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    assert!(!answer.body.contains("secret"));
}

#[tokio::test]
async fn a_refresh_that_names_another_person_ends_the_grant() {
    let (deployment, client, tokens) = due().await;
    deployment.provider.change(|plan| plan.refreshed_identity = Some(person("bob", &json!({}))));
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    assert!(deployment.storage.keys("grants").await.is_empty());
    deployment.proxy.shutdown().await;
    let revoked = deployment.provider.revoked.lock().unwrap().clone();
    assert!(revoked.contains(&"provider-refresh-1".to_owned()), "the new token too: {revoked:?}");
}

#[tokio::test]
async fn the_rules_are_asked_again_when_the_provider_speaks_of_the_person() {
    let deployment =
        Deployment::with(|builder| builder.access(AccessPolicy::nobody().allow_group("staff")));
    let staff = person("alice", &json!({"groups": ["staff"]}));
    deployment.provider.change(|plan| plan.identity = Some(staff.clone()));
    let (client, tokens) = logged_in(&deployment).await;
    deployment.provider.change(|plan| plan.refreshed_identity = Some(staff));
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    deployment.clock.advance(SHORT);
    let left = person("alice", &json!({"groups": []}));
    deployment.provider.change(|plan| plan.refreshed_identity = Some(left));
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn a_rule_that_was_taken_away_counts_even_if_the_provider_says_nothing_new() {
    let clock = TestClock::wall();
    let storage = Arc::new(kv_storage::Memory::builder().clock(clock.clock()).build());
    let staff = person("alice", &json!({"groups": ["staff"]}));
    let before = Deployment::on(Arc::clone(&storage) as _, clock.clone(), |builder| {
        builder.access(AccessPolicy::nobody().allow_group("staff"))
    });
    before.provider.change(|plan| plan.identity = Some(staff));
    let (client, tokens) = logged_in(&before).await;
    let after = Deployment::on(storage, clock, |builder| {
        builder.access(AccessPolicy::nobody().allow_group("board"))
    });
    let answer = after.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn a_provider_that_names_no_lifetime_or_a_very_long_one_is_asked_all_the_same() {
    for (said, asked_after) in [
        (None, Duration::from_hours(1)),
        (Some(Duration::from_hours(9999)), Duration::from_hours(24)),
    ] {
        let deployment = Deployment::new();
        deployment.provider.change(|plan| plan.expires_in = said);
        deployment.provider.change(|plan| plan.rotates = false);
        let client = deployment.register().await;
        let mut tokens = deployment.login(&client).await;
        for round in 1..3 {
            deployment.clock.advance(asked_after);
            tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
            assert_eq!(deployment.provider.refreshes(), round, "{said:?}");
        }
    }
}

#[tokio::test]
async fn a_grant_that_was_revoked_meanwhile_takes_the_new_token_along() {
    let (deployment, client, tokens) = due().await;
    deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
    let refreshing = {
        let (deployment, client, token) =
            (Arc::clone(&deployment), client.clone(), tokens.refresh.clone());
        tokio::spawn(async move { deployment.refresh(&client, &token).await })
    };
    until(async || deployment.provider.refreshes() == 1).await;
    let form = [("token", &*tokens.refresh), ("client_id", &*client)];
    assert_eq!(deployment.post("/revoke", &form).await.status, StatusCode::OK);
    deployment.provider.refresh_gate.add_permits(1);
    let answer = refreshing.await.unwrap();
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    deployment.proxy.shutdown().await;
    let revoked = deployment.provider.revoked.lock().unwrap().clone();
    assert!(revoked.contains(&"provider-refresh-1".to_owned()), "{revoked:?}");
    assert!(deployment.storage.keys("grants").await.is_empty(), "nothing came back to life");
}

#[tokio::test]
async fn the_provider_learns_who_is_known_and_what_it_says_is_known_next_time() {
    let (deployment, client, tokens) = due().await;
    let mut staff = person("alice", &json!({"groups": ["staff"], "roles": ["r"]}));
    staff.from_userinfo.insert("groups".to_owned());
    deployment.provider.change(|plan| plan.refreshed_identity = Some(staff.clone()));
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    // In another process: it stands in the grant.
    let other = deployment.replica();
    deployment.clock.advance(SHORT);
    Tokens::of(&other.refresh(&client, &tokens.refresh).await);
    let known = deployment.provider.known.lock().unwrap();
    assert!(known[0] == person("alice", &json!({"name": "Alice"})), "of the login");
    assert!(known[1] == staff && known.len() == 2, "of the renewal");
}

#[tokio::test]
async fn an_identity_that_cannot_be_checked_now_is_no_verdict() {
    let (deployment, client, tokens) = due().await;
    deployment.provider.change(|plan| {
        plan.identify_fails = Some(unavailable);
        plan.refreshed_identity = Some(person("bob", &json!({})));
    });
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!((tokens.expires_in, deployment.provider.refreshes()), (600, 1));
    let answer = deployment.call(&tokens.access).await;
    assert!(answer.body.starts_with("alice "), "{answer:?}");
    // At login nobody is let in without one, and it is not said that they may not.
    let back = Browser::default().login(&deployment, &client).await;
    assert_eq!(param(&back, "error").as_deref(), Some("temporarily_unavailable"));
    // When it can be checked, it counts.
    deployment.provider.change(|plan| plan.identify_fails = None);
    deployment.clock.advance(SHORT);
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn an_identity_that_cannot_be_checked_for_too_long_ends_the_patience_but_not_the_login() {
    let deployment = Deployment::with_lifetimes(|lifetimes| {
        lifetimes.revocation_delay = Duration::ZERO;
        lifetimes.provider_token_longest = 3 * SHORT;
        lifetimes.provider_outage_tolerance = SHORT;
    });
    let (client, mut tokens) = logged_in(&deployment).await;
    deployment.provider.change(|plan| plan.identify_fails = Some(unavailable));
    // Ten minutes after the login; then 20, 30, 40.
    for _ in 0..4 {
        tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        deployment.clock.advance(SHORT);
    }
    for round in 0..3 {
        let calls = deployment.provider.refreshes();
        let answer = deployment.refresh(&client, &tokens.refresh).await;
        answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        assert_eq!(deployment.provider.refreshes(), calls + 1, "{round}: each use asks again");
    }
    // An outage of the provider itself buys no time.
    deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    deployment.provider.change(|plan| {
        plan.refresh_fails = None;
        plan.identify_fails = None;
    });
    deployment.clock.advance(10 * SHORT);
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert!(deployment.call(&tokens.access).await.body.starts_with("alice "));
}
