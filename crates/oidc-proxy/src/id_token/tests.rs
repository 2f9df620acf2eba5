use std::sync::{Arc, LazyLock};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;
const CLIENT: &str = "the-client";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NONCE: &str = "the-nonce";

static EC: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn keys() -> Vec<Value> {
    let point = EC.public_key().as_ref();
    vec![
        json!({"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig",
               "x": b64(&point[1..33]), "y": b64(&point[33..])}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(ED.public_key())}),
        // Keycloak has encryption keys beside the signing keys; others have types of the future.
        json!({"kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc",
               "x": b64(&point[1..33]), "y": b64(&point[33..])}),
        json!({"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "pub": "AAAA"}),
    ]
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::from_json(&json!({ "keys": keys }).to_string()).unwrap()
}

fn metadata(more: &Value) -> ProviderMetadata {
    let mut document = json!({
        "issuer": "https://idp.example",
        "authorization_endpoint": "https://idp.example/authorize",
        "token_endpoint": "https://idp.example/token",
        "jwks_uri": "https://idp.example/jwks",
        "id_token_signing_alg_values_supported": ["none", "HS256", "RS256", "ES256"],
    });
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    ProviderMetadata::from_json(&document.to_string()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.example", "sub": "alice", "aud": CLIENT, "nonce": NONCE,
        "iat": NOW, "exp": NOW + 300,
    })
}

fn signed(header: &Value, claims: &Value) -> SecretString {
    let content = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = match header["alg"].as_str().unwrap() {
        "ES256" => EC.sign(&SystemRandom::new(), content.as_bytes()).unwrap().as_ref().to_vec(),
        "EdDSA" => ED.sign(content.as_bytes()).as_ref().to_vec(),
        "HS256" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
            hmac::sign(&key, content.as_bytes()).as_ref().to_vec()
        }
        _ => Vec::new(),
    };
    format!("{content}.{}", b64(signature)).into()
}

fn token(claims: &Value) -> SecretString {
    signed(&json!({"alg": "ES256", "kid": "ec", "typ": "JWT"}), claims)
}

fn rules(algorithms: Option<&[&str]>) -> Rules {
    let algorithms = algorithms.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let clock: Clock = Arc::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
    Rules::new(CLIENT, Some(&SECRET.into()), algorithms, clock)
}

fn verify(token: &SecretString) -> Result<Identity, Defect> {
    rules(None).verify(token, &metadata(&json!({})), Some(&key_set(&keys())), Some(NONCE))
}

fn verify_with(name: &str, value: Value) -> Result<Identity, Defect> {
    let mut claims = claims();
    claims[name] = value;
    verify(&token(&claims))
}

#[test]
fn a_right_token_says_who_it_is_and_what_is_known_of_the_person() {
    let mut claims = claims();
    for (name, value) in [
        ("email", json!("alice@example.com")),
        ("email_verified", json!("true")),
        ("groups", json!(["staff", "admins"])),
        ("https://example.com/roles", json!({"admin": {"id": 7, "since": 1.5, "x": null}})),
        ("updated_at", json!("2026-01-02T03:04:05.678Z")),
        ("at_hash", json!("abc")),
        ("azp", json!(CLIENT)),
        ("jti", json!("1")),
    ] {
        claims[name] = value;
    }
    let identity = verify(&token(&claims)).unwrap();
    assert_eq!(identity.issuer, "https://idp.example");
    assert_eq!(identity.subject, "alice");
    let about = Value::Object(identity.claims);
    assert_eq!(about["sub"], "alice");
    assert_eq!(about["email_verified"], true);
    assert_eq!(about["groups"], json!(["staff", "admins"]));
    assert_eq!(
        about["https://example.com/roles"],
        json!({"admin": {"id": 7, "since": 1.5, "x": null}})
    );
    for name in ABOUT_THE_TOKEN {
        assert!(about.get(name).is_none(), "{name}");
    }
}

