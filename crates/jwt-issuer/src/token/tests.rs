use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use super::*;
use crate::{MasterKey, key::Usage};

const ISSUER: &str = "https://mcp.example.com";
const NOW: u64 = 1_200;

/// What [`claims`] are under [`ring`], computed by an independent program.
const PINNED: &str = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJIUzI1NiIsImtpZCI6IndiempZQWJUbFRxaiJ9.\
    eyJpc3MiOiJodHRwczovL21jcC5leGFtcGxlLmNvbSIsInN1YiI6InVzZXIiLCJhdWQiOiJodHRwczovL21jcC5leGFt\
    cGxlLmNvbS9tY3AiLCJleHAiOjE2MDAsImlhdCI6MTAwMCwianRpIjoiajEiLCJjbGllbnRfaWQiOiJjbGllbnQiLCJz\
    Y29wZSI6Im9wZW5pZCBlbWFpbCIsImdpZCI6ImcxIn0.U2nBZKDOde0dlwz9NHM7hMiJfJTBGlOc0O47nchKlfU";

fn master() -> MasterKey {
    MasterKey::new(&(0..32).collect::<Vec<u8>>()).unwrap()
}

fn issuer() -> JwtIssuer {
    JwtIssuer::new(&KeyRing::new(master()), ISSUER)
}

fn claims() -> AccessClaims {
    AccessClaims {
        sub: "user".into(),
        aud: "https://mcp.example.com/mcp".into(),
        exp: 1_600,
        iat: 1_000,
        jti: "j1".into(),
        client_id: "client".into(),
        scope: "openid email".into(),
        grant: "g1".into(),
    }
}

fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "HS256", "kid": master().id().as_str()})
}

fn wire() -> Value {
    json!({
        "iss": ISSUER, "sub": "user", "aud": "https://mcp.example.com/mcp", "exp": 1_600,
        "iat": 1_000, "jti": "j1", "client_id": "client", "scope": "openid email", "gid": "g1",
    })
}

/// Any header and claims with a good HS256 signature under our own key, whatever they say.
fn forge(header: &Value, claims: &Value) -> String {
    forge_under(&master().derive(Usage::AccessToken, "HS256", ISSUER)[..], header, claims)
}

fn forge_under(key: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(key);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// `value` with `member` replaced, or removed if `with` is null.
fn changed(mut value: Value, member: &str, with: Value) -> Value {
    let members = value.as_object_mut().unwrap();
    match with {
        Value::Null => members.remove(member),
        with => members.insert(member.into(), with),
    };
    value
}

#[test]
fn the_token_is_pinned() {
    assert_eq!(issuer().sign(&claims()).unwrap(), PINNED);
    assert_eq!(issuer().verify(PINNED, NOW), Ok(claims()));
    assert_eq!(issuer().verify(&forge(&header(), &wire()), NOW), Ok(claims()));
}

#[test]
fn hs256_is_rfc_7515() {
    // Appendix A.1, line breaks inside the JSON included.
    let key = URL_SAFE_NO_PAD
        .decode(
            "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        )
        .unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let validation = signature_only(SigningAlgorithm::Hs256);
    let decoded = decode::<Value>(token, &DecodingKey::from_secret(&key), &validation);
    assert_eq!(decoded.unwrap().claims["iss"], "joe");
    // It is a JWT, but not an access token of ours.
    assert_eq!(issuer().verify(token, NOW), Err(TokenError::Type));
}

#[test]
fn expiry_is_exact() {
    assert!(issuer().verify(PINNED, 1_599).is_ok());
    assert_eq!(issuer().verify(PINNED, 1_600), Err(TokenError::Expired));
    assert_eq!(issuer().verify(PINNED, u64::MAX), Err(TokenError::Expired));
}

#[test]
fn issue_time_may_be_ahead_by_the_skew_only() {
    assert!(issuer().verify(PINNED, 1_000 - MAX_CLOCK_SKEW).is_ok());
    assert_eq!(issuer().verify(PINNED, 999 - MAX_CLOCK_SKEW), Err(TokenError::NotYetValid));
}

#[test]
fn a_token_that_ends_before_it_begins_is_refused() {
    let token = forge(&header(), &changed(wire(), "iat", json!(1_601)));
    assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Claims));
}

#[test]
fn every_claim_is_required() {
    for member in wire().as_object().unwrap().keys() {
        let token = forge(&header(), &changed(wire(), member, Value::Null));
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Claims), "{member}");
    }
}

