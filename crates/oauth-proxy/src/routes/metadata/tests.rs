use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::{
    access::AccessPolicy, config::Lifetimes, redirect_uri::RedirectPolicy, resource::Resources,
};

fn config(issuer: &str, paths: &[&str]) -> Config {
    let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
    Config {
        issuer: issuer.to_owned(),
        base_path: resource::path(issuer).to_owned(),
        callback_path: "/auth/callback".to_owned(),
        secure_cookies: true,
        resources: Resources::new(issuer, &paths).unwrap(),
        required_scopes: ScopeSet::parse("tools:read offline_access"),
        supported_scopes: ScopeSet::parse("tools:read tools:write offline_access"),
        redirect_policy: RedirectPolicy::default(),
        access: AccessPolicy::any_user(),
        provider_name: "Example".to_owned(),
        lifetimes: Lifetimes::default(),
    }
}

async fn send(config: &Config, method: Method, path: &str) -> (StatusCode, HeaderMap, Bytes) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = documents(config).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, to_bytes(body, 1 << 20).await.unwrap())
}

async fn get(config: &Config, path: &str) -> Value {
    let (status, headers, body) = send(config, Method::GET, path).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    assert_eq!(headers[header::CONTENT_TYPE], "application/json", "{path}");
    assert_eq!(headers[header::CACHE_CONTROL], CACHE_CONTROL, "{path}");
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn the_documents_are_exact() {
    let config = config("https://h.example", &["/mcp"]);
    let server = get(&config, "/.well-known/oauth-authorization-server").await;
    insta::assert_json_snapshot!(server, @r#"
    {
      "authorization_endpoint": "https://h.example/authorize",
      "authorization_response_iss_parameter_supported": true,
      "code_challenge_methods_supported": [
        "S256"
      ],
      "grant_types_supported": [
        "authorization_code",
        "refresh_token"
      ],
      "id_token_signing_alg_values_supported": [
        "RS256"
      ],
      "issuer": "https://h.example",
      "jwks_uri": "https://h.example/.well-known/jwks.json",
      "registration_endpoint": "https://h.example/register",
      "response_modes_supported": [
        "query"
      ],
      "response_types_supported": [
        "code"
      ],
      "revocation_endpoint": "https://h.example/revoke",
      "revocation_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post"
      ],
      "scopes_supported": [
        "tools:read",
        "tools:write",
        "offline_access"
      ],
      "subject_types_supported": [
        "public"
      ],
      "token_endpoint": "https://h.example/token",
      "token_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post"
      ]
    }
    "#);
    let resource = get(&config, "/.well-known/oauth-protected-resource/mcp").await;
    insta::assert_json_snapshot!(resource, @r#"
    {
      "authorization_servers": [
        "https://h.example"
      ],
      "bearer_methods_supported": [
        "header"
      ],
      "resource": "https://h.example/mcp",
      "scopes_supported": [
        "tools:read"
      ]
    }
    "#);
    let keys = get(&config, "/.well-known/jwks.json").await;
    insta::assert_json_snapshot!(keys, @r#"
    {
      "keys": []
    }
    "#);
}

#[tokio::test]
async fn every_address_that_a_client_tries_has_the_same_body() {
    for (issuer, resource, paths) in [
        ("https://h.example", "/a/mcp", &["", "/a/mcp"][..]),
        ("https://h.example/t1", "/mcp", &["", "/t1", "/t1/mcp"]),
        ("https://h.example", "/", &[""]),
        ("https://h.example/t1", "/", &["", "/t1"]),
    ] {
        let config = config(issuer, &[resource]);
        let resource = config.resources.first();
        for path in paths {
            for name in ["oauth-authorization-server", "openid-configuration"] {
                for address in [
                    format!("/.well-known/{name}{path}"),
                    format!("{path}/.well-known/{name}"),
                    format!("/.well-known/{name}{path}/"),
                ] {
                    assert_eq!(get(&config, &address).await["issuer"], issuer, "{address}");
                }
            }
            for address in prm_paths(path) {
                assert_eq!(get(&config, &address).await["resource"], resource, "{address}");
            }
        }
        let keys = config.url(JWKS_PATH);
        let keys = get(&config, resource::path(&keys)).await;
        assert_eq!(keys, json!({"keys": []}));
    }
}

#[tokio::test]
async fn each_resource_has_its_own_document_and_the_first_is_the_default() {
    let config = config("https://h.example", &["/one", "/two", "/"]);
    for resource in config.resources.iter() {
        for address in prm_paths(resource::path(resource)) {
            assert_eq!(get(&config, &address).await["resource"], resource, "{address}");
        }
    }
    let config = self::config("https://h.example", &["/one", "/two"]);
    let root = get(&config, "/.well-known/oauth-protected-resource").await;
    assert_eq!(root["resource"], "https://h.example/one");
}

#[tokio::test]
async fn an_unknown_document_is_a_json_404() {
    let config = config("https://h.example/t1", &["/mcp"]);
    for path in [
        "/.well-known/nothing",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-authorization-server/other",
        "/.well-known/openid-configuration/mcp/x",
        "/t1/.well-known/nothing",
        "/t1/mcp/.well-known/nothing",
    ] {
        let (status, headers, body) = send(&config, Method::GET, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"], "not_found");
    }
}

#[tokio::test]
async fn a_head_request_is_answered_as_a_get() {
    let config = config("https://h.example", &["/mcp"]);
    let path = "/.well-known/oauth-protected-resource/mcp";
    let (status, headers, body) = send(&config, Method::HEAD, path).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert!(body.is_empty());
}

#[test]
fn no_member_is_null() {
    let config =
        Config { required_scopes: ScopeSet::default(), ..config("https://h.example", &["/mcp"]) };
    for body in Documents::new(&config).0.values() {
        assert!(!body.windows(4).any(|window| window == b"null"));
    }
}
