//! Providers with ideas of their own about token responses: they work, or fail cleanly, at login and
//! at renewal alike.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use kv_storage::{KeyValue, Memory};
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use crate::{
    outages::{answer_with, good, process, provider},
    support::{Browser, Deployment, TestClock, Tokens, param},
};

/// A well-behaved answer but for this.
fn answer(change: &Value) -> ResponseTemplate {
    let mut body = json!({
        "access_token": "at", "token_type": "Bearer", "refresh_token": "rt", "expires_in": 600
    });
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    ResponseTemplate::new(200).set_body_json(body)
}

/// A provider, before which a process stands.
struct Odd {
    clock: TestClock,
    server: MockServer,
}

impl Odd {
    async fn new(first: ResponseTemplate) -> (Self, Deployment) {
        let clock = TestClock::new();
        let storage: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
        let server = provider(first).await;
        let deployment = process(&storage, &clock, &server.uri());
        (Self { clock, server }, deployment)
    }

    /// From now on it answers like this.
    async fn turn(&self, answer: ResponseTemplate) {
        answer_with(&self.server, answer).await;
    }

    async fn renewals(&self) -> usize {
        let requests = self.server.received_requests().await.unwrap();
        let is_renewal = |body: &[u8]| String::from_utf8_lossy(body).contains("=refresh_token");
        requests.iter().filter(|request| is_renewal(&request.body)).count()
    }
}

fn odd_but_usable() -> Vec<Value> {
    vec![
        json!({"expires_in": "600"}),
        json!({"expires_in": " 600.5 "}),
        json!({"expires_in": 600.0}),
        json!({"expires_in": -1}),
        json!({"expires_in": 0}),
        json!({"expires_in": "-5"}),
        json!({"expires_in": null}),
        json!({"expires_in": "soon"}),
        json!({"expires_in": {"seconds": 600}}),
        json!({"expires_in": 1e300}),
        json!({"token_type": "bearer"}),
        json!({"token_type": null}),
        json!({"scope": ["openid", "email"]}),
        json!({"scope": 7}),
        json!({"id_token": null}),
    ]
}

fn unusable() -> Vec<Value> {
    vec![
        json!({"access_token": null}),
        json!({"access_token": ""}),
        json!({"access_token": 7}),
        json!({"access_token": "two\nlines"}),
        json!({"refresh_token": 7}),
        json!({"token_type": "DPoP"}),
    ]
}

#[tokio::test]
async fn what_is_odd_but_usable_works_at_login_and_at_renewal() {
    for oddity in odd_but_usable() {
        let (odd, deployment) = Odd::new(answer(&oddity)).await;
        let client = deployment.register().await;
        let mut tokens = deployment.login(&client).await;
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK, "{oddity}");
        for round in 1..4 {
            // Longer than a token is taken to live.
            odd.clock.advance(Duration::from_hours(25));
            tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
            let call = deployment.call(&tokens.access).await;
            assert_eq!(call.status, StatusCode::OK, "{oddity}");
            assert!(odd.renewals().await >= round, "{oddity}: it is asked about the person");
        }

        // The same in a session that began well.
        odd.turn(good()).await;
        let tokens = deployment.login(&client).await;
        odd.clock.advance(Duration::from_mins(10));
        odd.turn(answer(&oddity)).await;
        let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK, "{oddity}");
        let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        odd.clock.advance(Duration::from_hours(25));
        Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert!(odd.renewals().await >= 2, "{oddity}");
    }
}

#[tokio::test]
async fn what_never_gives_a_refresh_token_ends_with_the_cap() {
    for silence in [json!(null), json!("")] {
        let (odd, deployment) = Odd::new(answer(&json!({ "refresh_token": silence }))).await;
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        odd.clock.advance(Duration::from_hours(7));
        let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        odd.clock.advance(Duration::from_hours(1));
        let answer = deployment.refresh(&client, &tokens.refresh).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
        assert_eq!(odd.renewals().await, 0);
    }
}

#[tokio::test]
async fn what_does_not_rotate_is_asked_with_the_token_that_it_gave() {
    let (odd, deployment) = Odd::new(good()).await;
    let client = deployment.register().await;
    let mut tokens = deployment.login(&client).await;
    odd.turn(answer(&json!({"refresh_token": null}))).await;
    for round in 1..4 {
        odd.clock.advance(Duration::from_mins(10));
        tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(odd.renewals().await, round);
    }
    let requests = odd.server.received_requests().await.unwrap();
    let sent = requests.iter().filter(|request| {
        request.url.path() == "/token"
            && String::from_utf8_lossy(&request.body).contains("refresh_token=rt")
    });
    assert_eq!(sent.count(), 3);
}

#[tokio::test]
async fn what_is_unusable_fails_cleanly_at_login_and_ends_no_session() {
    for oddity in unusable() {
        let (odd, deployment) = Odd::new(answer(&oddity)).await;
        let client = deployment.register().await;
        let back = Browser::default().login(&deployment, &client).await;
        assert_eq!(param(&back, "error").as_deref(), Some("server_error"), "{oddity}");
        assert!(deployment.storage.keys("grants").await.is_empty(), "{oddity}");

        odd.turn(good()).await;
        let tokens = deployment.login(&client).await;
        odd.turn(answer(&oddity)).await;
        odd.clock.advance(Duration::from_mins(10));
        let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 300, "{oddity}: the operator has time to see to it");
        odd.clock.advance(Duration::from_hours(2));
        let refused = deployment.refresh(&client, &tokens.refresh).await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        odd.turn(good()).await;
        Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    }
}
