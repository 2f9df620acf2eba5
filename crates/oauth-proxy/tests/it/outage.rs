//! Storage trouble is 503, never a verdict on a token (D7).

use std::time::Duration;

use http::StatusCode;

use crate::support::{Browser, Deployment, Tokens, authorize_path, param};

#[tokio::test]
async fn tokens_are_neither_good_nor_bad_while_the_store_is_down() {
    let deployment = Deployment::with_lifetimes(|lifetimes| {
        lifetimes.revocation_delay = Duration::ZERO;
    });
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let code = deployment.code(&client).await;
    deployment.storage.fail("grants");

    let call = deployment.call(&tokens.access).await;
    assert_eq!(call.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(call.headers.contains_key("retry-after"));
    assert!(!call.headers.contains_key("www-authenticate"), "no reason to log in again");
    for answer in [
        deployment.refresh(&client, &tokens.refresh).await,
        deployment.redeem(&client, &code).await,
    ] {
        answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        assert!(answer.headers.contains_key("retry-after"));
        assert!(!answer.body.contains("switched"), "no internals: {}", answer.body);
    }
    deployment.storage.heal();
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    Tokens::of(&deployment.redeem(&client, &code).await);
}

#[tokio::test]
async fn an_unreadable_registration_is_not_an_unknown_client() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    deployment.storage.fail("clients");
    let answer = deployment.refresh(&client, "r1.a.b.0.c").await;
    answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    let answer = deployment.get(&authorize_path(&client, &[])).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_login_that_cannot_be_stored_is_told_to_the_client() {
    for (collection, while_at) in [("transactions", "consent"), ("grants", "callback")] {
        let deployment = Deployment::new();
        let client = deployment.register().await;
        let mut browser = Browser::default();
        let location = if while_at == "consent" {
            deployment.storage.fail(collection);
            let answer = browser.answer_consent(&deployment, &client, "approve").await;
            answer.location().to_owned()
        } else {
            let state = browser.approve(&deployment, &client).await;
            deployment.storage.fail(collection);
            browser.return_with_code(&deployment, &state).await.location().to_owned()
        };
        assert_eq!(param(&location, "error").as_deref(), Some("temporarily_unavailable"));
    }
}

#[tokio::test]
async fn metadata_needs_no_store() {
    let deployment = Deployment::new();
    for collection in ["clients", "grants"] {
        deployment.storage.fail(collection);
        for name in ["oauth-authorization-server", "oauth-protected-resource/mcp", "jwks.json"] {
            let answer = deployment.get(&format!("/.well-known/{name}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{name}");
        }
    }
}