#[test]
fn linkedin_may_leave_out_the_nonce_and_nobody_else() {
    let judge = |issuer: &str, nonce: &Value| {
        // As LinkedIn publishes it, but for the algorithm of the test's key.
        let metadata = metadata(&json!({
            "issuer": issuer,
            "authorization_endpoint": "https://www.linkedin.com/oauth/v2/authorization",
            "token_endpoint": "https://www.linkedin.com/oauth/v2/accessToken",
            "userinfo_endpoint": "https://api.linkedin.com/v2/userinfo",
            "jwks_uri": "https://www.linkedin.com/oauth/openid/jwks",
            "response_types_supported": ["code"], "subject_types_supported": ["pairwise"],
            "scopes_supported": ["openid", "profile", "email"],
        }));
        let mut claims = claims();
        for (name, value) in [
            ("iss", json!(issuer)),
            ("nonce", nonce.clone()),
            ("email", json!("alice@example.com")),
            ("email_verified", json!("true")),
            ("locale", json!("en_US")),
        ] {
            claims[name] = value;
        }
        claims.as_object_mut().unwrap().retain(|name, value| name != "nonce" || *value != "absent");
        rules(None).verify(&token(&claims), &metadata, Some(&key_set(&keys())), Some(NONCE))
    };
    for issuer in ["https://www.linkedin.com/oauth", "https://www.linkedin.com"] {
        let identity = judge(issuer, &json!("absent")).unwrap();
        assert_eq!(identity.claims["email_verified"], true);
        assert!(judge(issuer, &json!(NONCE)).is_ok());
        for wrong in [json!("of another login"), json!(""), json!(null), json!(7)] {
            assert!(judge(issuer, &wrong).is_err(), "{issuer} {wrong}");
        }
    }
    for issuer in ["https://idp.example", "https://www.linkedin.com.evil.example"] {
        let verdict = judge(issuer, &json!("absent"));
        assert!(matches!(verdict, Err(Defect::Nonce)), "{issuer}");
    }
}

#[test]
fn every_claim_is_required() {
    for name in ["iss", "sub", "aud", "exp", "iat"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let defect = verify(&token(&claims)).unwrap_err();
        assert!(matches!(defect, Defect::Missing(missing) if missing == name), "{defect}");
        assert!(verify_with(name, Value::Null).is_err(), "{name}");
    }
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove("nonce");
    assert!(matches!(verify(&token(&claims)), Err(Defect::Nonce)));
}

#[test]
fn the_issuer_is_compared_as_a_string() {
    for issuer in ["https://idp.example/", "https://IDP.example", "https://evil.example", ""] {
        assert!(verify_with("iss", json!(issuer)).is_err(), "{issuer}");
    }
    assert!(matches!(verify_with("iss", json!("https://x.example")), Err(Defect::Issuer(_))));
}

#[test]
fn the_audience_is_this_client() {
    for audience in [json!("other"), json!(["other"]), json!([]), json!("the-client2")] {
        let defect = verify_with("aud", audience.clone()).unwrap_err();
        assert!(matches!(defect, Defect::Audience(_)), "{audience}: {defect}");
    }
    assert!(verify_with("aud", json!([CLIENT])).is_ok());
}

#[test]
fn several_audiences_need_azp_and_azp_is_this_client() {
    let cases = [
        (json!([CLIENT, "api"]), None, false),
        (json!([CLIENT, "api"]), Some("other"), false),
        (json!([CLIENT, "api"]), Some(CLIENT), true),
        (json!(CLIENT), Some("other"), false),
        (json!(CLIENT), Some(""), false),
        (json!(CLIENT), Some(CLIENT), true),
        (json!(CLIENT), None, true),
    ];
    for (audience, party, good) in cases {
        let mut claims = claims();
        claims["aud"] = audience.clone();
        if let Some(party) = party {
            claims["azp"] = json!(party);
        }
        let outcome = verify(&token(&claims));
        assert_eq!(outcome.is_ok(), good, "{audience} {party:?}");
        if let Err(defect) = outcome {
            assert!(matches!(defect, Defect::AuthorizedParty | Defect::NoAuthorizedParty));
        }
    }
}

