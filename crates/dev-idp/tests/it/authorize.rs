//! The authorization endpoint: what is refused, where, and with which error.

use axum::body::Body;
use http::{Request, StatusCode, header};

use crate::support::{
    CALLBACK, CONFIDENTIAL, ISSUER, PUBLIC, PUBLIC_CALLBACK, World, authorize, encoded,
};

#[tokio::test]
async fn unknown_clients_and_redirect_uris_get_a_page_and_no_redirect() {
    let world = World::new();
    for changes in [
        [("client_id", "")],
        [("client_id", "unknown")],
        [("redirect_uri", "")],
        [("redirect_uri", "http://localhost:8000/auth/callback/")],
        [("redirect_uri", "http://LOCALHOST:8000/auth/callback")],
        [("redirect_uri", "http://localhost:8000/auth/callback?x=1")],
        [("redirect_uri", PUBLIC_CALLBACK)],
    ] {
        let answer = world.get(&authorize(&changes)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
        assert!(answer.headers.get(header::LOCATION).is_none());
        assert!(answer.body.contains("This did not work"));
    }
    for name in ["client_id", "redirect_uri", "state"] {
        let path = format!("{}&{name}=again", authorize(&[]));
        assert_eq!(world.get(&path).await.status, StatusCode::BAD_REQUEST, "{name}");
    }
}

#[tokio::test]
async fn other_errors_go_to_the_client_with_state_and_issuer() {
    let world = World::new();
    for (changes, error) in [
        (vec![("response_type", "")], "invalid_request"),
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "code id_token")], "unsupported_response_type"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "")], "invalid_scope"),
        (vec![("scope", "unheard-of")], "invalid_scope"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge", "too-short")], "invalid_request"),
        (vec![("prompt", "none login")], "invalid_request"),
        (vec![("prompt", "none")], "login_required"),
        (vec![("max_age", "soon")], "invalid_request"),
        (vec![("request", "a.b.c")], "request_not_supported"),
        (vec![("request_uri", "https://x.example/")], "request_uri_not_supported"),
    ] {
        let answer = world.get(&authorize(&changes)).await;
        assert!(answer.location().as_str().starts_with(CALLBACK), "{changes:?}");
        assert_eq!(answer.error(), error, "{changes:?}");
        assert_eq!(answer.param("state").as_deref(), Some("a state & more"));
        assert_eq!(answer.param("iss").as_deref(), Some(ISSUER));
        assert_eq!(answer.param("code"), None);
    }
    let twice = format!("{}&nonce=again", authorize(&[]));
    assert_eq!(world.get(&twice).await.error(), "invalid_request");
}

#[tokio::test]
async fn repeated_resources_are_no_error() {
    let path = format!("{}&resource=https://a.example&resource=https://b.example", authorize(&[]));
    assert_eq!(World::new().get(&path).await.status, StatusCode::OK);
}

#[tokio::test]
async fn public_clients_must_use_pkce_and_confidential_ones_may() {
    let world = World::new();
    let without = [("code_challenge", ""), ("code_challenge_method", "")];
    assert_eq!(world.get(&authorize(&without)).await.status, StatusCode::OK);

    let public = [("client_id", PUBLIC), ("redirect_uri", PUBLIC_CALLBACK)];
    assert_eq!(world.get(&authorize(&public)).await.status, StatusCode::OK);
    let both = [public, without].concat();
    let answer = world.get(&authorize(&both)).await;
    assert_eq!(answer.error(), "invalid_request");
    // The registered URI has a query of its own, and keeps it.
    assert_eq!(answer.param("tenant").as_deref(), Some("1"));
}

#[tokio::test]
async fn requests_may_be_posted() {
    let world = World::new();
    let fields = [
        ("response_type", "code"),
        ("client_id", CONFIDENTIAL),
        ("redirect_uri", CALLBACK),
        ("scope", "openid"),
    ];
    let request = Request::post("/authorize").body(Body::from(encoded(&fields))).unwrap();
    let answer = world.send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("Sign in"));
    assert_eq!(world.idp.stats().authorization_calls, 1);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::new();
    let request = Request::post("/token").body(Body::from("x".repeat(64 * 1024 + 1))).unwrap();
    assert_eq!(world.send(request).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}
