//! From a bare 401 to a registered client.

use end_to_end::{
    client::{Client, REDIRECT_URI, parameter},
    process::{Demo, Launch},
};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{get, has_null, send};
use crate::logged_in;

#[tokio::test]
async fn without_a_token_the_challenge_says_where_to_get_one() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", demo.issuer());
    // A scheme that is not ours is no token.
    let basic = [("authorization", "Basic dXNlcjpwYXNz")];
    for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
        for headers in [&[][..], &basic] {
            let answer = send(method.clone(), &demo.mcp_endpoint, headers).await?;
            let challenge = answer.header(header::WWW_AUTHENTICATE);
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method}");
            assert!(challenge.starts_with("Bearer "), "{method}: {challenge}");
            let found = parameter(challenge, "resource_metadata");
            assert_eq!(found, Some(metadata.as_str()), "{method}");
            assert_eq!(parameter(challenge, "scope"), Some("openid"), "{method}: {challenge}");
            // RFC 6750 §3.1: nothing is wrong with a token that was not sent.
            assert!(!challenge.contains("error"), "{method}: {challenge}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_token_is_named_so() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let mut tampered = tokens.access.clone();
    tampered.replace_range(tampered.len() - 4.., "AAAA");
    for bad in ["nonsense", tampered.as_str(), &tokens.refresh] {
        let answer = client.call(bad, "echo", json!({"text": "x"})).await?;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{bad}");
        let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str()?;
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        assert_eq!(parameter(challenge, "error"), Some("invalid_token"), "{challenge}");
        assert!(parameter(challenge, "resource_metadata").is_some(), "{challenge}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_counts_in_its_header_only() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (_, tokens) = logged_in(&demo).await?;
    let in_query = format!("{}?access_token={}", demo.mcp_endpoint, tokens.access);
    assert_eq!(get(&in_query).await?.status, StatusCode::UNAUTHORIZED);
    let bearer = format!("Bearer {}", tokens.access);
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(
        send(Method::GET, &demo.mcp_endpoint, &twice).await?.status,
        StatusCode::BAD_REQUEST
    );
    // Scheme names have no case (RFC 9110 §11.1).
    let lower = format!("bearer {}", tokens.access);
    let answer =
        send(Method::GET, &demo.mcp_endpoint, &[("authorization", lower.as_str())]).await?;
    assert_ne!(answer.status, StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn protected_resource_metadata_is_at_every_variant() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let issuer = demo.issuer();
    let mut bodies = Vec::new();
    for url in [
        format!("{issuer}/.well-known/oauth-protected-resource/mcp"),
        format!("{issuer}/.well-known/oauth-protected-resource"),
        format!("{issuer}/mcp/.well-known/oauth-protected-resource"),
    ] {
        let answer = document(&url).await?;
        assert_eq!(answer["resource"], Value::from(demo.mcp_endpoint.as_str()), "{url}");
        assert_eq!(answer["authorization_servers"], json!([issuer]), "{url}");
        assert_eq!(answer["bearer_methods_supported"], json!(["header"]), "{url}");
        assert_eq!(answer["scopes_supported"], json!(["openid"]), "{url}");
        bodies.push(answer);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    Ok(())
}

#[tokio::test]
async fn server_metadata_is_at_every_variant() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let issuer = demo.issuer();
    let mut bodies = Vec::new();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration/mcp",
        "/mcp/.well-known/openid-configuration",
        "/mcp/.well-known/oauth-authorization-server",
    ] {
        bodies.push(document(&format!("{issuer}{path}")).await?);
    }
    let metadata = bodies[0].clone();
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");

    assert_eq!(metadata["issuer"], Value::from(issuer));
    for (member, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
        ("revocation_endpoint", "/revoke"),
        ("jwks_uri", "/.well-known/jwks.json"),
    ] {
        assert_eq!(metadata[member], Value::from(format!("{issuer}{path}")));
    }
    assert_eq!(metadata["response_types_supported"], json!(["code"]));
    assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(metadata["authorization_response_iss_parameter_supported"], json!(true));
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token"]));
    let methods = metadata["token_endpoint_auth_methods_supported"].to_string();
    assert!(methods.contains("\"none\""), "{methods}");
    // The OpenID form requires these; the TypeScript client parses them strictly.
    assert_eq!(metadata["subject_types_supported"], json!(["public"]));
    assert!(metadata["id_token_signing_alg_values_supported"].is_array());
    assert_eq!(metadata["client_id_metadata_document_supported"], json!(true));

    let keys = document(&format!("{issuer}/.well-known/jwks.json")).await?;
    assert_eq!(keys, json!({"keys": []}));
    Ok(())
}

#[tokio::test]
async fn an_unknown_document_is_a_404_without_html() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    for path in ["/.well-known/something-else", "/.well-known/oauth-protected-resource/other"] {
        let answer = get(&format!("{}{path}", demo.issuer())).await?;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.text.contains("<html"), "{path}: {}", answer.text);
    }
    Ok(())
}

/// A metadata document, as every client can read it.
async fn document(url: &str) -> anyhow::Result<Value> {
    let headers = [("origin", "https://inspector.example"), ("mcp-protocol-version", "2025-11-25")];
    let answer = send(Method::GET, url, &headers).await?;
    assert_eq!(answer.status, StatusCode::OK, "{url}");
    assert!(answer.header(header::CONTENT_TYPE).starts_with("application/json"), "{url}");
    assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*", "{url}");
    assert!(!has_null(&answer.json), "{url}: {}", answer.text);
    Ok(answer.json)
}

