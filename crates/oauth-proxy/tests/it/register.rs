//! Registration (RFC 7591): lenient in, exact out, and nothing that a stranger sends is unbounded.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, StatusCode, header};
use kv_storage::{KeyValue, Memory};
use serde_json::{Value, json};

use crate::support::{Answer, Browser, Deployment, REDIRECT, TestClock, authorize_path, param};

const JSON: Option<&str> = Some("application/json");

async fn post(deployment: &Deployment, content_type: Option<&str>, body: String) -> Answer {
    let mut request = Request::post("/register");
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    deployment.send(request.body(Body::from(body)).unwrap()).await
}

fn id(answer: &Answer) -> String {
    answer.json()["client_id"].as_str().unwrap().to_owned()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

async fn is_stored(deployment: &Deployment, client: &str) -> bool {
    deployment.storage.inner().get("clients", client).await.unwrap().is_some()
}

#[tokio::test]
async fn every_accepted_member_comes_back_and_nothing_else() {
    let deployment = Deployment::with(|builder| {
        builder.required_scopes(["tools:read"]).extra_scopes(["tools:write"])
    });
    let answer = deployment
        .register_with(&json!({
            "client_name": "Claude Code",
            "client_uri": "https://claude.ai",
            "logo_uri": "https://claude.ai/logo.png",
            "tos_uri": "https://claude.ai/tos",
            "policy_uri": "https://claude.ai/policy",
            "contacts": ["help@claude.example"],
            "software_id": "claude-code",
            "software_version": "2.1",
            "application_type": "native",
            "redirect_uris": ["http://localhost:3118/callback", "https://claude.ai/api/mcp/auth_callback"],
            "grant_types": ["authorization_code", "refresh_token",
                "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code"],
            "scope": "tools:write tools:read admin",
            "token_endpoint_auth_method": "client_secret_post",
            // What a client cannot choose, what does not exist here, and what must not be fetched.
            "client_id": "chosen",
            "client_secret": "chosen",
            "client_id_issued_at": 1,
            "jwks_uri": "http://169.254.169.254/",
            "software_statement": "e30.e30.",
            "x_unknown": {"deep": [1, null]},
            "another": null,
        }))
        .await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(answer.headers[header::PRAGMA], "no-cache");
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    insta::assert_json_snapshot!(answer.json(), {
        ".client_id" => "[id]",
        ".client_secret" => "[secret]",
        ".client_id_issued_at" => "[time]",
        ".registration_access_token" => "[token]",
        ".registration_client_uri" => "[uri]",
    }, @r#"
    {
      "application_type": "native",
      "client_id": "[id]",
      "client_id_issued_at": "[time]",
      "client_name": "Claude Code",
      "client_secret": "[secret]",
      "client_secret_expires_at": 0,
      "client_uri": "https://claude.ai",
      "contacts": [
        "help@claude.example"
      ],
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "logo_uri": "https://claude.ai/logo.png",
      "policy_uri": "https://claude.ai/policy",
      "redirect_uris": [
        "http://localhost:3118/callback",
        "https://claude.ai/api/mcp/auth_callback"
      ],
      "registration_access_token": "[token]",
      "registration_client_uri": "[uri]",
      "response_types": [
        "code"
      ],
      "scope": "tools:write tools:read",
      "software_id": "claude-code",
      "software_version": "2.1",
      "token_endpoint_auth_method": "client_secret_post",
      "tos_uri": "https://claude.ai/tos"
    }
    "#);
}

#[tokio::test]
async fn the_least_that_a_client_can_say_makes_a_public_client() {
    let answer = Deployment::new().register_with(&json!({"redirect_uris": [REDIRECT]})).await;
    insta::assert_json_snapshot!(answer.json(), {
        ".client_id" => "[id]",
        ".registration_access_token" => "[token]",
        ".registration_client_uri" => "[uri]",
    }, @r#"
    {
      "client_id": "[id]",
      "client_id_issued_at": 1800000000,
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "redirect_uris": [
        "http://127.0.0.1:7777/callback"
      ],
      "registration_access_token": "[token]",
      "registration_client_uri": "[uri]",
      "response_types": [
        "code"
      ],
      "token_endpoint_auth_method": "none"
    }
    "#);
}

#[tokio::test]
async fn nulls_and_wrong_types_count_as_absent() {
    let answer = Deployment::new()
        .register_with(&json!({
            "redirect_uris": [REDIRECT],
            "client_name": null,
            "client_uri": 5,
            "logo_uri": null,
            "contacts": null,
            "scope": null,
            "grant_types": null,
            "response_types": null,
            "token_endpoint_auth_method": null,
            "application_type": "toaster",
        }))
        .await;
    let response = answer.json();
    assert!(!has_null(&response), "{response}");
    for absent in ["client_name", "client_uri", "scope", "application_type", "client_secret"] {
        assert!(response.get(absent).is_none(), "{absent}: {response}");
    }
}

#[tokio::test]
async fn a_secret_is_for_the_methods_that_use_one() {
    let deployment = Deployment::new();
    for (method, secret) in
        [("none", false), ("client_secret_basic", true), ("client_secret_post", true)]
    {
        let metadata = json!({"redirect_uris": [REDIRECT], "token_endpoint_auth_method": method});
        let answer = deployment.register_with(&metadata).await;
        let response = answer.json();
        assert_eq!(response["token_endpoint_auth_method"], method);
        assert_eq!(response.get("client_secret").is_some(), secret, "{method}");
        let expiry = secret.then(|| json!(0));
        assert_eq!(response.get("client_secret_expires_at"), expiry.as_ref(), "{method}");
        if let Some(secret) = response.get("client_secret").and_then(Value::as_str) {
            let stored = deployment.storage.inner().get("clients", &id(&answer)).await.unwrap();
            let stored = String::from_utf8(stored.unwrap().value.to_vec()).unwrap();
            assert!(!stored.contains(secret), "stored as a hash");
        }
    }
    let metadata = json!({"redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "private_key_jwt"});
    let refused = post(&deployment, JSON, metadata.to_string()).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client_metadata");
}

#[tokio::test]
async fn one_bad_redirect_uri_does_not_fail_the_others() {
    let deployment = Deployment::new();
    let answer = deployment
        .register_with(&json!({"redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "javascript:alert(1)",
            7,
            "http://evil.example/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ]}))
        .await;
    assert_eq!(
        answer.json()["redirect_uris"],
        json!([
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ])
    );
    // What was left out is not registered: it gets no redirect, only a page.
    let mut path = authorize_path(&id(&answer), &[]);
    path = path.replace("http%3A%2F%2F127.0.0.1%3A7777%2Fcallback", "javascript%3Aalert%281%29");
    assert!(path.contains("javascript"));
    let page = deployment.get(&path).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(!page.headers.contains_key(header::LOCATION));
}

#[tokio::test]
async fn hostile_redirect_uris_are_refused() {
    let deployment = Deployment::new();
    for uri in [
        "javascript:alert(1)",
        "JaVaScRiPt://x.example/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "blob:https://a.example/x",
        "about:blank",
        "filesystem:https://a.example/x",
        "view-source:https://a.example/",
        "unlisted://callback",
        "http://evil.example/callback",
        "http://localhost.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "https://user:password@a.example/callback",
        "https://a.example/callback#fragment",
        "https:///callback",
        "//a.example/callback",
        "/callback",
        "*",
        "https://a.example/\r\nSet-Cookie: x=y",
        "https://a.example\\@evil.example/",
        "",
    ] {
        let body = json!({"redirect_uris": [uri]}).to_string();
        let refused = post(&deployment, JSON, body).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_redirect_uri");
    }
    assert!(deployment.storage.keys("clients").await.is_empty());
}

#[tokio::test]
async fn the_callbacks_of_real_clients_are_accepted() {
    let deployment = Deployment::new();
    for uri in [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "https://claude.ai/api/mcp/auth_callback",
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://vscode.dev/redirect",
        "http://localhost:3118/callback",
        "http://127.0.0.1/",
        "http://[::1]:9000/callback",
    ] {
        let answer = deployment.register_with(&json!({"redirect_uris": [uri]})).await;
        assert_eq!(answer.json()["redirect_uris"], json!([uri]), "byte for byte");
    }
}

#[tokio::test]
async fn a_refusal_is_an_rfc_7591_error_and_stores_nothing() {
    let deployment = Deployment::new();
    let good = json!({"redirect_uris": [REDIRECT]}).to_string();
    let uris: Value = (0..33).map(|n| json!(format!("https://a.example/{n}"))).collect();
    let metadata = "invalid_client_metadata";
    for (content_type, body, error) in [
        (JSON, "nonsense".to_owned(), metadata),
        (JSON, String::new(), metadata),
        (JSON, "[]".to_owned(), metadata),
        (JSON, "null".to_owned(), metadata),
        (JSON, format!("{}{}", "[".repeat(30_000), "]".repeat(30_000)), metadata),
        (JSON, "{}".to_owned(), "invalid_redirect_uri"),
        (JSON, json!({"redirect_uris": []}).to_string(), "invalid_redirect_uri"),
        (JSON, json!({"redirect_uris": REDIRECT}).to_string(), "invalid_redirect_uri"),
        (JSON, json!({"redirect_uris": uris}).to_string(), "invalid_redirect_uri"),
        (Some("text/plain"), good.clone(), metadata),
        (Some("application/x-www-form-urlencoded"), good.clone(), metadata),
        (Some("multipart/form-data"), good, metadata),
        (
            JSON,
            json!({"redirect_uris": [REDIRECT], "response_types": ["token"]}).to_string(),
            metadata,
        ),
        (
            JSON,
            json!({"redirect_uris": [REDIRECT], "grant_types": ["password"]}).to_string(),
            metadata,
        ),
    ] {
        let refused = post(&deployment, content_type, body).await;
        refused.assert_error(StatusCode::BAD_REQUEST, error);
        assert!(refused.json()["error_description"].is_string());
        assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(refused.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
    assert!(deployment.storage.keys("clients").await.is_empty());
}

#[tokio::test]
async fn limits_are_reached_and_not_passed() {
    const LARGEST: usize = 16 * 1024;
    let deployment = Deployment::new();
    let body = json!({"redirect_uris": [REDIRECT]}).to_string();
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    // Scripts forget the content type; that alone fails nobody.
    assert_eq!(post(&deployment, None, padded(LARGEST)).await.status, StatusCode::CREATED);
    let larger = post(&deployment, None, padded(LARGEST + 1)).await;
    larger.assert_error(StatusCode::BAD_REQUEST, "invalid_client_metadata");

    let uris: Value = (0..32).map(|n| json!(format!("https://a.example/{n}"))).collect();
    let answer = deployment.register_with(&json!({"redirect_uris": uris})).await;
    assert_eq!(answer.json()["redirect_uris"].as_array().map(Vec::len), Some(32));
}

#[tokio::test]
async fn registration_is_a_post() {
    let deployment = Deployment::new();
    assert_eq!(deployment.get("/register").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// The scope of the token after a login that asks for `scope`.
async fn granted(deployment: &Deployment, client: &str, scope: &str) -> Value {
    let mut browser = Browser::default();
    let page = browser.get(deployment, &authorize_path(client, &[("scope", scope)])).await;
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &csrf), ("action", "approve")];
    let sent = browser.post(deployment, "/consent", &form).await;
    let state = param(sent.location(), "state").unwrap();
    let back = browser.return_with_code(deployment, &state).await;
    let code = param(back.location(), "code").unwrap();
    deployment.redeem(client, &code).await.json()["scope"].clone()
}

#[tokio::test]
async fn a_client_without_a_scope_is_not_held_to_none() {
    let deployment = Deployment::with(|builder| {
        builder.required_scopes(["tools:read"]).extra_scopes(["tools:write"])
    });
    for scope in [None, Some(""), Some("no such scope"), Some("tools:read")] {
        let mut metadata = json!({"redirect_uris": [REDIRECT]});
        if let Some(scope) = scope {
            metadata["scope"] = json!(scope);
        }
        let answer = deployment.register_with(&metadata).await;
        let kept = scope.filter(|&scope| scope == "tools:read");
        assert_eq!(answer.json().get("scope"), kept.map(Value::from).as_ref());
        // Not even a registered scope is a bound: SDKs step up later with the same id.
        let both = granted(&deployment, &id(&answer), "tools:read tools:write").await;
        assert_eq!(both, "tools:read tools:write", "registered with {scope:?}");
    }
}

#[tokio::test]
async fn a_registration_survives_a_restart_and_authorizes() {
    let clock = TestClock::wall();
    let storage: Arc<dyn KeyValue> = Arc::new(Memory::new());
    let start = || Deployment::on(Arc::clone(&storage), clock.clone(), |builder| builder);
    let client = start().register().await;
    let restarted = start();
    assert!(is_stored(&restarted, &client).await);
    let tokens = restarted.login(&client).await;
    assert_eq!(restarted.call(&tokens.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn each_registration_is_a_client_of_its_own() {
    let deployment = Deployment::new();
    let (first, second) = (deployment.register().await, deployment.register().await);
    assert_ne!(first, second);
    assert!(is_stored(&deployment, &first).await && is_stored(&deployment, &second).await);
}

#[tokio::test]
async fn a_flood_shortens_its_own_lives_and_those_of_no_other_deployment() {
    let (flooded, calm) = (Deployment::new(), Deployment::new());
    let used = flooded.register().await;
    flooded.login(&used).await;
    let early = flooded.register().await;
    for _ in 2..1000 {
        flooded.register().await;
    }
    let beyond = flooded.register().await;
    // Nobody is locked out: the one beyond can sign in now. Another that does not, goes.
    flooded.login(&beyond).await;
    let idle = flooded.register().await;
    let elsewhere = calm.register().await;
    for deployment in [&flooded, &calm] {
        deployment.clock.advance(Duration::from_hours(2));
    }
    assert!(!is_stored(&flooded, &idle).await);
    for client in [&used, &early, &beyond] {
        assert!(is_stored(&flooded, client).await);
    }
    assert!(is_stored(&calm, &elsewhere).await);
}
