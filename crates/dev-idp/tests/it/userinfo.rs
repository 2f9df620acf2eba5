//! Userinfo.

use http::{StatusCode, header};
use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn claims_follow_the_scope() {
    let world = World::new();
    let tokens = world.tokens(&[("scope", "openid email")]).await;
    let answer = world.userinfo(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(
        answer.json(),
        json!({"sub": "user-alice", "email": "alice@example.com", "email_verified": true})
    );
    assert_eq!(world.idp.stats().userinfo_calls, 1);
}

#[tokio::test]
async fn only_a_live_access_token_will_do() {
    let world = World::new();
    let tokens = world.tokens(&[]).await;
    let access_token = tokens["access_token"].as_str().unwrap();
    let without = world.get("/userinfo").await;
    assert_eq!(without.status, StatusCode::UNAUTHORIZED);
    assert_eq!(without.header(header::WWW_AUTHENTICATE), "Bearer");

    let (content, _) = access_token.rsplit_once('.').unwrap();
    let (_, signature) = tokens["id_token"].as_str().unwrap().rsplit_once('.').unwrap();
    let mixed = format!("{content}.{signature}");
    for wrong in ["x", tokens["id_token"].as_str().unwrap(), mixed.as_str()] {
        let answer = world.userinfo(wrong).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header(header::WWW_AUTHENTICATE).contains("invalid_token"));
    }
    world.advance(3599);
    assert_eq!(world.userinfo(access_token).await.status, StatusCode::OK);
    world.advance(1);
    assert_eq!(world.userinfo(access_token).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_openid_it_is_insufficient_scope() {
    let world = World::new();
    let tokens = world.tokens(&[("scope", "profile")]).await;
    let answer = world.userinfo(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.header(header::WWW_AUTHENTICATE).contains("insufficient_scope"));
}
