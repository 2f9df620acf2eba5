//! The provider's token for backends and handlers (D6): fresh, or not at all.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use oauth_proxy::provider::ProviderError;
use secrecy::{ExposeSecret, SecretString};
use token_verifier::{Principal, VerifyError};

use crate::support::{Deployment, Tokens};

const LIFE: Duration = Duration::from_mins(10);

/// A person whose provider token lives ten minutes.
struct Session {
    deployment: Arc<Deployment>,
    client: String,
    tokens: Tokens,
    principal: Principal,
}

impl Session {
    async fn new() -> Self {
        Self::with(true).await
    }

    async fn with(renewable: bool) -> Self {
        Self::on(renewable, Duration::ZERO).await
    }

    async fn on(renewable: bool, revocation_delay: Duration) -> Self {
        let deployment = Deployment::with_lifetimes(|lifetimes| {
            lifetimes.revocation_delay = revocation_delay;
        });
        deployment.provider.change(|plan| {
            plan.expires_in = Some(LIFE);
            plan.gives_refresh_token = renewable;
        });
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        let verifier = deployment.proxy.verifier();
        let principal = verifier.verify(&tokens.access, deployment.proxy.resource()).await.unwrap();
        Self { deployment: Arc::new(deployment), client, tokens, principal }
    }

    async fn token(&self) -> Result<SecretString, VerifyError> {
        self.deployment.proxy.provider_token(&self.principal).await
    }

    #[track_caller]
    fn text(token: Result<SecretString, VerifyError>) -> String {
        token.unwrap().expose_secret().to_owned()
    }

    fn refreshes(&self) -> usize {
        self.deployment.provider.refreshes()
    }
}

fn unavailable() -> ProviderError {
    ProviderError::Unavailable { reason: "down".to_owned(), retry_after: None }
}

fn finished() -> ProviderError {
    ProviderError::InvalidGrant { reason: "session ended".to_owned() }
}

#[tokio::test]
async fn it_is_renewed_in_time_and_our_refresh_token_stays() {
    let session = Session::new().await;
    let first = Session::text(session.token().await);
    assert_eq!(first, "provider-access-0");
    assert_eq!(session.refreshes(), 0);
    // Too late for whoever gets it to use it: the request waits for a new one.
    session.deployment.clock.advance(LIFE.saturating_sub(Duration::from_secs(3)));
    assert_eq!(Session::text(session.token().await), "provider-access-1");
    assert_eq!(Session::text(session.token().await), "provider-access-1");
    assert_eq!(session.refreshes(), 1);
    // Ours was not rotated: long after the grace window it is still the current one.
    session.deployment.clock.advance(Duration::from_mins(5));
    Tokens::of(&session.deployment.refresh(&session.client, &session.tokens.refresh).await);
}

