//! Renewal off the request path (D6): a grant in use has a fresh provider token before it ends, and
//! nobody waits for it.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::join_all};
use http::StatusCode;
use oauth_proxy::{
    AccessPolicy, AccessTokenBasis, Lifetimes, ResourceServer, provider::ProviderError,
};
use secrecy::SecretString;
use serde_json::json;
use token_verifier::VerifyError;

use crate::support::{Deployment, Tokens, person, until};

/// How long the provider's tokens live.
const LIFE: Duration = Duration::from_mins(10);

/// How long before their end they are renewed.
const MARGIN: Duration = Duration::from_mins(1);

/// How long a grant is left alone after a try.
const PAUSE: Duration = Duration::from_secs(30);

/// Somebody whose provider token nears its end.
struct Session {
    deployment: Deployment,
    client: String,
    tokens: Tokens,
}

impl Session {
    async fn due() -> Self {
        Self::due_with(|_| {}).await
    }

    async fn due_with(change: impl FnOnce(&mut Lifetimes)) -> Self {
        let session = Self::fresh(Deployment::with_lifetimes(change)).await;
        session.deployment.clock.advance(LIFE.saturating_sub(MARGIN));
        session
    }

    async fn fresh(deployment: Deployment) -> Self {
        deployment.provider.change(|plan| plan.expires_in = Some(LIFE));
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        Self { deployment, client, tokens }
    }

    async fn call(&self) -> StatusCode {
        self.deployment.call(&self.tokens.access).await.status
    }

    /// The provider answers nobody until [`answer`](Self::answer).
    fn hang(&self) {
        self.deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
    }

    fn answer(&self) {
        self.deployment.provider.refresh_gate.add_permits(100);
    }

    fn asked(&self) -> usize {
        self.deployment.provider.refreshes()
    }

    async fn until_asked(&self, times: usize) {
        until(async || self.asked() == times).await;
    }

    /// What is under way is finished; nothing is begun afterwards.
    async fn settle(&self) {
        self.deployment.proxy.shutdown().await;
    }

    /// What the grant holds.
    async fn held(&self) -> String {
        let storage = &self.deployment.storage;
        let id = storage.keys("grants").await.remove(0);
        let entry = storage.inner().get("grants", &id).await.unwrap().unwrap();
        let record: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
        record["record"]["provider"]["access_token"].as_str().unwrap().to_owned()
    }
}

/// Our access tokens go on when the provider's has ended.
fn outliving(lifetimes: &mut Lifetimes) {
    lifetimes.access_token_basis = AccessTokenBasis::Fixed;
}

fn unavailable() -> ProviderError {
    ProviderError::Unavailable { reason: "down".to_owned(), retry_after: None }
}

fn finished() -> ProviderError {
    ProviderError::InvalidGrant { reason: "session ended".to_owned() }
}

#[tokio::test]
async fn a_request_begins_the_renewal_and_does_not_wait_for_it() {
    let session = Session::due().await;
    session.hang();
    for _ in 0..5 {
        assert_eq!(session.call().await, StatusCode::OK);
    }
    session.until_asked(1).await;
    // Neither does a client that refreshes while somebody else asks the provider.
    let tokens = &session.tokens;
    let next = Tokens::of(&session.deployment.refresh(&session.client, &tokens.refresh).await);
    assert_eq!(next.expires_in, 300, "until it was heard whether the login goes on");
    session.answer();
    session.settle().await;
    assert_eq!(session.asked(), 1);
    assert_eq!(session.held().await, "provider-access-1", "and the rotation did not undo it");
    let replica = session.deployment.replica();
    Tokens::of(&replica.refresh(&session.client, &next.refresh).await);
    assert_eq!(session.asked(), 1);
}

#[tokio::test]
async fn before_that_nobody_is_asked_and_nothing_is_read() {
    let session = Session::due_with(|lifetimes| {
        lifetimes.revocation_delay = Duration::from_hours(1);
        lifetimes.provider_refresh_margin = MARGIN / 2;
    })
    .await;
    assert_eq!(session.call().await, StatusCode::OK);
    session.deployment.storage.operations();
    assert_eq!(session.call().await, StatusCode::OK);
    assert_eq!(session.deployment.storage.operations(), 0, "the cache knows when it is due");
    session.deployment.clock.advance(MARGIN / 2);
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    session.settle().await;
    assert_eq!(session.deployment.storage.operations(), 3, "off the request path");
}

#[tokio::test]
async fn an_open_stream_is_use_as_well() {
    let session = Session::fresh(Deployment::with_lifetimes(|lifetimes| {
        lifetimes.stream_check = Duration::from_secs(1);
    }))
    .await;
    let (proxy, verifier) = (&session.deployment.proxy, session.deployment.proxy.verifier());
    let principal = verifier.verify(&session.tokens.access, proxy.resource()).await.unwrap();
    let stream = tokio::spawn(proxy.watch(&principal));
    session.deployment.clock.advance(LIFE.saturating_sub(MARGIN));
    session.until_asked(1).await;
    stream.abort();
}

