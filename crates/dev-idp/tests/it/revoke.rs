//! Revocation.

use http::StatusCode;

use crate::support::{PUBLIC, World};

#[tokio::test]
async fn either_token_ends_the_grant() {
    for kind in ["refresh_token", "access_token"] {
        let world = World::new();
        let tokens = world.tokens(&[]).await;
        let access_token = tokens["access_token"].as_str().unwrap();
        assert_eq!(world.userinfo(access_token).await.status, StatusCode::OK);

        let token = tokens[kind].as_str().unwrap();
        let answer = world.post("/revoke", &[("token", token), ("token_type_hint", kind)]).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{kind}");
        assert_eq!(world.userinfo(access_token).await.status, StatusCode::UNAUTHORIZED);
        let refreshed = world.refresh(tokens["refresh_token"].as_str().unwrap()).await;
        assert_eq!(refreshed.error(), "invalid_grant");

        assert_eq!(world.post("/revoke", &[("token", token)]).await.status, StatusCode::OK);
        let stats = world.idp.stats();
        assert_eq!((stats.revocation_calls, stats.revoked_grants), (2, 1));
    }
}

#[tokio::test]
async fn unknown_tokens_are_as_good_as_revoked() {
    let world = World::new();
    for token in ["unknown", "a.b.c", "a.0.c"] {
        assert_eq!(world.post("/revoke", &[("token", token)]).await.status, StatusCode::OK);
    }
    assert_eq!(world.idp.stats().revoked_grants, 0);
}

#[tokio::test]
async fn only_the_client_itself_revokes() {
    let world = World::new();
    let tokens = world.tokens(&[]).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let other = [("token", token), ("client_id", PUBLIC)];
    assert_eq!(world.post_as("/revoke", None, &other).await.error(), "invalid_grant");
    let nobody = world.post_as("/revoke", None, &[("token", token)]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.post("/revoke", &[]).await.error(), "invalid_request");
    assert_eq!(world.refresh(token).await.status, StatusCode::OK, "it is still good");
}
