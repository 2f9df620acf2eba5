//! Small documents made from what real providers send.

use serde_json::json;

use super::*;

/// The document of a plain provider, with changes; `Value::Null` stays `null`.
fn document(changes: &Value) -> String {
    let mut document = json!({
        "issuer": "https://op.example",
        "authorization_endpoint": "https://op.example/authorize",
        "token_endpoint": "https://op.example/token",
        "jwks_uri": "https://op.example/jwks",
    });
    let members = document.as_object_mut().expect("an object");
    members.extend(changes.as_object().expect("an object").clone());
    document.to_string()
}

fn read(changes: &Value) -> Result<ProviderMetadata, String> {
    ProviderMetadata::from_json(&document(changes))
}

#[test]
fn a_plain_document_is_read() {
    let metadata = read(&json!({
        "userinfo_endpoint": "https://op.example/userinfo",
        "revocation_endpoint": "https://op.example/revoke",
        "introspection_endpoint": "https://op.example/introspect",
        "end_session_endpoint": "https://op.example/logout",
        "scopes_supported": ["openid", "email"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "id_token_signing_alg_values_supported": ["HS256", "RS256"],
        "grant_types_supported": ["authorization_code"],
        "claims_supported": ["sub"],
        "authorization_response_iss_parameter_supported": true,
    }))
    .expect("a good document");
    assert_eq!(metadata.issuer, "https://op.example");
    assert_eq!(metadata.authorization_endpoint, "https://op.example/authorize");
    assert_eq!(metadata.token_endpoint, "https://op.example/token");
    assert_eq!(metadata.jwks_uri, "https://op.example/jwks");
    assert_eq!(metadata.userinfo_endpoint.as_deref(), Some("https://op.example/userinfo"));
    assert_eq!(metadata.revocation_endpoint.as_deref(), Some("https://op.example/revoke"));
    assert_eq!(metadata.introspection_endpoint.as_deref(), Some("https://op.example/introspect"));
    assert_eq!(metadata.end_session_endpoint.as_deref(), Some("https://op.example/logout"));
    assert_eq!(metadata.scopes_supported, ["openid", "email"]);
    assert_eq!(metadata.token_endpoint_auth_methods_supported, ["client_secret_post"]);
    assert_eq!(metadata.code_challenge_methods_supported, ["plain", "S256"]);
    assert_eq!(metadata.id_token_signing_alg_values_supported, ["HS256", "RS256"]);
    assert_eq!(metadata.grant_types_supported, ["authorization_code"]);
    assert_eq!(metadata.claims_supported, ["sub"]);
    assert!(metadata.authorization_response_iss_parameter_supported);
}

#[test]
fn absent_members_are_empty() {
    let metadata = read(&json!({})).expect("a good document");
    assert_eq!(metadata.userinfo_endpoint, None);
    assert_eq!(metadata.revocation_endpoint, None);
    assert!(metadata.scopes_supported.is_empty());
    assert!(metadata.code_challenge_methods_supported.is_empty());
    assert!(!metadata.authorization_response_iss_parameter_supported);
}

#[test]
fn odd_members_do_no_harm() {
    // Entra has a null, Keycloak an object, Ping numbers among its members; some write lists as
    // one string and booleans as strings.
    let metadata = read(&json!({
        "tenant_region_scope": null,
        "userinfo_endpoint": null,
        "end_session_endpoint": "",
        "revocation_endpoint": 7,
        "scopes_supported": "openid email",
        "claims_supported": ["sub", null, 3, {"name": "email"}],
        "code_challenge_methods_supported": null,
        "grant_types_supported": {},
        "authorization_response_iss_parameter_supported": "true",
        "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.op.example/token"},
        "backchannel_logout_supported": 1,
    }))
    .expect("a good document");
    assert_eq!(metadata.userinfo_endpoint, None);
    assert_eq!(metadata.end_session_endpoint, None);
    assert_eq!(metadata.revocation_endpoint, None);
    assert_eq!(metadata.scopes_supported, ["openid", "email"]);
    assert_eq!(metadata.claims_supported, ["sub"]);
    assert!(metadata.code_challenge_methods_supported.is_empty());
    assert!(metadata.grant_types_supported.is_empty());
    assert!(metadata.authorization_response_iss_parameter_supported);
    assert!(metadata.document.contains_key("mtls_endpoint_aliases"));
    assert!(!metadata.document.contains_key("tenant_region_scope"));
}

#[test]
fn strings_are_kept_byte_for_byte() {
    for issuer in [
        "https://OP.Example.COM/adfs",
        "https://op.example:443/",
        "https://login.example/{tenantid}/v2.0",
    ] {
        let metadata = read(&json!({"issuer": issuer})).expect(issuer);
        assert_eq!(metadata.issuer, issuer);
    }
}

#[test]
fn nothing_works_without_four_members() {
    for name in ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"] {
        for value in [Value::Null, json!(""), json!(["x"])] {
            let error = read(&json!({ name: value })).expect_err(name);
            assert!(error.contains(name), "{error}");
        }
    }
}

#[test]
fn endpoints_are_https_or_on_this_machine() {
    for name in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
        for good in ["https://other.example/x", "http://localhost:9000/x", "http://127.0.0.1/x"] {
            assert!(read(&json!({ name: good })).is_ok(), "{name} {good}");
        }
        for bad in ["http://op.example/x", "/token", "javascript:alert(1)", "file:///etc/passwd"] {
            let error = read(&json!({ name: bad })).expect_err(bad);
            assert!(error.contains(name) && error.contains(bad), "{error}");
        }
    }
    let plain = document(&json!({"token_endpoint": "http://idp:8080/token"}));
    assert!(ProviderMetadata::read(&plain, true).is_ok());
    let script = document(&json!({"token_endpoint": "javascript:alert(1)"}));
    assert!(ProviderMetadata::read(&script, true).is_err());
}

#[test]
fn what_is_no_object_is_refused() {
    for text in ["", "<html>", "null", "[]", "\"x\""] {
        assert!(ProviderMetadata::from_json(text).is_err(), "{text}");
    }
}
