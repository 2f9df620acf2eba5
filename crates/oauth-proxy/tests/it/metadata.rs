//! The well-known documents: exact, at every address that clients try, for every origin.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::support::{Answer, Deployment};

const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const RESOURCE: &str = "/.well-known/oauth-protected-resource";

/// A document, after everything about the answer that is not its content.
async fn document(deployment: &Deployment, path: &str) -> String {
    let answer = deployment.get(path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json", "{path}");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "public, max-age=300", "{path}");
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
    assert!(!answer.body.contains("null"), "{path}: {}", answer.body);
    answer.body
}

async fn json_at(deployment: &Deployment, path: &str) -> Value {
    serde_json::from_str(&document(deployment, path).await).unwrap()
}

/// The one body of all these addresses.
async fn same(deployment: &Deployment, addresses: &[&str]) -> Value {
    let mut bodies = BTreeSet::new();
    for address in addresses {
        bodies.insert(document(deployment, address).await);
        bodies.insert(document(deployment, &format!("{address}/")).await);
    }
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    serde_json::from_str(bodies.first().unwrap()).unwrap()
}

fn with_tools() -> Deployment {
    Deployment::with(|builder| {
        builder.required_scopes(["tools:read", "offline_access"]).extra_scopes(["tools:write"])
    })
}

#[tokio::test]
async fn the_authorization_server_metadata_is_exact() {
    let server = same(&with_tools(), &[SERVER, OPENID]).await;
    insta::assert_json_snapshot!(server, @r#"
    {
      "authorization_endpoint": "https://proxy.example/authorize",
      "authorization_response_iss_parameter_supported": true,
      "client_id_metadata_document_supported": true,
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
      "issuer": "https://proxy.example",
      "jwks_uri": "https://proxy.example/.well-known/jwks.json",
      "registration_endpoint": "https://proxy.example/register",
      "response_modes_supported": [
        "query"
      ],
      "response_types_supported": [
        "code"
      ],
      "revocation_endpoint": "https://proxy.example/revoke",
      "revocation_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
      ],
      "revocation_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "EdDSA"
      ],
      "scopes_supported": [
        "tools:read",
        "offline_access",
        "tools:write"
      ],
      "subject_types_supported": [
        "public"
      ],
      "token_endpoint": "https://proxy.example/token",
      "token_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
      ],
      "token_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "EdDSA"
      ]
    }
    "#);
}

#[tokio::test]
async fn a_path_of_the_base_url_stands_in_every_url() {
    let deployment = Deployment::at("https://proxy.example/team/a", |builder| builder);
    let server = json_at(&deployment, "/.well-known/oauth-authorization-server/team/a").await;
    insta::assert_json_snapshot!(server, @r#"
    {
      "authorization_endpoint": "https://proxy.example/team/a/authorize",
      "authorization_response_iss_parameter_supported": true,
      "client_id_metadata_document_supported": true,
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
      "issuer": "https://proxy.example/team/a",
      "jwks_uri": "https://proxy.example/team/a/.well-known/jwks.json",
      "registration_endpoint": "https://proxy.example/team/a/register",
      "response_modes_supported": [
        "query"
      ],
      "response_types_supported": [
        "code"
      ],
      "revocation_endpoint": "https://proxy.example/team/a/revoke",
      "revocation_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
      ],
      "revocation_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "EdDSA"
      ],
      "scopes_supported": [
        "openid",
        "offline_access"
      ],
      "subject_types_supported": [
        "public"
      ],
      "token_endpoint": "https://proxy.example/team/a/token",
      "token_endpoint_auth_methods_supported": [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt"
      ],
      "token_endpoint_auth_signing_alg_values_supported": [
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "EdDSA"
      ]
    }
    "#);
    let keys = json_at(&deployment, "/team/a/.well-known/jwks.json").await;
    assert_eq!(keys, json!({"keys": []}));
}