#[tokio::test]
async fn a_registration_answers_as_rfc_7591_says() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let answer = client
        .register_with(&json!({
            "client_name": "Test <client>",
            "redirect_uris": [REDIRECT_URI, "http://localhost/callback"],
            "grant_types": ["authorization_code", "refresh_token", "a-grant-type-of-others"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "software_id": "unknown members are tolerated",
            "unknown": {"nested": []},
        }))
        .await?;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert!(answer.header(header::CACHE_CONTROL).contains("no-store"));
    assert!(!has_null(&answer.json), "{}", answer.text);
    let json = &answer.json;
    assert!(json["client_id"].is_string());
    assert!(json["client_id_issued_at"].is_u64());
    assert_eq!(json["client_name"], "Test <client>");
    assert_eq!(json["redirect_uris"], json!([REDIRECT_URI, "http://localhost/callback"]));
    assert_eq!(json["token_endpoint_auth_method"], "none");
    assert_eq!(json["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(json["response_types"], json!(["code"]));
    assert!(json.get("client_secret").is_none(), "a public client has no secret");
    Ok(())
}

#[tokio::test]
async fn a_confidential_client_gets_a_secret_and_must_use_it() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut client = Client::register(&demo.mcp_endpoint).await?;
    for method in ["client_secret_basic", "client_secret_post"] {
        let body = json!({"redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": method});
        let answer = client.register_with(&body).await?;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert!(answer.json["client_secret"].is_string());
        assert!(answer.json["client_secret_expires_at"].is_u64(), "{}", answer.text);
        client.registration = answer.json;
        let mut browser = end_to_end::browser::Browser::new()?;
        let authorized = client.authorize(&mut browser, &crate::alice(&demo)).await?;
        let refused = client.redeem(&authorized, &[]).await?;
        assert_eq!(
            (refused.status, refused.error()),
            (StatusCode::UNAUTHORIZED, "invalid_client"),
            "{method}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn bad_redirect_uris_are_refused_one_by_one() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    for bad in [
        "javascript:alert(1)",
        "http://evil.example/cb",
        "https://x.example/cb#f",
        "data:text/html,x",
        "cb",
    ] {
        let answer = client.register_with(&json!({"redirect_uris": [bad]})).await?;
        assert_eq!(
            (answer.status, answer.error()),
            (StatusCode::BAD_REQUEST, "invalid_redirect_uri"),
            "{bad}"
        );
        // One bad among good does not fail the client.
        let answer = client.register_with(&json!({"redirect_uris": [bad, REDIRECT_URI]})).await?;
        assert_eq!(answer.status, StatusCode::CREATED, "{bad}: {}", answer.text);
        assert_eq!(answer.json["redirect_uris"], json!([REDIRECT_URI]), "{bad}");
    }
    let answer = client.register_with(&json!({"redirect_uris": []})).await?;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = client.register_with(&json!("nonsense")).await?;
    assert_eq!(
        (answer.status, answer.error()),
        (StatusCode::BAD_REQUEST, "invalid_client_metadata")
    );
    Ok(())
}

#[tokio::test]
async fn browsers_may_ask_from_any_origin() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let issuer = demo.issuer();
    let preflight = |method: &'static str, headers: &'static str| {
        [
            ("origin", "https://inspector.example"),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ]
    };
    for (url, method, headers) in [
        (format!("{issuer}/token"), "POST", "content-type,authorization,mcp-protocol-version"),
        (format!("{issuer}/register"), "POST", "content-type,mcp-protocol-version"),
        (format!("{issuer}/revoke"), "POST", "content-type"),
        (format!("{issuer}/.well-known/oauth-authorization-server"), "GET", "mcp-protocol-version"),
        (
            format!("{issuer}/.well-known/oauth-protected-resource/mcp"),
            "GET",
            "mcp-protocol-version",
        ),
        (
            demo.mcp_endpoint.clone(),
            "POST",
            "authorization,content-type,mcp-protocol-version,mcp-method,mcp-name,last-event-id",
        ),
        (demo.mcp_endpoint.clone(), "DELETE", "authorization,mcp-session-id"),
    ] {
        let answer = send(Method::OPTIONS, &url, &preflight(method, headers)).await?;
        assert!(answer.status.is_success(), "{url}: {}", answer.status);
        assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*", "{url}");
        assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "", "{url}");
        let methods = answer.header(header::ACCESS_CONTROL_ALLOW_METHODS).to_uppercase();
        assert!(methods == "*" || methods.contains(method), "{url}: {methods}");
        let allowed = answer.header(header::ACCESS_CONTROL_ALLOW_HEADERS).to_lowercase();
        for name in headers.split(',') {
            // A star does not cover Authorization (Fetch §3.3.2).
            let starred = allowed == "*" && name != "authorization";
            assert!(
                starred || allowed.split(',').any(|found| found.trim() == name),
                "{url}: {name} in {allowed}"
            );
        }
    }
    exposes_the_challenge(&demo).await
}

/// A page can read the challenge of a refusal.
async fn exposes_the_challenge(demo: &Demo) -> anyhow::Result<()> {
    let origin = [("origin", "https://inspector.example")];
    let refusal = send(Method::GET, &demo.mcp_endpoint, &origin).await?;
    assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refusal.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    let exposed = refusal.header(header::ACCESS_CONTROL_EXPOSE_HEADERS).to_lowercase();
    for name in ["www-authenticate", "mcp-session-id"] {
        assert!(exposed.contains(name), "{exposed}");
    }
    Ok(())
}
