//! The guard over a plain tower service, without axum.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use token_verifier::{Guard, Principal, TokenVerifier, VerifyError};
use tower::{Layer, ServiceExt, service_fn};

const RESOURCE: &str = "https://mcp.example/mcp";
const METADATA: &str = "https://mcp.example/.well-known/oauth-protected-resource/mcp";

/// Answers by the token's name, and counts the questions.
#[derive(Debug, Default)]
struct Scripted {
    asked: AtomicUsize,
}

#[async_trait]
impl TokenVerifier for Scripted {
    async fn verify(&self, token: &str, resource: &str) -> Result<Principal, VerifyError> {
        assert_eq!(resource, RESOURCE);
        self.asked.fetch_add(1, Ordering::SeqCst);
        let principal = Principal::builder("ada").client_id("client");
        match token {
            "reader" => Ok(principal.scopes(["read"]).build()),
            "writer" => Ok(principal.scopes(["read", "write"]).build()),
            "outside" => Err(VerifyError::InsufficientScope {
                required: vec!["read".into(), "admin".into()],
            }),
            "outage" => Err(VerifyError::Unavailable {
                retry_after: Duration::from_millis(2500),
                source: "the database at 10.0.0.1 is down".into(),
            }),
            "hostile" => Err(VerifyError::Invalid("a \"b\"\r\nX-Evil: scope=\"all\" ż".into())),
            _ => Err(VerifyError::Invalid("the token has expired".into())),
        }
    }
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn challenge(&self) -> Option<&str> {
        let mut values = self.headers.get_all(header::WWW_AUTHENTICATE).iter();
        let value = values.next()?.to_str().expect("ASCII");
        assert!(values.next().is_none(), "one challenge on one line");
        Some(value)
    }

    fn json(&self) -> Value {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(self.headers[header::CACHE_CONTROL], "no-store");
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// Sends a request through a guard in front of a service that answers with the principal.
async fn send(guard: &Guard, request: Request<Full<Bytes>>) -> Answer {
    let service = guard.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        let principal: &Principal = request.extensions().get().expect("the guard's principal");
        let seen = format!("{} {}", request.method(), principal.subject());
        assert!(request.headers().contains_key(header::AUTHORIZATION), "nothing is removed");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(seen))))
    }));
    let response = service.oneshot(request).await.expect("an infallible service");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a full body").to_bytes();
    Answer { status: head.status, headers: head.headers, body }
}

fn request(method: &Method, uri: &str, authorization: &[&str]) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(uri);
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    request.body(Full::default()).expect("a request")
}

fn post(authorization: &[&str]) -> Request<Full<Bytes>> {
    request(&Method::POST, "/mcp", authorization)
}

fn guard() -> Guard {
    Guard::new(Arc::new(Scripted::default()), RESOURCE, METADATA).required_scopes(["read"])
}

#[tokio::test]
async fn a_good_token_passes_with_its_principal() {
    for value in ["Bearer reader", "bearer writer"] {
        let answer = send(&guard(), post(&[value])).await;
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"POST ada"[..]));
    }
}

#[tokio::test]
async fn every_refusal_has_its_status_and_challenge() {
    let bare = format!("Bearer resource_metadata=\"{METADATA}\", scope=\"read\"");
    let with = |error: &str, description: &str, scope: &str| {
        format!(
            "Bearer error=\"{error}\", error_description=\"{description}\", \
             resource_metadata=\"{METADATA}\", scope=\"{scope}\""
        )
    };
    let cases: [(&[&str], u16, &str, String); 11] = [
        (&[], 401, "unauthorized", bare.clone()),
        (&["Basic YTpi"], 401, "unauthorized", bare.clone()),
        (&["DPoP reader"], 401, "unauthorized", bare.clone()),
        (&["reader"], 401, "unauthorized", bare),
        (
            &["Bearer expired"],
            401,
            "invalid_token",
            with("invalid_token", "the token has expired", "read"),
        ),
        (
            &["Bearer hostile"],
            401,
            "invalid_token",
            with("invalid_token", "a 'b'??X-Evil: scope:'all' ?", "read"),
        ),
        (
            &["Bearer outside"],
            403,
            "insufficient_scope",
            with("insufficient_scope", "the access token has too little scope", "read admin"),
        ),
        (
            &["Bearer"],
            400,
            "invalid_request",
            with(
                "invalid_request",
                "the Authorization header names the Bearer scheme only",
                "read",
            ),
        ),
        (
            &["Bearer a b"],
            400,
            "invalid_request",
            with("invalid_request", "the token has characters that no token has", "read"),
        ),
        (
            &["Bearer reader", "Bearer reader"],
            400,
            "invalid_request",
            with("invalid_request", "more than one Authorization header", "read"),
        ),
        (
            &["Basic YTpi", "Bearer reader"],
            400,
            "invalid_request",
            with("invalid_request", "more than one Authorization header", "read"),
        ),
    ];
    for (values, status, error, challenge) in cases {
        let answer = send(&guard(), post(values)).await;
        assert_eq!(answer.status, status, "{values:?}");
        assert_eq!(answer.challenge(), Some(challenge.as_str()), "{values:?}");
        assert_eq!(answer.json()["error"], error, "{values:?}");
        assert!(answer.json()["error_description"].is_string(), "{values:?}");
    }
}

