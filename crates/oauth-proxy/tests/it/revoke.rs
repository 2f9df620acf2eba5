//! Revocation (RFC 7009, D4): one write, and every token of the grant is dead.

use std::time::Duration;

use http::StatusCode;

use crate::support::{Deployment, Tokens};

async fn revoke(deployment: &Deployment, client: &str, token: &str) -> StatusCode {
    deployment.post("/revoke", &[("token", token), ("client_id", client)]).await.status
}

fn immediate() -> Deployment {
    Deployment::with_lifetimes(|lifetimes| lifetimes.revocation_delay = Duration::ZERO)
}

#[tokio::test]
async fn either_token_ends_the_grant() {
    for which in ["access", "refresh", "retired"] {
        let deployment = immediate();
        let client = deployment.register().await;
        let first = deployment.login(&client).await;
        let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
        let token = match which {
            "access" => &second.access,
            "refresh" => &second.refresh,
            _ => &first.refresh,
        };
        assert_eq!(revoke(&deployment, &client, token).await, StatusCode::OK);
        for access in [&first.access, &second.access] {
            assert_eq!(deployment.call(access).await.status, StatusCode::UNAUTHORIZED, "{which}");
        }
        let answer = deployment.refresh(&client, &second.refresh).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    }
}

#[tokio::test]
async fn another_client_and_nonsense_end_nothing() {
    let deployment = immediate();
    let client = deployment.register().await;
    let other = deployment.register().await;
    let tokens = deployment.login(&client).await;
    assert_eq!(revoke(&deployment, &other, &tokens.refresh).await, StatusCode::OK);
    assert_eq!(revoke(&deployment, &other, &tokens.access).await, StatusCode::OK);
    let mut forged = tokens.refresh.clone();
    forged.pop();
    assert_eq!(revoke(&deployment, &client, &forged).await, StatusCode::OK);
    assert_eq!(revoke(&deployment, &client, "nonsense").await, StatusCode::OK);
    assert_eq!(revoke(&deployment, "nobody", &tokens.refresh).await, StatusCode::UNAUTHORIZED);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_this_grant_ends_and_the_provider_hears_of_the_last_one() {
    let deployment = immediate();
    let client = deployment.register().await;
    let laptop = deployment.login(&client).await;
    let desktop = deployment.login(&client).await;
    revoke(&deployment, &client, &laptop.refresh).await;
    assert_eq!(deployment.call(&desktop.access).await.status, StatusCode::OK);
    // The telling is done by a task of this same thread; nothing in it really waits.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(deployment.provider.revoked.lock().unwrap().is_empty(), "the desktop needs it");
    revoke(&deployment, &client, &desktop.refresh).await;
    deployment.proxy.shutdown().await;
    let revoked = deployment.provider.revoked.lock().unwrap().clone();
    assert_eq!(revoked, ["provider-refresh-1"], "told when nobody needs the session");
}

#[tokio::test]
async fn a_cached_answer_lives_no_longer_than_the_revocation_delay() {
    let deployment =
        Deployment::with_lifetimes(|lifetimes| lifetimes.revocation_delay = Duration::from_secs(1));
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    revoke(&deployment, &client, &tokens.refresh).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while deployment.call(&tokens.access).await.status == StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "the revoked token goes on working");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
