//! The provider's return (D9): one browser, one time, one provider.

use std::time::Duration;

use http::StatusCode;
use oauth_proxy::{AccessPolicy, provider::ProviderError};
use serde_json::json;

use crate::support::{Browser, Deployment, REDIRECT, param, person};

#[tokio::test]
async fn the_client_gets_code_state_and_issuer() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, &client).await;
    let answer = browser.return_with_code(&deployment, &state).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    let location = answer.location();
    assert!(location.starts_with(REDIRECT), "{location}");
    assert_eq!(param(location, "state").unwrap(), "the client's state");
    assert_eq!(param(location, "iss").unwrap(), "https://proxy.example");
    assert_eq!(answer.headers["referrer-policy"], "no-referrer");
    assert!(!browser.cookies.keys().any(|name| name.contains("-tx-")), "the cookie is gone");
    assert!(deployment.storage.keys("transactions").await.is_empty());
}

#[tokio::test]
async fn another_browser_cannot_finish_or_end_a_login() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut owner = Browser::default();
    let state = owner.approve(&deployment, &client).await;
    let mut stranger = Browser::default();
    for query in ["code=provider-code", "error=access_denied"] {
        let path = format!("/auth/callback?{query}&state={state}");
        let answer = stranger.get(&deployment, &path).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{query}");
    }
    // Neither with the cookie of another login of the stranger's own.
    stranger.approve(&deployment, &client).await;
    let theirs = stranger.cookies.clone();
    let (name, value) = theirs.iter().find(|(name, _)| name.contains("-tx-")).unwrap();
    let owners_name = owner.cookies.keys().find(|name| name.contains("-tx-")).unwrap();
    stranger.cookies.remove(name);
    stranger.cookies.insert(owners_name.clone(), value.clone());
    let answer = stranger.return_with_code(&deployment, &state).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let answer = owner.return_with_code(&deployment, &state).await;
    assert!(param(answer.location(), "code").is_some());
}

#[tokio::test]
async fn a_tossed_cookie_binds_nobody() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut attacker = Browser::default();
    let state = attacker.approve(&deployment, &client).await;
    let (name, value) = attacker.cookies.iter().find(|(name, _)| name.contains("-tx-")).unwrap();
    // A sibling site may set this name in the victim's browser: `__Host-` is guarded raw only.
    let mut victim = Browser::default();
    victim.cookies.insert(name.replacen('_', "%5F", 1), value.clone());
    let answer = victim.return_with_code(&deployment, &state).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_return_counts_once() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, &client).await;
    let cookies = browser.cookies.clone();
    browser.return_with_code(&deployment, &state).await;
    browser.cookies = cookies;
    let again = browser.return_with_code(&deployment, &state).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(deployment.provider.exchanges.load(std::sync::atomic::Ordering::SeqCst), 1);
    let unknown = browser.return_with_code(&deployment, "nobody").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_transaction_ends_after_its_lifetime() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, &client).await;
    deployment.clock.advance(Duration::from_secs(901));
    let late = browser.return_with_code(&deployment, &state).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_providers_errors_reach_the_client_without_their_text() {
    for (sent, expected) in [
        ("access_denied", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("login_required", "server_error"),
        ("%3Cscript%3E", "server_error"),
    ] {
        let deployment = Deployment::new();
        let client = deployment.register().await;
        let mut browser = Browser::default();
        let state = browser.approve(&deployment, &client).await;
        let path =
            format!("/auth/callback?error={sent}&error_description=internal+detail&state={state}");
        let answer = browser.get(&deployment, &path).await;
        let location = answer.location();
        assert_eq!(param(location, "error").as_deref(), Some(expected));
        assert!(!location.contains("internal"), "{location}");
        assert!(!location.contains("%3C"), "{location}");
    }
}

#[tokio::test]
async fn a_response_of_another_issuer_is_not_believed() {
    for query in ["code=provider-code", "error=access_denied"] {
        for iss in ["", "&iss=https://evil.example"] {
            let deployment = Deployment::new();
            deployment.provider.change(|plan| plan.expected_iss = Some("https://idp.example"));
            let client = deployment.register().await;
            let mut browser = Browser::default();
            let state = browser.approve(&deployment, &client).await;
            let path = format!("/auth/callback?{query}&state={state}{iss}");
            let answer = browser.get(&deployment, &path).await;
            assert_eq!(param(answer.location(), "error").as_deref(), Some("server_error"));
            let exchanges = &deployment.provider.exchanges;
            assert_eq!(exchanges.load(std::sync::atomic::Ordering::SeqCst), 0);
        }
    }
}

#[tokio::test]
async fn trouble_at_the_provider_is_told_apart() {
    let unavailable: fn() -> ProviderError = || ProviderError::Unavailable {
        reason: "the reason for the log".to_owned(),
        retry_after: None,
    };
    let refused: fn() -> ProviderError =
        || ProviderError::Refused { reason: "the reason for the log".to_owned() };
    let finished: fn() -> ProviderError =
        || ProviderError::InvalidGrant { reason: "the reason for the log".to_owned() };
    for (failure, expected) in [
        (unavailable, "temporarily_unavailable"),
        (refused, "server_error"),
        (finished, "server_error"),
    ] {
        let deployment = Deployment::new();
        deployment.provider.change(|plan| plan.exchange_fails = Some(failure));
        let client = deployment.register().await;
        let location = Browser::default().login(&deployment, &client).await;
        assert_eq!(param(&location, "error").as_deref(), Some(expected));
        assert!(!location.contains("reason"), "{location}");
        assert!(deployment.storage.keys("grants").await.is_empty());
    }
}

#[tokio::test]
async fn nobody_is_nobody() {
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.identity = None);
    let client = deployment.register().await;
    let location = Browser::default().login(&deployment, &client).await;
    assert_eq!(param(&location, "error").as_deref(), Some("server_error"));
}

#[tokio::test]
async fn the_rules_decide_and_the_person_learns_why() {
    let deployment = Deployment::with(|builder| {
        builder.access(AccessPolicy::nobody().allow_email_domain("example.com"))
    });
    let bob = person("bob", &json!({"email": "bob@other.test", "email_verified": true}));
    deployment.provider.change(|plan| plan.identity = Some(bob));
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, &client).await;
    let page = browser.return_with_code(&deployment, &state).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.body.contains("bob@other.test"), "{}", page.body);
    assert!(page.body.contains("error=access_denied"), "the way back: {}", page.body);
    assert!(deployment.storage.keys("grants").await.is_empty());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let revoked = deployment.provider.revoked.lock().unwrap().clone();
    assert_eq!(revoked, ["provider-refresh-0"], "what nobody will use is given back");

    let alice = person("alice", &json!({"email": "a@example.com", "email_verified": true}));
    deployment.provider.change(|plan| plan.identity = Some(alice));
    let location = Browser::default().login(&deployment, &client).await;
    assert!(param(&location, "code").is_some());
}