#[test]
fn claims_have_one_type() {
    for (member, value) in [
        ("iss", json!([ISSUER])),
        ("aud", json!(["https://mcp.example.com/mcp"])),
        ("sub", json!(1)),
        ("exp", json!("1600")),
        ("exp", json!(1600.5)),
        ("exp", json!(-1)),
        ("iat", json!(1e30)),
        ("gid", json!({})),
    ] {
        let token = forge(&header(), &changed(wire(), member, value.clone()));
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Claims), "{member} {value}");
    }
}

#[test]
fn the_key_decides_the_algorithm() {
    for alg in ["HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA"] {
        let token = forge(&changed(header(), "alg", json!(alg)), &wire());
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Algorithm), "{alg}");
    }
    for alg in [json!("none"), json!("None"), json!("hs256"), json!(""), Value::Null] {
        let token = forge(&changed(header(), "alg", alg.clone()), &wire());
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Malformed), "{alg}");
        let unsigned = &token[..=token.rfind('.').unwrap()];
        assert_eq!(issuer().verify(unsigned, NOW), Err(TokenError::Malformed), "{alg}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The oldest trick: signed with HMAC, under the published key of an asymmetric one.
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let ring = KeyRing::new(master());
        let issuer = JwtIssuer::with_algorithm(&ring, ISSUER, algorithm);
        let public = &ring.public_keys(algorithm, ISSUER)["keys"][0];
        let header = changed(header(), "kid", public["kid"].clone());
        let x = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
        for secret in [x, public.to_string().into_bytes()] {
            let token = forge_under(&secret, &header, &wire());
            assert_eq!(issuer.verify(&token, NOW), Err(TokenError::Algorithm), "{algorithm}");
        }
    }
}

#[test]
fn every_algorithm_signs_and_all_are_understood() {
    let ring = KeyRing::new(MasterKey::generate()).with_older(master());
    for algorithm in SigningAlgorithm::ALL {
        let old = JwtIssuer::with_algorithm(&KeyRing::new(master()), ISSUER, algorithm);
        let token = old.sign(&claims()).unwrap();
        assert_eq!(decode_header(&token).unwrap().alg, algorithm.to_jwa());
        for other in SigningAlgorithm::ALL {
            let replica = JwtIssuer::with_algorithm(&ring, ISSUER, other);
            assert_eq!(replica.verify(&token, NOW), Ok(claims()), "{algorithm} at {other}");
            assert_eq!(replica.verify(&token, 1_600), Err(TokenError::Expired));
        }
        let (content, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let altered = format!("{content}.{}", URL_SAFE_NO_PAD.encode(&bytes));
            assert_eq!(old.verify(&altered, NOW), Err(TokenError::Signature), "{algorithm} {at}");
            bytes[at] ^= 1;
        }
        let elsewhere = JwtIssuer::new(&ring, "https://other.example.com");
        assert!(elsewhere.verify(&token, NOW).is_err(), "{algorithm}");
    }
}

#[test]
fn a_missing_signature_is_refused() {
    let unsigned = &PINNED[..=PINNED.rfind('.').unwrap()];
    assert_eq!(issuer().verify(unsigned, NOW), Err(TokenError::Signature));
    assert_eq!(issuer().verify(unsigned.trim_end_matches('.'), NOW), Err(TokenError::Malformed));
}

#[test]
fn the_type_must_be_an_access_token() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        let token = forge(&changed(header(), "typ", json!(typ)), &wire());
        assert_eq!(issuer().verify(&token, NOW), Ok(claims()), "{typ}");
    }
    for typ in [json!("JWT"), json!("id+jwt"), json!("at+jwt "), json!(""), Value::Null] {
        let token = forge(&changed(header(), "typ", typ.clone()), &wire());
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Type), "{typ}");
    }
}

#[test]
fn critical_extensions_are_refused() {
    for crit in [json!(["b64"]), json!([])] {
        let token = forge(&changed(header(), "crit", crit), &wire());
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Type));
    }
}

#[test]
fn the_key_must_be_named_and_known() {
    for kid in [json!("AAAAAAAAAAAA"), json!(""), Value::Null] {
        let token = forge(&changed(header(), "kid", kid.clone()), &wire());
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::UnknownKey), "{kid}");
    }
}

#[test]
fn another_key_of_the_ring_does_not_match() {
    let old = MasterKey::generate();
    let both = JwtIssuer::new(&KeyRing::new(master()).with_older(old.clone()), ISSUER);
    let token = forge(&changed(header(), "kid", json!(old.id().as_str())), &wire());
    assert_eq!(both.verify(&token, NOW), Err(TokenError::Signature));
}

