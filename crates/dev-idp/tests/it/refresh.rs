//! Refresh tokens: rotation, reuse, scope, end.

use http::StatusCode;
use serde_json::Value;

use crate::support::{PUBLIC, START, World, claims};

fn refresh_token(tokens: &Value) -> String {
    tokens["refresh_token"].as_str().expect("a refresh token").to_owned()
}

#[tokio::test]
async fn a_refresh_rotates_and_keeps_the_login() {
    let world = World::new();
    let first = world.tokens(&[]).await;
    world.advance(100);
    let answer = world.refresh(&refresh_token(&first)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let second = answer.json();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_ne!(second["access_token"], first["access_token"]);
    let id = claims(&second["id_token"]);
    assert_eq!(id["sub"], "user-alice");
    assert_eq!(id["iat"], START + 100);
    assert_eq!(id["auth_time"], START, "the login was then");
    assert_eq!(id.get("nonce"), None);
    assert_eq!(world.refresh(&refresh_token(&second)).await.status, StatusCode::OK);
    assert_eq!(world.idp.stats().refresh_calls, 2);
}

#[tokio::test]
async fn a_rotated_token_ends_the_grant() {
    let world = World::new();
    let first = refresh_token(&world.tokens(&[]).await);
    let second = refresh_token(&world.refresh(&first).await.json());
    assert_eq!(world.refresh(&first).await.error(), "invalid_grant");
    assert_eq!(world.idp.stats().refresh_token_reuses, 1);
    assert_eq!(world.refresh(&second).await.error(), "invalid_grant", "the successor is dead too");
}

#[tokio::test]
async fn a_made_up_token_harms_nobody() {
    let world = World::new();
    let token = refresh_token(&world.tokens(&[]).await);
    let (grant, rest) = token.split_once('.').unwrap();
    let (_, tag) = rest.split_once('.').unwrap();
    for forged in [format!("{grant}.1.{tag}"), format!("{grant}.0."), grant.to_owned()] {
        assert_eq!(world.refresh(&forged).await.error(), "invalid_grant");
    }
    let fields =
        [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), ("client_id", PUBLIC)];
    let stolen = world.post_as("/token", None, &fields).await;
    assert_eq!(stolen.error(), "invalid_grant", "another client");
    assert_eq!(world.idp.stats().refresh_token_reuses, 0);
    assert_eq!(world.refresh(&token).await.status, StatusCode::OK);
}

#[tokio::test]
async fn scopes_can_be_narrowed_and_not_widened() {
    let world = World::new();
    let token = refresh_token(&world.tokens(&[("scope", "openid email offline_access")]).await);
    let with_scope = async |token: &str, scope: &str| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
        world.post("/token", &fields).await
    };
    assert_eq!(with_scope(&token, "openid profile").await.error(), "invalid_scope");
    let narrowed = with_scope(&token, "openid").await.json();
    assert_eq!(narrowed["scope"], "openid");
    let again = world.refresh(&refresh_token(&narrowed)).await.json();
    assert_eq!(again["scope"], "openid email offline_access", "the grant keeps its scopes");
}

#[tokio::test]
async fn refresh_tokens_end_30_days_after_the_login() {
    let world = World::new();
    let token = refresh_token(&world.tokens(&[]).await);
    world.advance(30 * 24 * 3600 - 1);
    let token = refresh_token(&world.refresh(&token).await.json());
    world.advance(1);
    assert_eq!(world.refresh(&token).await.error(), "invalid_grant", "rotation extends nothing");
}

#[tokio::test]
async fn offline_access_can_be_required() {
    let world = World::with(|builder| builder.require_offline_access(true));
    assert!(world.tokens(&[]).await["refresh_token"].is_string());
    let without = world.tokens(&[("scope", "openid")]).await;
    assert_eq!(without.get("refresh_token"), None);
    let world = World::new();
    assert!(world.tokens(&[("scope", "openid")]).await["refresh_token"].is_string());
}