#[tokio::test]
async fn before_that_it_is_renewed_off_the_request_path() {
    let session = Session::new().await;
    // The provider holds its answer back; the request does not wait for it.
    session.deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
    session.deployment.clock.advance(LIFE.saturating_sub(Duration::from_secs(45)));
    for _ in 0..3 {
        assert_eq!(Session::text(session.token().await), "provider-access-0");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while session.refreshes() == 0 && tokio::time::Instant::now() < deadline {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(session.refreshes(), 1, "one call, whoever asks");
    session.deployment.provider.refresh_gate.add_permits(1);
    session.deployment.proxy.shutdown().await;
    assert_eq!(Session::text(session.token().await), "provider-access-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_simultaneous_requests_one_calls_the_provider() {
    let session = Arc::new(Session::new().await);
    session.deployment.clock.advance(LIFE);
    let requests = (0..32).map(|_| {
        let session = Arc::clone(&session);
        tokio::spawn(async move { Session::text(session.token().await) })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), "provider-access-1");
    }
    assert_eq!(session.refreshes(), 1);
}

#[tokio::test]
async fn a_token_that_ended_is_never_handed_out() {
    let session = Session::new().await;
    session.deployment.provider.change(|plan| plan.refresh_fails = Some(unavailable));
    // Still good for a second: the outage harms nobody yet.
    session.deployment.clock.advance(LIFE.saturating_sub(Duration::from_secs(1)));
    assert_eq!(Session::text(session.token().await), "provider-access-0");
    session.deployment.clock.advance(Duration::from_secs(1));
    // Within the tolerance, where our own tokens still go on.
    assert!(matches!(session.token().await, Err(VerifyError::Unavailable { .. })));
    Tokens::of(&session.deployment.refresh(&session.client, &session.tokens.refresh).await);
    assert!(matches!(session.token().await, Err(VerifyError::Unavailable { .. })));
    session.deployment.clock.advance(Duration::from_hours(2));
    assert!(matches!(session.token().await, Err(VerifyError::Unavailable { .. })));
    // An outage ends nothing.
    session.deployment.provider.change(|plan| plan.refresh_fails = None);
    let token = Session::text(session.token().await);
    assert!(token.starts_with("provider-access-"), "{token}");
}

#[tokio::test]
async fn a_session_that_the_provider_ended_is_over() {
    let session = Session::new().await;
    session.deployment.clock.advance(LIFE);
    session.deployment.provider.change(|plan| plan.refresh_fails = Some(finished));
    assert!(matches!(session.token().await, Err(VerifyError::Invalid(_))));
    let answer = session.deployment.refresh(&session.client, &session.tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn what_cannot_be_renewed_ends_with_the_login() {
    let session = Session::with(false).await;
    session.deployment.clock.advance(LIFE.saturating_sub(Duration::from_secs(1)));
    assert_eq!(Session::text(session.token().await), "provider-access-0");
    session.deployment.clock.advance(Duration::from_secs(1));
    assert!(matches!(session.token().await, Err(VerifyError::Invalid(_))));
    // So that the client logs in again, instead of refreshing for ever.
    let answer = session.deployment.refresh(&session.client, &session.tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn a_revoked_or_foreign_principal_gets_none() {
    let session = Session::new().await;
    let bob = Principal::builder("bob").grant_id(session.principal.grant_id().unwrap()).build();
    let proxy = &session.deployment.proxy;
    assert!(matches!(proxy.provider_token(&bob).await, Err(VerifyError::Invalid(_))));
    let nobody = Principal::builder("alice").build();
    assert!(matches!(proxy.provider_token(&nobody).await, Err(VerifyError::Invalid(_))));
    let form = [("token", &*session.tokens.refresh), ("client_id", &*session.client)];
    session.deployment.post("/revoke", &form).await;
    assert!(matches!(session.token().await, Err(VerifyError::Invalid(_))));
}

#[tokio::test]
async fn a_store_that_is_down_is_an_outage() {
    let session = Session::new().await;
    session.deployment.storage.fail("grants");
    assert!(matches!(session.token().await, Err(VerifyError::Unavailable { .. })));
}

#[tokio::test]
async fn it_is_read_once_for_the_revocation_delay() {
    let session = Session::on(true, Duration::from_hours(1)).await;
    session.deployment.storage.operations();
    for _ in 0..5 {
        assert_eq!(Session::text(session.token().await), "provider-access-0");
    }
    assert_eq!(session.deployment.storage.operations(), 1);
    let bob = Principal::builder("bob").grant_id(session.principal.grant_id().unwrap()).build();
    let token = session.deployment.proxy.provider_token(&bob).await;
    assert!(matches!(token, Err(VerifyError::Invalid(_))), "the cache knows whose it is");
    // Its end is looked at every time.
    session.deployment.clock.advance(LIFE);
    assert_eq!(Session::text(session.token().await), "provider-access-1");
}

#[tokio::test]
async fn debug_shows_no_token() {
    let session = Session::on(true, Duration::from_hours(1)).await;
    session.token().await.unwrap();
    let shown = format!("{:?} {:?}", session.deployment.proxy, session.principal);
    assert!(!shown.contains("provider-access"), "{shown}");
}
