use std::{sync::Arc, time::UNIX_EPOCH};

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use http::{HeaderValue, Method};
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::{KeyValue, Memory};
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{
    AccessPolicy, OAuthProxy,
    client::ClientRecord,
    provider::{
        AuthorizeRequest, ExchangeRequest, Identity, Provider, ProviderError, ProviderTokens,
    },
    store::Record,
};

const NOW: u64 = 1_800_000_000;

/// Registration does not talk to the provider.
#[derive(Debug)]
struct NoProvider;

#[async_trait]
impl Provider for NoProvider {
    async fn authorize_url(&self, _: &AuthorizeRequest) -> Result<String, ProviderError> {
        unreachable!()
    }

    async fn check_response_issuer(&self, _: Option<&str>) -> Result<(), ProviderError> {
        unreachable!()
    }

    async fn exchange(&self, _: &ExchangeRequest) -> Result<ProviderTokens, ProviderError> {
        unreachable!()
    }

    async fn identify(
        &self,
        _: &ProviderTokens,
        _: Option<&str>,
    ) -> Result<Option<Identity>, ProviderError> {
        unreachable!()
    }

    async fn refresh(&self, _: &SecretString) -> Result<ProviderTokens, ProviderError> {
        unreachable!()
    }

    async fn revoke(&self, _: &SecretString) -> Result<(), ProviderError> {
        unreachable!()
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

struct Server {
    storage: Arc<Memory>,
    router: axum::Router,
}

fn server() -> Server {
    let storage = Arc::new(Memory::new());
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let proxy = OAuthProxy::builder("https://h.example/t1", Arc::new(NoProvider))
        .access(AccessPolicy::any_user())
        .storage(Arc::clone(&storage))
        .signing_keys(KeyRing::new(MasterKey::generate()))
        .clock(Arc::new(move || now))
        .build()
        .unwrap();
    Server { storage, router: proxy.into_router() }
}

impl Server {
    async fn send(&self, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(Method::POST).uri("/t1/register");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn stored(&self) -> usize {
        let page = self.storage.scan(ClientRecord::COLLECTION, "", None, 100).await.unwrap();
        page.keys.len()
    }
}

#[tokio::test]
async fn a_registration_is_created_stored_and_not_cached() {
    let server = server();
    let body = json!({"client_name": "Cursor", "redirect_uris": ["http://localhost/cb"]});
    let answer = server.send(Some("application/json"), body.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers[header::PRAGMA], "no-cache");
    insta::assert_json_snapshot!(answer.body, { ".client_id" => "[id]" }, @r#"
    {
      "client_id": "[id]",
      "client_id_issued_at": 1800000000,
      "client_name": "Cursor",
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "redirect_uris": [
        "http://localhost/cb"
      ],
      "response_types": [
        "code"
      ],
      "token_endpoint_auth_method": "none"
    }
    "#);
    let id = answer.body["client_id"].as_str().unwrap();
    assert!(server.storage.get(ClientRecord::COLLECTION, id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_refusal_is_an_rfc_7591_error_and_stores_nothing() {
    let server = server();
    let json = Some("application/json");
    let too_long = format!("{{}}{}", " ".repeat(MAX_REGISTRATION_BYTES - 1));
    for (content_type, body, error) in [
        (json, "nonsense".to_owned(), "invalid_client_metadata"),
        (json, r#"{"redirect_uris":["javascript:x"]}"#.to_owned(), "invalid_redirect_uri"),
        (json, too_long, "invalid_client_metadata"),
        (
            Some("text/plain"),
            r#"{"redirect_uris":["https://a/"]}"#.to_owned(),
            "invalid_client_metadata",
        ),
    ] {
        let answer = server.send(content_type, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(answer.body["error"], error);
        assert!(answer.body["error_description"].is_string());
    }
    assert_eq!(server.stored().await, 0);
}

#[tokio::test]
async fn the_largest_request_is_read_and_one_byte_more_is_not() {
    let server = server();
    let body = r#"{"redirect_uris":["https://a.example/"]}"#;
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let largest = server.send(None, padded(MAX_REGISTRATION_BYTES)).await;
    assert_eq!(largest.status, StatusCode::CREATED);
    let larger = server.send(None, padded(MAX_REGISTRATION_BYTES + 1)).await;
    assert_eq!(larger.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.stored().await, 1);
}

#[tokio::test]
async fn any_web_page_may_register() {
    let server = server();
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/t1/register")
        .header(header::ORIGIN, "https://inspector.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type,mcp-protocol-version")
        .body(Body::empty())
        .unwrap();
    let response = server.router.clone().oneshot(preflight).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[test]
fn a_flood_shortens_lives_and_refuses_nobody() {
    const MONTH: Duration = Duration::from_hours(30 * 24);
    let quota = UnusedQuota::default();
    let noon = 20_000 * DAY_SECONDS + DAY_SECONDS / 2;
    for _ in 0..UNUSED_PER_DAY {
        assert_eq!(quota.lifetime(noon, MONTH), MONTH);
    }
    assert_eq!(quota.lifetime(noon, MONTH), PRESSED_LIFETIME);
    assert_eq!(quota.lifetime(noon, Duration::from_secs(2)), Duration::from_secs(2));
    assert_eq!(quota.lifetime(noon + DAY_SECONDS, MONTH), MONTH);
}

#[test]
fn only_json_is_read() {
    let with = |value| HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
    assert!(require_json(&HeaderMap::new()).is_ok());
    for fine in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
        assert!(require_json(&with(HeaderValue::from_static(fine))).is_ok(), "{fine}");
    }
    for other in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
        assert!(require_json(&with(HeaderValue::from_static(other))).is_err(), "{other}");
    }
}