#[test]
fn times_hold_within_the_skew_of_clocks() {
    let skew = CLOCK_SKEW.as_secs();
    let age = MAX_AGE.as_secs() + skew;
    for (expires, good) in
        [(NOW + 1, true), (NOW - skew + 1, true), (NOW - skew, false), (0, false)]
    {
        let outcome = verify_with("exp", json!(expires));
        assert_eq!(outcome.is_ok(), good, "exp {expires}");
        assert!(good || matches!(outcome, Err(Defect::Expired)));
    }
    for (issued, good) in [
        (NOW + skew, true),
        (NOW + skew + 1, false),
        (NOW - age, true),
        (NOW - age - 1, false),
        (0, false),
    ] {
        let outcome = verify_with("iat", json!(issued));
        assert_eq!(outcome.is_ok(), good, "iat {issued}");
        assert!(good || matches!(outcome, Err(Defect::IssuedAt)));
    }
    for odd in [json!("soon"), json!(1e30), json!(-1e30), json!(u64::MAX), json!([])] {
        assert!(verify_with("exp", odd.clone()).is_err(), "exp {odd}");
        assert!(verify_with("iat", odd.clone()).is_err(), "iat {odd}");
    }
}

#[test]
fn the_nonce_is_that_of_the_login_and_not_asked_for_after_a_refresh() {
    for nonce in [json!("other"), json!(""), json!(null)] {
        assert!(matches!(verify_with("nonce", nonce), Err(Defect::Nonce)));
    }
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove("nonce");
    let keys = key_set(&keys());
    let refreshed = |claims: &Value| {
        rules(None).verify(&token(claims), &metadata(&json!({})), Some(&keys), None)
    };
    assert!(refreshed(&claims).is_ok());
    for (name, value) in
        [("iss", json!("https://x.example")), ("aud", json!("other")), ("sub", json!(""))]
    {
        let mut claims = claims.clone();
        claims[name] = value;
        assert!(refreshed(&claims).is_err(), "{name}");
    }
}

#[test]
fn the_subject_is_short_and_plain() {
    for subject in [json!(""), json!("a\nb"), json!("a".repeat(MAX_SUBJECT + 1))] {
        assert!(matches!(verify_with("sub", subject), Err(Defect::Subject)));
    }
    assert!(verify_with("sub", json!(7)).is_err());
    assert!(verify_with("sub", json!("a".repeat(MAX_SUBJECT))).is_ok());
}

#[test]
fn the_signature_counts() {
    let good = token(&claims());
    let (content, signature) = good.expose_secret().rsplit_once('.').unwrap();
    let mut claims = claims();
    claims["sub"] = json!("mallory");
    let other = token(&claims);
    let (other_content, _) = other.expose_secret().rsplit_once('.').unwrap();
    for forged in [
        format!("{other_content}.{signature}"),
        format!("{content}.{}", b64([0; 64])),
        format!("{content}.{}", b64([1; 63])),
        format!("{content}."),
    ] {
        let defect = verify(&forged.into()).unwrap_err();
        assert!(matches!(defect, Defect::Signature(_)), "{defect}");
    }
}

#[test]
fn what_is_no_jwt_is_refused() {
    let token = token(&claims());
    let text = token.expose_secret();
    for malformed in
        ["", "a", "a.b", "..", "a.b.c", "a.b.c.d.e", &format!("{text}.x"), &format!("{text}=")]
    {
        assert!(matches!(verify(&(*malformed).into()), Err(Defect::Malformed)), "{malformed}");
    }
}

#[test]
fn only_advertised_asymmetric_algorithms_are_accepted() {
    let header = json!({"alg": "none", "typ": "JWT"});
    assert!(matches!(verify(&signed(&header, &claims())), Err(Defect::Algorithm(_))));
    // Advertised, and signed with the client secret: still not, unless configured.
    let header = json!({"alg": "HS256", "typ": "JWT"});
    assert!(matches!(verify(&signed(&header, &claims())), Err(Defect::Algorithm(_))));
    // A key of the provider, and an algorithm that it does not advertise.
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let eddsa = signed(&header, &claims());
    assert!(matches!(verify(&eddsa), Err(Defect::Algorithm(_))));

    let keys = key_set(&keys());
    let with = |algorithms: Value| {
        let metadata = metadata(&json!({ "id_token_signing_alg_values_supported": algorithms }));
        rules(None).verify(&eddsa, &metadata, Some(&keys), Some(NONCE))
    };
    assert!(with(json!(["EdDSA"])).is_ok());
    // Clerk does not say.
    assert!(with(json!(null)).is_ok());
    // authentik without a signing key.
    let defect = with(json!(["HS256"])).unwrap_err().to_string();
    assert!(defect.contains("id_token_algorithms"), "{defect}");
}

