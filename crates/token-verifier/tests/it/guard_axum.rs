//! The guard over an axum router, and the extractor.

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use token_verifier::{Guard, Principal, StaticVerifier};
use tower::ServiceExt;

async fn whoami(principal: Principal) -> String {
    principal.subject().to_owned()
}

fn request(authorization: Option<&str>) -> Request<Body> {
    let mut request = Request::get("/");
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Body::empty()).expect("a request")
}

async fn send(router: &Router, authorization: Option<&str>) -> (StatusCode, String) {
    let response =
        router.clone().oneshot(request(authorization)).await.expect("an infallible service");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn a_handler_gets_the_principal() {
    let verifier =
        StaticVerifier::danger_new().with_token("t0ken", Principal::builder("ada").build());
    let guard = Guard::new(Arc::new(verifier), "https://mcp.example", "https://mcp.example/prm");
    let router = Router::new().route("/", get(whoami)).layer(guard);

    assert_eq!(send(&router, Some("Bearer t0ken")).await, (StatusCode::OK, "ada".to_owned()));
    assert_eq!(send(&router, Some("Bearer other")).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send(&router, None).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_a_guard_the_handler_is_not_reached() {
    let router = Router::new().route("/", get(whoami));
    let (status, body) = send(&router, Some("Bearer t0ken")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(body, r#"{"error":"server_error"}"#);
}