#[test]
fn a_key_from_the_header_is_not_believed() {
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    let token = forge_under(&[7; 32], &changed(header(), "jwk", jwk), &wire());
    assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Signature));
}

#[test]
fn other_issuers_are_refused() {
    // Same master key, another issuer: another key.
    let other = JwtIssuer::new(&KeyRing::new(master()), "https://other.example.com");
    let token = other.sign(&claims()).unwrap();
    assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Signature));
    // Even under our key the claim is checked, byte for byte.
    for iss in ["https://other.example.com", "https://mcp.example.com/", ""] {
        let token = forge(&header(), &changed(wire(), "iss", json!(iss)));
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Issuer), "{iss}");
    }
}

#[test]
fn keys_of_other_purposes_sign_nothing() {
    for usage in [Usage::Mac, Usage::Seal] {
        let token = forge_under(&master().derive(usage, "HS256", ISSUER)[..], &header(), &wire());
        assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Signature));
    }
    let token = forge_under(&(0..32).collect::<Vec<u8>>(), &header(), &wire());
    assert_eq!(issuer().verify(&token, NOW), Err(TokenError::Signature));
}

#[test]
fn rotation_keeps_old_tokens_until_the_key_is_removed() {
    let new = MasterKey::generate();
    let rotated = JwtIssuer::new(&KeyRing::new(new.clone()).with_older(master()), ISSUER);
    assert_eq!(rotated.verify(PINNED, NOW), Ok(claims()));
    let token = rotated.sign(&claims()).unwrap();
    assert_eq!(issuer().verify(&token, NOW), Err(TokenError::UnknownKey));
    let removed = JwtIssuer::new(&KeyRing::new(new), ISSUER);
    assert_eq!(removed.verify(&token, NOW), Ok(claims()));
    assert_eq!(removed.verify(PINNED, NOW), Err(TokenError::UnknownKey));
}

#[test]
fn every_flipped_bit_fails() {
    let issuer = issuer();
    for at in 0..PINNED.len() {
        for bit in 0..7 {
            let mut altered = PINNED.as_bytes().to_vec();
            altered[at] ^= 1 << bit;
            let altered = String::from_utf8(altered).unwrap();
            assert!(issuer.verify(&altered, NOW).is_err(), "{altered}");
        }
    }
}

#[test]
fn the_last_character_has_one_spelling() {
    // 32 bytes leave two bits of the last base64url character unused; they must be zero.
    let (rest, last) = PINNED.split_at(PINNED.len() - 1);
    let accepted: Vec<char> =
        ('!'..='~').filter(|last| issuer().verify(&format!("{rest}{last}"), NOW).is_ok()).collect();
    assert_eq!(accepted, last.chars().collect::<Vec<_>>());
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(
        format!("{:?}", issuer()),
        r#"JwtIssuer { issuer: "https://mcp.example.com", algorithm: Hs256, key: "wbzjYAbTlTqj", .. }"#
    );
}

proptest! {
    #[test]
    fn what_was_signed_verifies(
        (sub, aud, jti, client_id, scope, grant) in any::<(String, String, String, String, String, String)>(),
        (iat, lifetime) in (0..=NOW + MAX_CLOCK_SKEW, 0..u64::MAX / 2),
    ) {
        let exp = NOW + 1 + lifetime.max(MAX_CLOCK_SKEW);
        let claims = AccessClaims { sub, aud, exp, iat, jti, client_id, scope, grant };
        let token = issuer().sign(&claims).unwrap();
        prop_assert_eq!(issuer().verify(&token, NOW), Ok(claims));
    }

    #[test]
    fn replaced_bytes_fail(at in 0..PINNED.len(), with in "[ -~]{0,3}") {
        let altered = format!("{}{with}{}", &PINNED[..at], &PINNED[at + 1..]);
        prop_assume!(altered != PINNED);
        prop_assert!(issuer().verify(&altered, NOW).is_err());
    }

    #[test]
    fn anything_else_is_an_error(text in any::<String>(), header in any::<String>()) {
        prop_assert!(issuer().verify(&text, NOW).is_err());
        let header = URL_SAFE_NO_PAD.encode(header);
        let token = format!("{header}.{text}.{text}");
        prop_assert!(issuer().verify(&token, NOW).is_err());
    }
}