#[tokio::test]
async fn so_is_a_question_of_a_resource_server() {
    const SECRET: &str = "the resource server's secret";
    let session = Session::fresh(Deployment::with(|builder| {
        builder.resource_server(ResourceServer::new("rs", &SecretString::from(SECRET)))
    }))
    .await;
    session.deployment.clock.advance(LIFE.saturating_sub(MARGIN));
    let form = [("token", &*session.tokens.access), ("client_id", "rs"), ("client_secret", SECRET)];
    let answer = session.deployment.post("/introspect", &form).await;
    assert_eq!(answer.json()["active"], true);
    session.until_asked(1).await;
}

#[tokio::test]
async fn a_client_that_refreshes_in_time_does_not_wait_either() {
    let session = Session::due().await;
    session.hang();
    let tokens = &session.tokens;
    let next = Tokens::of(&session.deployment.refresh(&session.client, &tokens.refresh).await);
    assert_eq!(next.expires_in, 300, "until it was heard whether the login goes on");
    session.until_asked(1).await;
    session.answer();
    session.settle().await;
    assert_eq!(session.held().await, "provider-access-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_replicas_ask_once() {
    for _ in 0..10 {
        let session = Session::due_with(|lifetimes| {
            lifetimes.revocation_delay = Duration::ZERO;
        })
        .await;
        let other = session.deployment.replica();
        let access = &session.tokens.access;
        join_all((0..16).flat_map(|_| [session.deployment.call(access), other.call(access)])).await;
        session.settle().await;
        other.proxy.shutdown().await;
        assert_eq!(session.asked(), 1);
        assert_eq!(session.held().await, "provider-access-1");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_nothing() {
    let session = Session::due().await;
    session.hang();
    {
        session.deployment.storage.dawdle();
        let mut call = Box::pin(session.call().fuse());
        until(async || {
            let _ = futures_util::poll!(&mut call);
            session.asked() == 1
        })
        .await;
    }
    session.answer();
    session.settle().await;
    assert_eq!(session.held().await, "provider-access-1");
}

#[tokio::test]
async fn shutdown_waits_for_it_and_begins_none() {
    let session = Session::due_with(outliving).await;
    session.hang();
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    let proxy = session.deployment.proxy.clone();
    let mut shutdown = Box::pin(async move { proxy.shutdown().await });
    assert!(futures_util::poll!(&mut shutdown).is_pending());
    session.answer();
    shutdown.await;
    assert_eq!(session.held().await, "provider-access-1");
    session.deployment.clock.advance(LIFE);
    assert_eq!(session.call().await, StatusCode::OK);
    session.settle().await;
    assert_eq!(session.asked(), 1, "a server that stops begins nothing");
}

#[tokio::test]
async fn a_grant_that_was_revoked_meanwhile_takes_the_new_token_along() {
    let session = Session::due().await;
    session.hang();
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    let form = [("token", &*session.tokens.refresh), ("client_id", &*session.client)];
    assert_eq!(session.deployment.post("/revoke", &form).await.status, StatusCode::OK);
    session.answer();
    // Telling the provider is the outbox's; it stops with the server.
    until(async || session.deployment.provider.told().contains(&"provider-refresh-1".to_owned()))
        .await;
    assert!(session.deployment.storage.keys("grants").await.is_empty(), "it stays revoked");
}

#[tokio::test]
async fn a_denial_ends_the_grant_and_its_access_tokens() {
    let deployment =
        Deployment::with(|builder| builder.access(AccessPolicy::nobody().allow_group("staff")));
    deployment.provider.change(|plan| {
        plan.identity = Some(person("alice", &json!({"groups": ["staff"]})));
        plan.refreshed_identity = Some(person("alice", &json!({"groups": []})));
    });
    let session = Session::fresh(deployment).await;
    session.deployment.clock.advance(LIFE.saturating_sub(MARGIN));
    assert_eq!(session.call().await, StatusCode::OK, "nobody knows yet");
    until(async || session.deployment.storage.keys("grants").await.is_empty()).await;
    until(async || session.call().await == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn the_providers_no_ends_the_grant_while_the_client_rotates() {
    let session = Session::due().await;
    session.deployment.provider.change(|plan| plan.refresh_fails = Some(finished));
    session.hang();
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    // The grant is of another version when the provider says no.
    let tokens = &session.tokens;
    Tokens::of(&session.deployment.refresh(&session.client, &tokens.refresh).await);
    session.answer();
    until(async || session.deployment.storage.keys("grants").await.is_empty()).await;
    assert_eq!(session.asked(), 1);
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_now_and_then_and_harms_nobody() {
    let session = Session::due_with(outliving).await;
    session.deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    for round in 1..4 {
        for _ in 0..5 {
            assert_eq!(session.call().await, StatusCode::OK);
        }
        session.until_asked(round).await;
        // The lease is given back: nobody waits for it.
        until(async || !is_leased(&session).await).await;
        assert_eq!(session.call().await, StatusCode::OK);
        session.deployment.clock.advance(PAUSE);
    }
    session.deployment.provider.change(|plan| plan.refresh_fails = None);
    assert_eq!(session.call().await, StatusCode::OK);
    until(async || session.held().await != "provider-access-0").await;
    assert_eq!(session.asked(), 4);
}

async fn is_leased(session: &Session) -> bool {
    let storage = &session.deployment.storage;
    let id = storage.keys("grants").await.remove(0);
    let entry = storage.inner().get("grants", &id).await.unwrap().unwrap();
    let record: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    !record["record"]["refreshing"].is_null()
}

#[tokio::test]
async fn after_its_end_a_client_waits_for_one_call_and_no_more() {
    let session = Session::due_with(|lifetimes| lifetimes.provider_call = MARGIN);
    let session = Arc::new(session.await);
    session.deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    session.hang();
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    session.deployment.clock.advance(MARGIN);
    let refreshing = {
        let session = Arc::clone(&session);
        tokio::spawn(async move {
            let (client, token) = (&session.client, &session.tokens.refresh);
            Tokens::of(&session.deployment.refresh(client, token).await)
        })
    };
    // It has seen that somebody else is at it.
    session.deployment.storage.operations();
    until(async || session.deployment.storage.operations() > 0).await;
    session.answer();
    let next = refreshing.await.unwrap();
    assert_eq!(next.expires_in, 300, "the other's call says that the provider is down");
    assert_eq!(session.asked(), 1);
}

#[tokio::test]
async fn whoever_needs_the_token_itself_waits_for_one_call_and_no_more() {
    let session = Session::due_with(|lifetimes| lifetimes.provider_call = MARGIN).await;
    let proxy = session.deployment.proxy.clone();
    let verifier = proxy.verifier();
    let principal = verifier.verify(&session.tokens.access, proxy.resource()).await.unwrap();
    session.deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    session.hang();
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    assert!(proxy.provider_token(&principal).await.is_ok(), "it is good for a while");
    session.deployment.clock.advance(MARGIN);
    let wanting = tokio::spawn(async move { proxy.provider_token(&principal).await });
    // It has seen that somebody else is at it.
    session.deployment.storage.operations();
    until(async || session.deployment.storage.operations() > 0).await;
    assert!(!wanting.is_finished());
    session.answer();
    let token = wanting.await.unwrap();
    assert!(matches!(token, Err(VerifyError::Unavailable { .. })), "it is over, and none is had");
    assert_eq!(session.asked(), 1);
}

#[tokio::test]
async fn a_lease_is_given_back_although_the_client_rotated_meanwhile() {
    for tolerance in [Duration::ZERO, MARGIN] {
        let session = Session::due_with(|lifetimes| {
            lifetimes.provider_call = MARGIN;
            lifetimes.provider_outage_tolerance = tolerance;
        })
        .await;
        session.deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
        session.hang();
        assert_eq!(session.call().await, StatusCode::OK);
        session.until_asked(1).await;
        let tokens = &session.tokens;
        Tokens::of(&session.deployment.refresh(&session.client, &tokens.refresh).await);
        session.deployment.clock.advance(MARGIN + Duration::from_secs(1));
        assert!(is_leased(&session).await);
        session.answer();
        session.settle().await;
        assert!(!is_leased(&session).await, "{tolerance:?}");
    }
}

#[tokio::test]
async fn a_token_that_lives_shorter_than_the_margin_is_renewed_at_half_its_life() {
    let session = Session::fresh(Deployment::new()).await;
    session.deployment.provider.change(|plan| plan.expires_in = Some(MARGIN / 2));
    session.deployment.clock.advance(LIFE.saturating_sub(MARGIN));
    assert_eq!(session.call().await, StatusCode::OK);
    session.until_asked(1).await;
    until(async || session.held().await == "provider-access-1").await;
    session.deployment.clock.advance(Duration::from_secs(14));
    let access = &session.tokens.access;
    // No cache of an older state is asked.
    let other = session.deployment.replica();
    assert_eq!(other.call(access).await.status, StatusCode::OK);
    other.proxy.shutdown().await;
    assert_eq!(session.asked(), 1, "not at every request");
    session.deployment.clock.advance(Duration::from_secs(1));
    let other = session.deployment.replica();
    assert_eq!(other.call(access).await.status, StatusCode::OK);
    other.proxy.shutdown().await;
    assert_eq!(session.asked(), 2);
}

#[tokio::test]
async fn no_more_than_sixteen_are_under_way_at_once() {
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.expires_in = Some(LIFE));
    let client = deployment.register().await;
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(deployment.login(&client).await);
    }
    deployment.clock.advance(LIFE.saturating_sub(MARGIN));
    deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
    for tokens in &sessions {
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    }
    until(async || deployment.provider.refreshes() == 16).await;
    deployment.provider.refresh_gate.add_permits(100);
    // Whoever found no place comes again with the next request.
    until(async || {
        for tokens in &sessions {
            assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
        }
        deployment.provider.refreshes() == 20
    })
    .await;
    deployment.proxy.shutdown().await;
    assert_eq!(deployment.provider.refreshes(), 20);
}
