//! The token endpoint with codes, and what the tokens say.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dev_idp::Lifetimes;
use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    CONFIDENTIAL, ISSUER, PUBLIC, PUBLIC_CALLBACK, SECRET, START, VERIFIER, World, authorize,
    basic, claims,
};

/// Verifies a token as a relying party would: by the published key set.
async fn verified(world: &World, token: &Value, audience: &str) -> (jsonwebtoken::Header, Value) {
    let set: JwkSet = serde_json::from_str(&world.get("/jwks.json").await.body).unwrap();
    let token = token.as_str().unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = set.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(key).unwrap();
    let data = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    (data.header, data.claims)
}

#[tokio::test]
async fn a_code_becomes_tokens() {
    let world = World::new();
    let answer = world.redeem(&world.code(&[]).await, &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    let tokens = answer.json();
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 3600);
    assert_eq!(tokens["scope"], "openid profile email offline_access");
    assert!(tokens["refresh_token"].is_string());

    let (header, id) = verified(&world, &tokens["id_token"], CONFIDENTIAL).await;
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let access_token = tokens["access_token"].as_str().unwrap();
    let half = &Sha256::digest(access_token)[..16];
    let at_hash = URL_SAFE_NO_PAD.encode(half);
    assert_eq!(
        id,
        json!({
            "iss": ISSUER, "sub": "user-alice", "aud": CONFIDENTIAL,
            "iat": START, "exp": START + 3600, "auth_time": START,
            "nonce": "a-nonce", "at_hash": at_hash,
            "name": "Alice Liddell", "preferred_username": "alice", "groups": ["staff", "admins"],
            "email": "alice@example.com", "email_verified": true,
        })
    );

    let (header, access) = verified(&world, &tokens["access_token"], ISSUER).await;
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(access["client_id"], CONFIDENTIAL);
    assert_eq!(access["sub"], "user-alice");
    assert_eq!(access["exp"], START + 3600);
    assert!(access["jti"].is_string());
    assert_eq!(world.idp.stats().code_calls, 1);
}

#[tokio::test]
async fn claims_and_tokens_follow_the_scope() {
    let world = World::new();
    let id = claims(&world.tokens(&[("scope", "openid email")]).await["id_token"]);
    assert_eq!(id["email"], "alice@example.com");
    assert_eq!(id.get("name"), None);
    let id = claims(&world.tokens(&[("scope", "openid groups")]).await["id_token"]);
    assert_eq!(id["groups"], json!(["staff", "admins"]));
    assert_eq!(id.get("email"), None);
    let plain = world.tokens(&[("scope", "profile unheard-of")]).await;
    assert_eq!(plain.get("id_token"), None, "plain OAuth 2");
    assert_eq!(plain["scope"], "profile");
    let without_nonce = world.tokens(&[("nonce", "")]).await;
    assert_eq!(claims(&without_nonce["id_token"]).get("nonce"), None);
}