#[test]
fn hs256_is_accepted_only_when_configured_and_only_with_the_client_secret() {
    let rules = rules(Some(&["HS256"]));
    let verify = |token: &SecretString| {
        rules.verify(token, &metadata(&json!({})), None, Some(NONCE)).map(|found| found.subject)
    };
    let good = signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims());
    assert_eq!(verify(&good).unwrap(), "alice");
    let (content, _) = good.expose_secret().rsplit_once('.').unwrap();
    // The lengths that are not an HMAC's make openidconnect panic.
    for length in [0, 1, 31, 32, 33, 64] {
        let forged = format!("{content}.{}", b64(vec![0; length]));
        assert!(matches!(verify(&forged.into()), Err(Defect::Signature(_))), "{length}");
    }
    assert!(matches!(verify(&token(&claims())), Err(Defect::Algorithm(_))));
}

#[test]
fn the_key_is_one_of_the_providers_signing_keys() {
    for kid in ["gone", "enc", "ed", "pq", ""] {
        let header = json!({"alg": "ES256", "kid": kid});
        let defect = verify(&signed(&header, &claims())).unwrap_err();
        assert!(matches!(defect, Defect::NoKey), "{kid}: {defect}");
    }
    // Without a key id the only key that fits is taken.
    assert!(verify(&signed(&json!({"alg": "ES256"}), &claims())).is_ok());
}

#[test]
fn tokens_of_other_kinds_are_refused() {
    for typ in ["at+jwt", "logout+jwt", "dpop+jwt"] {
        let header = json!({"alg": "ES256", "kid": "ec", "typ": typ});
        assert!(verify(&signed(&header, &claims())).is_err(), "{typ}");
    }
    let critical = json!({"alg": "ES256", "kid": "ec", "crit": ["exp"]});
    assert!(verify(&signed(&critical, &claims())).is_err());
}

#[test]
fn a_template_issuer_binds_token_and_key_to_one_tenant() {
    const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
    const TEMPLATE: &str = "https://login.example/{tenantid}/v2.0";
    let own = format!("https://login.example/{TENANT}/v2.0");
    let other = "https://login.example/11111111-1111-1111-1111-111111111111/v2.0";
    let metadata = metadata(&json!({ "issuer": TEMPLATE }));
    let verify = |issuer: &str, tenant: Value, key_issuer: &str| {
        let mut claims = claims();
        claims["iss"] = json!(issuer);
        claims["tid"] = tenant;
        let mut keys = keys();
        keys[0]["issuer"] = json!(key_issuer);
        rules(None).verify(&token(&claims), &metadata, Some(&key_set(&keys)), Some(NONCE))
    };
    for key_issuer in [own.as_str(), TEMPLATE] {
        let identity = verify(&own, json!(TENANT), key_issuer).unwrap();
        assert_eq!(identity.issuer, own);
        assert_eq!(identity.claims["tid"], TENANT);
    }
    assert!(matches!(verify(&own, json!(TENANT), other), Err(Defect::NoKey)));
    for (issuer, tenant) in
        [(other, json!(TENANT)), (TEMPLATE, json!("{tenantid}")), (&own, Value::Null)]
    {
        let defect = verify(issuer, tenant, TEMPLATE).unwrap_err();
        assert!(matches!(defect, Defect::Issuer(_)), "{issuer}: {defect}");
    }
}

#[test]
fn no_defect_shows_the_token_or_the_secret() {
    let token = signed(&json!({"alg": "HS256"}), &claims());
    let defect = verify(&token).unwrap_err();
    let text = format!("{defect} {defect:?} {:?}", rules(None));
    assert!(!text.contains(SECRET) && !text.contains(NONCE), "{text}");
}