#[tokio::test]
async fn who_finds_out_later_refuses_with_the_same_challenge() {
    let guard = guard();
    let refused = send(&guard, post(&["Bearer expired"])).await;
    let error = || VerifyError::Invalid("the token has expired".to_owned());
    let later: Response<Full<Bytes>> = guard.refuse(error(), &Method::POST);
    assert_eq!((later.status(), later.headers()), (refused.status, &refused.headers));
    let body = later.into_body().collect().await.expect("a full body").to_bytes();
    assert_eq!(body, refused.body);
    let head: Response<Full<Bytes>> = guard.refuse(error(), &Method::HEAD);
    let body = head.into_body().collect().await.expect("a full body").to_bytes();
    assert!(body.is_empty());
}

#[tokio::test]
async fn all_required_scopes_are_demanded_and_named() {
    let guard = guard().required_scopes(["read", "write"]);
    assert_eq!(send(&guard, post(&["Bearer writer"])).await.status, StatusCode::OK);
    let answer = send(&guard, post(&["Bearer reader"])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let challenge = answer.challenge().expect("a challenge");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"read write\""), "{challenge}");
}

#[tokio::test]
async fn without_required_scopes_none_are_named() {
    let guard = Guard::new(Arc::new(Scripted::default()), RESOURCE, METADATA);
    let answer = send(&guard, post(&[])).await;
    let expected = format!("Bearer resource_metadata=\"{METADATA}\"");
    assert_eq!(answer.challenge(), Some(expected.as_str()));
}

#[tokio::test]
async fn an_outage_is_not_a_bad_token() {
    let answer = send(&guard(), post(&["Bearer outage"])).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers[header::RETRY_AFTER], "3", "2.5 s, rounded up");
    assert_eq!(answer.challenge(), None, "a challenge would make clients log in again");
    assert_eq!(
        answer.json(),
        json!({
            "error": "temporarily_unavailable",
            "error_description": "the access token cannot be verified at the moment",
        }),
        "the cause is for the log"
    );
}

#[tokio::test]
async fn every_method_is_guarded() {
    for method in [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ] {
        let refused = send(&guard(), request(&method, "/mcp", &[])).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{method}");
        assert_eq!(refused.body.is_empty(), method == Method::HEAD, "{method}");
        assert!(refused.challenge().is_some(), "{method}");
        let passed = send(&guard(), request(&method, "/mcp", &["Bearer reader"])).await;
        assert_eq!(passed.status, StatusCode::OK, "{method}");
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_no_token() {
    let request = request(&Method::GET, "/mcp?access_token=reader", &[]);
    let answer = send(&guard(), request).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!answer.challenge().expect("a challenge").contains("error"));
}

#[tokio::test]
async fn the_verifier_is_asked_for_tokens_only() {
    let verifier = Arc::new(Scripted::default());
    let guard = Guard::new(Arc::clone(&verifier) as _, RESOURCE, METADATA);
    for values in [&[][..], &["Basic YTpi"], &["Bearer a b"], &["Bearer a", "Bearer a"]] {
        send(&guard, post(values)).await;
    }
    assert_eq!(verifier.asked.load(Ordering::SeqCst), 0);
    send(&guard, post(&["Bearer reader"])).await;
    assert_eq!(verifier.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_principal_brought_along_is_replaced() {
    let mut request = post(&["Bearer reader"]);
    request.extensions_mut().insert(Principal::builder("mallory").build());
    let answer = send(&guard(), request).await;
    assert_eq!(&answer.body[..], b"POST ada");
}