#[tokio::test]
async fn the_resource_metadata_is_exact() {
    let resource = json_at(&with_tools(), "/.well-known/oauth-protected-resource/mcp").await;
    insta::assert_json_snapshot!(resource, @r#"
    {
      "authorization_servers": [
        "https://proxy.example"
      ],
      "bearer_methods_supported": [
        "header"
      ],
      "resource": "https://proxy.example/mcp",
      "scopes_supported": [
        "tools:read"
      ]
    }
    "#);
    // A resource that requires nothing says nothing, rather than an empty list.
    let open = Deployment::with(|builder| builder.required_scopes::<String>([]));
    let resource = json_at(&open, "/.well-known/oauth-protected-resource/mcp").await;
    insta::assert_json_snapshot!(resource, @r#"
    {
      "authorization_servers": [
        "https://proxy.example"
      ],
      "bearer_methods_supported": [
        "header"
      ],
      "resource": "https://proxy.example/mcp"
    }
    "#);
}

#[tokio::test]
async fn the_key_set_is_empty_while_keys_are_symmetric() {
    assert_eq!(same(&Deployment::new(), &["/.well-known/jwks.json"]).await, json!({"keys": []}));
}

#[tokio::test]
async fn every_address_without_a_path_has_the_same_body() {
    let deployment = Deployment::new();
    let server = [
        SERVER,
        OPENID,
        // Codex asks at the MCP endpoint, without reading the resource metadata.
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration/mcp",
        "/mcp/.well-known/oauth-authorization-server",
        "/mcp/.well-known/openid-configuration",
    ];
    assert_eq!(same(&deployment, &server).await["issuer"], "https://proxy.example");
    let resource = [
        RESOURCE,
        "/.well-known/oauth-protected-resource/mcp",
        "/mcp/.well-known/oauth-protected-resource",
    ];
    assert_eq!(same(&deployment, &resource).await["resource"], "https://proxy.example/mcp");
}

#[tokio::test]
async fn every_address_with_a_path_has_the_same_body() {
    let deployment = Deployment::at("https://proxy.example/team/a", |builder| builder);
    let server = [
        "/.well-known/oauth-authorization-server/team/a",
        "/.well-known/openid-configuration/team/a",
        "/team/a/.well-known/openid-configuration",
        "/team/a/.well-known/openid-configuration/team/a",
        "/team/a/.well-known/oauth-authorization-server",
        SERVER,
        OPENID,
        "/.well-known/oauth-authorization-server/team/a/mcp",
        "/.well-known/openid-configuration/team/a/mcp",
        "/team/a/mcp/.well-known/oauth-authorization-server",
        "/team/a/mcp/.well-known/openid-configuration",
    ];
    assert_eq!(same(&deployment, &server).await["issuer"], "https://proxy.example/team/a");
    let resource = [
        "/.well-known/oauth-protected-resource/team/a/mcp",
        "/team/a/mcp/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/team/a",
        "/team/a/.well-known/oauth-protected-resource",
        RESOURCE,
    ];
    let document = same(&deployment, &resource).await;
    assert_eq!(document["resource"], "https://proxy.example/team/a/mcp");
    assert_eq!(document["authorization_servers"], json!(["https://proxy.example/team/a"]));
}

#[tokio::test]
async fn the_base_url_itself_can_be_the_resource() {
    for base in ["https://proxy.example", "https://proxy.example/team/a"] {
        let deployment = Deployment::at(base, |builder| builder.resource("/"));
        let path = base.strip_prefix("https://proxy.example").unwrap();
        let addresses = [format!("{RESOURCE}{path}"), format!("{path}{RESOURCE}")];
        let document = same(&deployment, &addresses.each_ref().map(String::as_str)).await;
        assert_eq!(document["resource"], base);
    }
}

#[tokio::test]
async fn the_challenge_leads_to_the_document_of_its_resource() {
    for base in ["https://proxy.example", "https://proxy.example/team/a"] {
        let deployment = Deployment::at(base, |builder| builder);
        let resource = deployment.proxy.resource().to_owned();
        let refused = deployment.get(&resource).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let challenge = refused.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
        let (_, url) = challenge.split_once("resource_metadata=\"").unwrap();
        let (url, _) = url.split_once('"').unwrap();
        assert_eq!(json_at(&deployment, url).await["resource"], resource);
    }
}

#[tokio::test]
async fn each_resource_has_its_own_document_and_the_first_is_the_default() {
    let deployment = Deployment::with(|builder| builder.resource("/one").resource("/two"));
    for (resource, addresses) in [
        (
            "https://proxy.example/one",
            &[
                "/.well-known/oauth-protected-resource/one",
                "/one/.well-known/oauth-protected-resource",
                RESOURCE,
            ][..],
        ),
        (
            "https://proxy.example/two",
            &[
                "/.well-known/oauth-protected-resource/two",
                "/two/.well-known/oauth-protected-resource",
            ],
        ),
    ] {
        assert_eq!(same(&deployment, addresses).await["resource"], resource);
    }
}

#[tokio::test]
async fn an_unknown_document_is_a_json_404() {
    let deployment = Deployment::at("https://proxy.example/team/a", |builder| builder);
    for path in [
        "/.well-known/nothing",
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-authorization-server/other",
        "/.well-known/openid-configuration/mcp/x",
        "/.well-known/OAuth-Authorization-Server",
        "/team/a/.well-known/nothing",
        "/team/a/mcp/.well-known/nothing",
    ] {
        let answer = deployment.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json", "{path}");
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
        assert_eq!(answer.json()["error"], "not_found", "{path}");
    }
}

#[tokio::test]
async fn a_head_request_is_answered_as_a_get() {
    let request = Request::head(SERVER).body(Body::empty()).unwrap();
    let answer = Deployment::new().send(request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(answer.body, "");
}

#[tokio::test]
async fn the_host_of_a_request_names_nothing() {
    let request = Request::get(SERVER)
        .header(header::HOST, "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "http")
        .header("forwarded", "host=evil.example;proto=http")
        .body(Body::empty())
        .unwrap();
    let deployment = Deployment::new();
    let answer = deployment.send(request).await;
    assert_eq!(answer.body, document(&deployment, SERVER).await);
}

async fn preflight(deployment: &Deployment, path: &str, method: &str) -> Answer {
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri(path)
        .header(header::ORIGIN, "https://inspector.example")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, method)
        .header(
            header::ACCESS_CONTROL_REQUEST_HEADERS,
            "authorization,content-type,mcp-protocol-version",
        )
        .body(Body::empty())
        .unwrap();
    deployment.send(request).await
}

#[tokio::test]
async fn a_web_page_may_send_what_mcp_clients_send() {
    let deployment = Deployment::new();
    for (path, method) in [
        (SERVER, "GET"),
        (OPENID, "GET"),
        ("/.well-known/oauth-protected-resource/mcp", "GET"),
        ("/register", "POST"),
        ("/token", "POST"),
        ("/revoke", "POST"),
        // The preflight carries no token; the guard must not see it.
        ("/mcp", "POST"),
        ("/mcp", "DELETE"),
    ] {
        let answer = preflight(&deployment, path, method).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "{path}");
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "{path}");
        let list = |name| answer.headers[name].to_str().unwrap().to_ascii_lowercase();
        let headers = list(header::ACCESS_CONTROL_ALLOW_HEADERS);
        for name in ["authorization", "content-type", "mcp-protocol-version"] {
            assert!(headers.contains(name), "{path}: {headers}");
        }
        let methods = list(header::ACCESS_CONTROL_ALLOW_METHODS);
        assert!(methods.contains(&method.to_ascii_lowercase()), "{path}: {methods}");
    }
}

#[tokio::test]
async fn no_web_page_may_read_what_people_see() {
    let deployment = Deployment::new();
    for path in ["/authorize", "/consent", "/auth/callback"] {
        let answer = preflight(&deployment, path, "POST").await;
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
        let answer = deployment.get(path).await;
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{path}");
    }
}

#[tokio::test]
async fn a_web_page_may_read_the_challenge() {
    let answer = Deployment::new().get("/mcp").await;
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let exposed = answer.headers[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
    for name in ["www-authenticate", "mcp-session-id", "retry-after"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}