#[tokio::test]
async fn audience_and_lifetimes_are_settings() {
    let world = World::with(|builder| {
        let lifetimes = Lifetimes {
            access_token: Duration::from_secs(2),
            id_token: Duration::from_secs(3),
            code: Duration::from_secs(4),
            ..Lifetimes::default()
        };
        builder.lifetimes(lifetimes).access_token_audience("https://api.example")
    });
    let tokens = world.tokens(&[]).await;
    assert_eq!(tokens["expires_in"], 2);
    let access = claims(&tokens["access_token"]);
    assert_eq!(
        (&access["exp"], &access["aud"]),
        (&json!(START + 2), &json!("https://api.example"))
    );
    assert_eq!(claims(&tokens["id_token"])["exp"], START + 3);

    let code = world.code(&[]).await;
    world.advance(4);
    assert_eq!(world.redeem(&code, &[]).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_second_redemption_fails_and_ends_the_first() {
    let world = World::new();
    let code = world.code(&[]).await;
    let tokens = world.redeem(&code, &[]).await.json();
    let again = world.redeem(&code, &[]).await;
    assert_eq!((again.status, again.error().as_str()), (StatusCode::BAD_REQUEST, "invalid_grant"));
    assert_eq!(world.idp.stats().code_reuses, 1);

    let refreshed = world.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refreshed.error(), "invalid_grant");
    let userinfo = world.userinfo(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(userinfo.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_simultaneous_redemptions_one_wins() {
    let world = World::new();
    let code = world.code(&[]).await;
    let fields = |code: &str| {
        crate::support::form(
            "/token",
            Some(&basic(CONFIDENTIAL, SECRET)),
            &[
                ("grant_type", "authorization_code"),
                ("code", code),
                ("redirect_uri", crate::support::CALLBACK),
                ("code_verifier", VERIFIER),
            ],
        )
    };
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (router, request) = (world.idp.clone().into_router(), fields(&code));
        calls.spawn(
            async move { tower::ServiceExt::oneshot(router, request).await.unwrap().status() },
        );
    }
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| status.is_success()).count(), 1);
}

#[tokio::test]
async fn a_code_is_bound_to_verifier_redirect_uri_and_client() {
    let world = World::new();
    let code = world.code(&[]).await;
    for changes in [
        [("code_verifier", "")],
        [("code_verifier", "another-verifier-of-sufficient-length-0123456789")],
        [("redirect_uri", "")],
        [("redirect_uri", "http://localhost:8000/elsewhere")],
        [("code", "unknown")],
    ] {
        assert_eq!(world.redeem(&code, &changes).await.error(), "invalid_grant", "{changes:?}");
    }
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", crate::support::CALLBACK),
        ("code_verifier", VERIFIER),
        ("client_id", PUBLIC),
    ];
    assert_eq!(world.post_as("/token", None, &fields).await.error(), "invalid_grant");
    // None of that has used the code up.
    assert_eq!(world.redeem(&code, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_verifier_without_a_challenge_is_refused() {
    let world = World::new();
    let code = world.code(&[("code_challenge", ""), ("code_challenge_method", "")]).await;
    assert_eq!(world.redeem(&code, &[]).await.error(), "invalid_grant");
    assert_eq!(world.redeem(&code, &[("code_verifier", "")]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_may_authenticate_in_three_ways() {
    let world = World::new();
    let code = world.code(&[]).await;
    let usual = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", crate::support::CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let in_body = [usual.as_slice(), &[("client_id", CONFIDENTIAL), ("client_secret", SECRET)]];
    let answer = world.post_as("/token", None, &in_body.concat()).await;
    assert_eq!(answer.status, StatusCode::OK, "client_secret_post");

    let mut browser = world.browser();
    let public = [("client_id", PUBLIC), ("redirect_uri", PUBLIC_CALLBACK)];
    let page = browser.get(&authorize(&public)).await;
    let code = browser.log_in(&page, "bob", "can-we-fix-it").await.param("code").unwrap();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", PUBLIC_CALLBACK),
        ("code_verifier", VERIFIER),
        ("client_id", PUBLIC),
    ];
    let answer = world.post_as("/token", None, &fields).await;
    assert_eq!(answer.status, StatusCode::OK, "none");
    let id = claims(&answer.json()["id_token"]);
    assert_eq!((&id["sub"], &id["email_verified"]), (&json!("user-bob"), &json!(false)));
}

#[tokio::test]
async fn failed_client_authentication_is_invalid_client() {
    let world = World::new();
    let grant = ("grant_type", "refresh_token");
    let with_basic =
        [basic(CONFIDENTIAL, "wrong"), basic("unknown", SECRET), "Bearer x".to_owned()];
    for authorization in with_basic {
        let answer = world.post_as("/token", Some(&authorization), &[grant]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.error(), "invalid_client");
        assert!(answer.header(header::WWW_AUTHENTICATE).starts_with("Basic "));
    }
    for credentials in [
        vec![],
        vec![("client_id", CONFIDENTIAL)],
        vec![("client_id", CONFIDENTIAL), ("client_secret", "wrong")],
        vec![("client_id", PUBLIC), ("client_secret", "unexpected")],
    ] {
        let fields = [vec![grant], credentials].concat();
        let answer = world.post_as("/token", None, &fields).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{fields:?}");
        assert_eq!(answer.error(), "invalid_client");
        assert!(answer.headers.get(header::WWW_AUTHENTICATE).is_none());
    }
    let both = [grant, ("client_secret", SECRET)];
    assert_eq!(world.post("/token", &both).await.error(), "invalid_request");
    let other = [grant, ("client_id", PUBLIC)];
    assert_eq!(world.post("/token", &other).await.error(), "invalid_request");
    assert_eq!(world.idp.stats().token_failures, 9);
}

#[tokio::test]
async fn malformed_token_requests_are_told_apart() {
    let world = World::new();
    for (fields, error) in [
        (vec![], "invalid_request"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (vec![("grant_type", "authorization_code")], "invalid_request"),
        (vec![("grant_type", "refresh_token")], "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("grant_type", "refresh_token")], "invalid_request"),
    ] {
        let answer = world.post("/token", &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.error(), error, "{fields:?}");
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    }
    assert_eq!(world.get("/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(world.idp.stats().other_token_calls, 2);
}
