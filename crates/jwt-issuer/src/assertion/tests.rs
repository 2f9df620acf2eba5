use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::Jwk};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::{JwtIssuer, TokenError};

const ISSUER: &str = "https://mcp.example.com";
const BACKEND: &str = "http://127.0.0.1:9000/mcp";
const NOW: u64 = 1_000;

fn master() -> MasterKey {
    MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap()
}

fn ring() -> KeyRing {
    KeyRing::new(master()).with_older(MasterKey::generate())
}

fn claims() -> AssertionClaims {
    AssertionClaims {
        sub: "auth0|1".into(),
        provider: Some("https://idp.example.com".into()),
        client_id: Some("client".into()),
        scope: "openid email".into(),
        email: Some("alice@example.com".into()),
        groups: Some(vec!["staff".into(), "a,b".into()]),
        preferred_username: Some("Zoë".into()),
        exp: u64::MAX,
    }
}

fn opened(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Value> {
    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.set_audience(&[BACKEND]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["iss", "aud", "exp"]);
    decode::<Value>(token, key, &validation).ok().map(|token| token.claims)
}

fn shared(audience: &str) -> DecodingKey {
    let (kid, key) = AssertionIssuer::shared_keys(&ring(), ISSUER, audience).swap_remove(0);
    assert_eq!(kid, *master().id());
    DecodingKey::from_secret(key.expose_secret().as_bytes())
}

#[test]
fn it_says_who_asks_and_nothing_more() {
    let issuer = AssertionIssuer::new(&ring(), SigningAlgorithm::Hs256, ISSUER, BACKEND);
    let token = issuer.sign(&claims(), NOW).unwrap();
    let mut said = opened(&token, &shared(BACKEND), Algorithm::HS256).unwrap();
    let jti = said["jti"].take();
    assert_eq!(jti.as_str().unwrap().len(), 22);
    assert_eq!(
        said,
        json!({
            "iss": ISSUER, "aud": BACKEND, "iat": NOW, "exp": NOW + 60, "jti": null,
            "sub": "auth0|1", "provider": "https://idp.example.com", "client_id": "client",
            "scope": "openid email", "email": "alice@example.com", "groups": ["staff", "a,b"],
            "preferred_username": "Zoë",
        })
    );
    let again = issuer.sign(&claims(), NOW).unwrap();
    assert_ne!(opened(&again, &shared(BACKEND), Algorithm::HS256).unwrap()["jti"], jti);
    let least = AssertionClaims { sub: "x".into(), exp: NOW + 3, ..AssertionClaims::default() };
    let token = issuer.sign(&least, NOW).unwrap();
    let said = opened(&token, &shared(BACKEND), Algorithm::HS256).unwrap();
    assert_eq!(said["exp"], NOW + 3);
    assert_eq!(said.as_object().unwrap().len(), 7, "{said}");
}

#[test]
fn the_shared_key_is_pinned() {
    // Computed by an independent program.
    let keys = AssertionIssuer::shared_keys(&ring(), ISSUER, BACKEND);
    let keys: Vec<_> = keys.iter().map(|(_, key)| key.expose_secret().to_owned()).collect();
    assert_eq!(keys[0], "Hy4HJsOS8SzliXpvuUwHDkwhpHQEYNGj1SsfLKb-fYw");
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn another_backend_has_another_key() {
    let issuer = AssertionIssuer::new(&ring(), SigningAlgorithm::Hs256, ISSUER, BACKEND);
    let token = issuer.sign(&claims(), NOW).unwrap();
    assert_eq!(opened(&token, &shared("http://127.0.0.1:9001/mcp"), Algorithm::HS256), None);
}

#[test]
fn public_keys_verify() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let token =
            AssertionIssuer::new(&ring(), algorithm, ISSUER, BACKEND).sign(&claims(), NOW).unwrap();
        let kid = decode_header(&token).unwrap().kid.unwrap();
        let set = KeyRing::new(master()).public_keys(algorithm, ISSUER);
        let keys = set["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["kid"] == kid.as_str()).unwrap();
        let key: Jwk = serde_json::from_value(key.clone()).unwrap();
        let key = DecodingKey::from_jwk(&key).unwrap();
        assert!(opened(&token, &key, algorithm.to_jwa()).is_some(), "{algorithm}");
    }
}

#[test]
fn an_assertion_is_no_access_token() {
    for algorithm in SigningAlgorithm::ALL {
        let token =
            AssertionIssuer::new(&ring(), algorithm, ISSUER, ISSUER).sign(&claims(), NOW).unwrap();
        let access = JwtIssuer::with_algorithm(&ring(), ISSUER, algorithm);
        assert_eq!(access.verify(&token, NOW), Err(TokenError::Type), "{algorithm}");
    }
}

#[test]
fn debug_shows_no_key() {
    let issuer = AssertionIssuer::new(&ring(), SigningAlgorithm::Hs256, ISSUER, BACKEND);
    assert_eq!(
        format!("{issuer:?}"),
        "AssertionIssuer { issuer: \"https://mcp.example.com\", \
         audience: \"http://127.0.0.1:9000/mcp\", key: \"wbzjYAbTlTqj\", .. }"
    );
}
