use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_issuer::{KeyRing, MasterKey, SigningAlgorithm};
use serde_json::{Value, json};

use super::*;

fn assertions(algorithm: SigningAlgorithm) -> AssertionIssuer {
    let keys = KeyRing::new(MasterKey::generate());
    AssertionIssuer::new(&keys, algorithm, "https://mcp.example", "http://backend/mcp")
}

fn told(claims: &Value) -> Vec<String> {
    let claims = claims.as_object().unwrap().clone();
    let principal =
        Principal::builder("auth0|1, admin").issuer("https://idp.example").claims(claims);
    let mut extensions = Extensions::new();
    extensions.insert(principal.build());
    let teller = Ways::headers().teller(assertions(SigningAlgorithm::Hs256));
    let headers = teller(&extensions).headers;
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn the_backend_is_told_who_asks() {
    let claims = json!({
        "email": "alice@example.com", "email_verified": true, "groups": ["staff", "a,b", 7],
        "preferred_username": "Zoë\r\nx-forwarded-groups: admins", "name": "Alice",
    });
    assert_eq!(
        told(&claims),
        [
            "x-forwarded-user: auth0|1%2C%20admin",
            "x-forwarded-user-issuer: https://idp.example",
            "x-forwarded-email: alice@example.com",
            "x-forwarded-preferred-username: \
             Zo%C3%AB%0D%0Ax-forwarded-groups:%20admins",
            "x-forwarded-groups: staff,a%2Cb",
        ]
    );
}

#[test]
fn an_email_that_nobody_vouches_for_is_not_told() {
    for claims in [
        json!({"email": "alice@example.com"}),
        json!({"email": "alice@example.com", "email_verified": false}),
        json!({"email": ["alice@example.com"], "email_verified": true}),
    ] {
        assert_eq!(told(&claims).len(), 2, "{claims}");
    }
}

#[test]
fn without_a_principal_nothing_is_told() {
    let ways =
        Ways { headers: true, assertion: Some(Duration::from_mins(1)), provider_token: true };
    let teller = ways.teller(assertions(SigningAlgorithm::Hs256));
    assert_eq!(teller(&Extensions::new()), Identity::new());
}

#[test]
fn the_assertion_says_the_same_and_ends_with_the_token() {
    let claims = json!({
        "email": "alice@example.com", "email_verified": true, "groups": ["staff", 7],
        "preferred_username": "Zoë", "name": "Alice",
    });
    let principal = Principal::builder("auth0|1, admin")
        .issuer("https://idp.example")
        .client_id("the-client")
        .scopes(["openid", "tools"])
        .claims(claims.as_object().unwrap().clone())
        .expires_at(1_030)
        .build();
    let said = |principal: &Principal, lifetime| {
        let issuer = assertions(SigningAlgorithm::EdDsa);
        let value = assertion(principal, &issuer, Duration::from_secs(lifetime), 1_000).unwrap();
        assert!(value.is_sensitive());
        let payload = value.to_str().unwrap().split('.').nth(1).unwrap();
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
        serde_json::from_slice::<Value>(&payload).unwrap()
    };
    let mut first = said(&principal, 60);
    assert!(first["jti"].take().is_string());
    assert_eq!(
        first,
        json!({
            "iss": "https://mcp.example", "aud": "http://backend/mcp", "sub": "auth0|1, admin",
            "provider": "https://idp.example", "client_id": "the-client", "scope": "openid tools",
            "email": "alice@example.com", "groups": ["staff"], "preferred_username": "Zoë",
            "iat": 1_000, "exp": 1_030, "jti": null,
        })
    );
    assert_eq!(said(&principal, 20)["exp"], 1_020);
    let nobody = Principal::builder("bob")
        .claims(json!({"email": "bob@example.com"}).as_object().unwrap().clone())
        .build();
    let said = said(&nobody, 60);
    assert_eq!(
        (&said["exp"], &said["email"], &said["groups"]),
        (&json!(1_060), &Value::Null, &Value::Null)
    );
}

#[test]
fn ways_are_combined() {
    let mut extensions = Extensions::new();
    extensions.insert(Principal::builder("alice").build());
    extensions.insert(ProviderToken(sensitive(HeaderValue::from_static("Bearer secret"))));
    let ways =
        Ways { headers: true, assertion: Some(Duration::from_mins(1)), provider_token: true };
    let identity = ways.teller(assertions(SigningAlgorithm::Hs256))(&extensions);
    let names: Vec<_> = identity.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-forwarded-user", "x-forwarded-assertion", "authorization"]);
    assert!(!format!("{extensions:?} {:?}", identity.headers).contains("secret"));
}
