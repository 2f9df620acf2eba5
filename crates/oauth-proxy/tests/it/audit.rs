//! What an auditor learns, and what joins it to the log and to the person's page.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Path},
    routing::delete,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use kv_storage::Ttl;
use oauth_proxy::{
    AccessPolicy, AuditEvent, AuditOutcome, AuditSink, OAuthProxyBuilder, provider::ProviderError,
};
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Browser, Deployment, Tokens, authorize_path, param, person};

/// Remembers every event.
#[derive(Debug, Default)]
struct Ledger(Mutex<Vec<AuditEvent>>);

impl AuditSink for Ledger {
    fn record(&self, event: &AuditEvent) {
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Ledger {
    /// What was noted since the last look.
    fn events(&self) -> Vec<AuditEvent> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn names(&self) -> Vec<&'static str> {
        self.events().iter().map(|event| event.action.as_str()).collect()
    }
}

fn audited(
    change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
) -> (Deployment, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let sink = Arc::clone(&ledger);
    (Deployment::with(|builder| change(builder).audit(sink)), ledger)
}

fn plain() -> (Deployment, Arc<Ledger>) {
    audited(|builder| builder)
}

#[tokio::test]
async fn a_login_is_joined_from_the_consent_page_to_the_revocation() {
    let (deployment, ledger) = plain();
    let client = deployment.register().await;
    let code = deployment.code(&client).await;
    let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
    let next = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    deployment.post("/revoke", &[("token", &next.refresh), ("client_id", &client)]).await;

    let events = ledger.events();
    let names: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    let expected = [
        "client_registered",
        "login_approved",
        "grant_created",
        "code_redeemed",
        "refreshed",
        "grant_revoked",
    ];
    assert_eq!(names, expected);
    assert!(events.iter().all(|event| event.client.as_deref() == Some(&*client)));
    assert!(events.iter().all(|event| event.outcome == AuditOutcome::Success));
    assert!(events.iter().all(|event| event.request.is_some()));

    let logins: Vec<_> = events[1..4].iter().map(|event| event.login.as_deref()).collect();
    assert!(logins[0].is_some() && logins.iter().all(|login| *login == logins[0]), "{logins:?}");
    let grants: Vec<_> = events[2..].iter().map(|event| event.grant.as_deref()).collect();
    assert!(grants[0].is_some() && grants.iter().all(|grant| *grant == grants[0]), "{grants:?}");
    assert!(events[2..].iter().all(|event| event.subject.as_deref() == Some("alice")));
    assert_eq!(events[5].reason.as_deref(), Some("the client revoked it"));

    let written = serde_json::to_string(&events).unwrap();
    for secret in [&code, &tokens.access, &tokens.refresh, &next.refresh] {
        assert!(!written.contains(&**secret), "{written}");
    }
    assert!(!written.contains("the client's state") && !written.contains("null"), "{written}");
}

#[tokio::test]
async fn logins_that_come_to_nothing() {
    let (deployment, ledger) =
        audited(|builder| builder.access(AccessPolicy::nobody().allow_group("staff")));
    let client = deployment.register().await;
    let mut browser = Browser::default();
    ledger.events();

    browser.answer_consent(&deployment, &client, "deny").await;
    assert_eq!(ledger.names(), ["login_declined"]);

    let state = browser.approve(&deployment, &client).await;
    let denied = browser.return_with_code(&deployment, &state).await;
    assert_eq!(denied.status, StatusCode::FORBIDDEN);
    let events = ledger.events();
    assert_eq!(events[1].action.as_str(), "login_denied");
    assert_eq!(events[1].outcome, AuditOutcome::Denied);
    assert_eq!(events[1].subject.as_deref(), Some("alice"));
    assert_eq!(events[1].login, events[0].login);

    let state = browser.approve(&deployment, &client).await;
    Browser::default().return_with_code(&deployment, &state).await;
    assert_eq!(ledger.names(), ["login_approved", "login_refused"]);
    let path = format!("/auth/callback?error=access_denied&state={state}");
    browser.get(&deployment, &path).await;
    let events = ledger.events();
    assert_eq!(events[0].reason.as_deref(), Some("the provider denied access"));

    deployment.provider.change(|plan| {
        plan.exchange_fails = Some(|| ProviderError::Refused { reason: "odd".to_owned() });
    });
    let state = browser.approve(&deployment, &client).await;
    browser.return_with_code(&deployment, &state).await;
    assert_eq!(ledger.names(), ["login_approved", "login_refused"]);
}

#[tokio::test]
async fn codes_and_refresh_tokens_that_come_again() {
    let (deployment, ledger) = plain();
    let client = deployment.register().await;
    let code = deployment.code(&client).await;
    deployment.redeem(&client, &code).await;
    ledger.events();
    deployment.redeem(&client, &code).await;
    let events = ledger.events();
    assert_eq!(events[0].action.as_str(), "code_replayed");
    assert_eq!(events[0].outcome, AuditOutcome::Alarm);
    assert_eq!(events[1].action.as_str(), "grant_revoked");
    assert_eq!(events[0].grant, events[1].grant);

    let first = deployment.login(&client).await;
    deployment.refresh(&client, &first.refresh).await;
    ledger.events();
    deployment.refresh(&client, &first.refresh).await;
    assert_eq!(ledger.names(), ["refresh_repeated"]);
    deployment.clock.advance(Duration::from_mins(10));
    deployment.refresh(&client, &first.refresh).await;
    assert_eq!(ledger.names(), ["refresh_replayed", "grant_revoked"]);
}

#[tokio::test]
async fn a_store_that_lost_a_write_is_noticed() {
    let (deployment, ledger) = plain();
    let client = deployment.register().await;
    let first = deployment.login(&client).await;
    let id = deployment.storage.keys("grants").await.remove(0);
    let before = deployment.storage.inner().get("grants", &id).await.unwrap().unwrap();
    let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    let ttl = Ttl::After(Duration::from_hours(1));
    deployment.storage.inner().put("grants", &id, before.value, ttl).await.unwrap();
    ledger.events();
    deployment.refresh(&client, &second.refresh).await;
    assert_eq!(ledger.names(), ["refresh_ahead", "refreshed"]);
}

#[tokio::test]
async fn what_the_provider_says_at_a_renewal() {
    let (deployment, ledger) =
        audited(|builder| builder.access(AccessPolicy::nobody().allow_group("staff")));
    let staff = person("alice", &json!({"groups": ["staff"]}));
    deployment.provider.change(|plan| {
        plan.identity = Some(staff);
        plan.expires_in = Some(Duration::from_mins(10));
    });
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    deployment.clock.advance(Duration::from_mins(10));
    let left = person("alice", &json!({"groups": []}));
    deployment.provider.change(|plan| plan.refreshed_identity = Some(left));
    ledger.events();
    deployment.refresh(&client, &tokens.refresh).await;
    let events = ledger.events();
    assert_eq!(events[0].action.as_str(), "access_withdrawn");
    assert_eq!(events[0].reason.as_deref(), Some("the person may no longer log in"));
    assert_eq!(events[1].action.as_str(), "grant_revoked");
    // Work that no hang-up interrupts is still done in the name of its request.
    assert!(events[0].request.is_some() && events[0].request == events[1].request);

    let tokens = deployment.login(&client).await;
    deployment.clock.advance(Duration::from_mins(10));
    deployment.provider.change(|plan| {
        plan.refresh_fails = Some(|| ProviderError::InvalidGrant { reason: "over".to_owned() });
    });
    ledger.events();
    deployment.refresh(&client, &tokens.refresh).await;
    assert_eq!(ledger.names(), ["grant_revoked", "provider_ended"]);
}

#[tokio::test]
async fn the_grant_that_makes_room_and_the_record_that_cannot_be_read() {
    let (deployment, ledger) = plain();
    let client = deployment.register().await;
    for _ in 0..20 {
        deployment.login(&client).await;
    }
    ledger.events();
    deployment.login(&client).await;
    let names = ledger.names();
    assert_eq!(names[1..4], ["grant_created", "grant_evicted", "grant_revoked"]);

    let id = deployment.storage.keys("grants").await.remove(0);
    let ttl = Ttl::After(Duration::from_hours(1));
    let garbage = Bytes::from_static(b"garbage");
    deployment.storage.inner().put("grants", &id, garbage, ttl).await.unwrap();
    deployment.code(&client).await;
    let events = ledger.events();
    let unreadable = events.iter().find(|event| event.action.as_str() == "record_unreadable");
    assert_eq!(unreadable.unwrap().reason.as_deref(), Some("in the collection `grants`"));
}

#[tokio::test]
async fn the_page_the_header_and_the_event_name_one_request_and_never_the_strangers() {
    let (deployment, ledger) = plain();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, &client).await;
    ledger.events();
    let request = Request::get(format!("/auth/callback?code=provider-code&state={state}"))
        .header("x-request-id", "chosen-by-a-stranger")
        .body(Body::empty())
        .unwrap();
    let page = deployment.send(request).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    let id = page.headers["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(id, "chosen-by-a-stranger");
    assert!(page.body.contains(&id), "{}", page.body);
    assert_eq!(ledger.events()[0].request.as_ref(), Some(&id));

    for path in ["/.well-known/oauth-authorization-server", "/nowhere", "/token", "/mcp"] {
        let other = deployment.get(path).await;
        assert_ne!(other.headers["x-request-id"], *id, "{path}");
    }
}

#[tokio::test]
async fn the_address_is_the_peers_or_what_our_own_proxies_saw() {
    for (proxies, expected) in [(0, "192.0.2.1"), (1, "192.0.2.9"), (2, "203.0.113.5")] {
        let (deployment, ledger) = audited(|builder| builder.trusted_proxies(proxies));
        let mut request = Request::post("/register")
            .header("content-type", "application/json")
            .header("x-forwarded-for", "6.6.6.6, 203.0.113.5, 192.0.2.9")
            .body(Body::from(r#"{"redirect_uris":["http://localhost:1/cb"]}"#))
            .unwrap();
        let peer: SocketAddr = "192.0.2.1:4711".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        deployment.send(request).await;
        assert_eq!(ledger.events()[0].peer, expected.parse().ok(), "behind {proxies}");
    }
}

#[tokio::test]
async fn a_page_without_a_login_joins_nothing() {
    let (deployment, ledger) = plain();
    let client = deployment.register().await;
    ledger.events();
    // Asking is not yet anything that happened.
    let mut browser = Browser::default();
    browser.get(&deployment, &authorize_path(&client, &[])).await;
    let back = browser.get(&deployment, "/auth/callback?code=x&state=unknown").await;
    assert_eq!(back.status, StatusCode::BAD_REQUEST);
    assert!(ledger.events().is_empty());
    let location = browser.login(&deployment, &client).await;
    assert!(param(&location, "code").is_some());
}

#[tokio::test]
async fn what_an_operator_does_names_the_request_and_whoever_is_connected() {
    let (deployment, ledger) = audited(|builder| builder.trusted_proxies(1));
    let client = deployment.register().await;
    deployment.login(&client).await;
    ledger.events();
    let administration = deployment.proxy.administration();
    let deleting = administration.clone();
    let routes = Router::new().route(
        "/clients/{id}",
        delete(|Path(id): Path<String>| async move {
            deleting.delete_client(&id).await.map(|ended| format!("{ended:?}"))
        }),
    );
    // No proxy of ours stands in front of this listener, whatever stands before the other.
    let mut request = Request::delete(format!("/clients/{client}"))
        .header("x-forwarded-for", "6.6.6.6")
        .body(Body::empty())
        .unwrap();
    let peer: SocketAddr = "192.0.2.1:4711".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    let answer = administration.in_context(routes).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let id = answer.headers()["x-request-id"].to_str().unwrap();
    let events = ledger.events();
    let names: Vec<_> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(names, ["grant_revoked", "client_deleted"]);
    for event in events {
        assert_eq!((event.request.as_deref(), event.peer), (Some(id), Some(peer.ip())));
    }
}
