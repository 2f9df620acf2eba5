//! JWTs against a provider on loopback.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use oidc_discovery::Discovery;
use serde_json::{Value, json};
use token_verifier::{Clock, JwtVerifier, JwtVerifierBuilder, TokenVerifier, VerifyError};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

const RESOURCE: &str = "https://mcp.example/mcp";
const START: u64 = 1_700_000_000;

/// A clock that stands still until it is told.
#[derive(Clone)]
struct TestClock(Arc<Mutex<u64>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(START)))
    }

    fn advance(&self, seconds: u64) {
        *self.0.lock().expect("the clock") += seconds;
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(*now.lock().expect("the clock"))
        })
    }
}

/// A key that signs, and what the provider publishes of it.
struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    kid: &'static str,
    jwk: Value,
}

impl SigningKey {
    fn es256(kid: &'static str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .expect("an EC key");
        Self::new(EncodingKey::from_ec_der(pkcs8.as_ref()), Algorithm::ES256, kid)
    }

    fn rs256(kid: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS #8");
        let body = STANDARD.encode(pkcs8.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("PEM");
        Self::new(key, Algorithm::RS256, kid)
    }

    fn new(key: EncodingKey, algorithm: Algorithm, kid: &'static str) -> Self {
        let jwk = Jwk::from_encoding_key(&key, algorithm).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = json!(kid);
        Self { key, algorithm, kid, jwk }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        header.typ = Some("at+jwt".to_owned());
        header
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.key).expect("a token")
    }
}

struct Provider {
    server: MockServer,
    clock: TestClock,
}

impl Provider {
    async fn publishing(keys: &[&SigningKey]) -> Self {
        let provider = Self { server: MockServer::start().await, clock: TestClock::new() };
        provider.publish(keys).await;
        provider
    }

    /// Replaces the published keys.
    async fn publish(&self, keys: &[&SigningKey]) {
        self.server.reset().await;
        let issuer = self.server.uri();
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
        });
        let keys: Vec<_> = keys.iter().map(|key| &key.jwk).collect();
        for (at, body) in
            [("/.well-known/openid-configuration", metadata), ("/jwks", json!({"keys": keys}))]
        {
            Mock::given(method("GET"))
                .and(path(at))
                .respond_with(ResponseTemplate::new(200).set_body_json(body))
                .mount(&self.server)
                .await;
        }
    }

    fn builder(&self) -> JwtVerifierBuilder {
        let client = outbound_http::Client::builder().build().expect("a client");
        let discovery = Discovery::builder(&self.server.uri(), client)
            .clock(self.clock.clock())
            .build()
            .expect("a discovery");
        JwtVerifier::builder(discovery).clock(self.clock.clock())
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.server.uri(), "aud": RESOURCE, "sub": "ada", "client_id": "client",
            "scope": "read write", "iat": START, "exp": START + 300,
        })
    }
}

/// Expects `Invalid` and returns the reason.
fn reason(outcome: Result<token_verifier::Principal, VerifyError>) -> String {
    match outcome {
        Err(VerifyError::Invalid(reason)) => reason,
        other => panic!("expected an invalid token, got {other:?}"),
    }
}

#[tokio::test]
async fn good_tokens_pass() {
    let (ec, rsa) = (SigningKey::es256("ec"), SigningKey::rs256("rsa"));
    let provider = Provider::publishing(&[&rsa, &ec]).await;
    let verifier = provider.builder().require_access_token_type().build();
    for key in [&ec, &rsa] {
        let token = key.sign(&provider.claims());
        let principal = verifier.verify(&token, RESOURCE).await.expect(key.kid);
        assert_eq!(principal.subject(), "ada");
        assert_eq!(principal.issuer(), Some(provider.server.uri().as_str()));
        assert_eq!(principal.client_id(), Some("client"));
        assert_eq!(principal.scopes(), ["read", "write"]);
        assert_eq!(principal.expires_at(), Some(START + 300));
    }
}

#[tokio::test]
async fn a_token_without_key_id_is_tried_with_every_key() {
    let (first, second) = (SigningKey::es256("1"), SigningKey::es256("2"));
    let provider = Provider::publishing(&[&first, &second]).await;
    let mut header = second.header();
    header.kid = None;
    let token = second.sign_with(&header, &provider.claims());
    assert!(provider.builder().build().verify(&token, RESOURCE).await.is_ok());
}

#[tokio::test]
async fn the_header_does_not_choose_the_algorithm() {
    let rsa = SigningKey::rs256("rsa");
    let provider = Provider::publishing(&[&rsa]).await;
    let verifier = provider.builder().build();

    // HMAC with the public key as the secret.
    let mut header = rsa.header();
    header.alg = Algorithm::HS256;
    let modulus = rsa.jwk["n"].as_str().expect("a modulus");
    let secret = URL_SAFE_NO_PAD.decode(modulus).expect("base64url");
    let token =
        jsonwebtoken::encode(&header, &provider.claims(), &EncodingKey::from_secret(&secret))
            .expect("a token");
    assert!(reason(verifier.verify(&token, RESOURCE).await).contains("not signed with a key"));

    // No signature at all.
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = json!({"alg": "none", "kid": "rsa", "typ": "at+jwt"});
    let token = format!("{}.{}.", encode(&unsigned), encode(&provider.claims()));
    reason(verifier.verify(&token, RESOURCE).await);

    // The key says RS256, the token PS256.
    let mut header = rsa.header();
    header.alg = Algorithm::PS256;
    let token = rsa.sign_with(&header, &provider.claims());
    assert!(reason(verifier.verify(&token, RESOURCE).await).contains("not signed with a key"));
}

#[tokio::test]
async fn forged_and_altered_tokens_are_refused() {
    let (published, other) = (SigningKey::es256("a"), SigningKey::es256("a"));
    let provider = Provider::publishing(&[&published]).await;
    let verifier = provider.builder().build();

    let forged = other.sign(&provider.claims());
    assert!(reason(verifier.verify(&forged, RESOURCE).await).contains("signature"));

    let good = published.sign(&provider.claims());
    let mut parts: Vec<_> = good.split('.').collect();
    let mut claims = provider.claims();
    claims["sub"] = json!("root");
    let altered = URL_SAFE_NO_PAD.encode(claims.to_string());
    parts[1] = &altered;
    assert!(reason(verifier.verify(&parts.join("."), RESOURCE).await).contains("signature"));

    for token in ["", "opaque", "a.b", "a.b.c", "....", &good[..good.len() / 2]] {
        reason(verifier.verify(token, RESOURCE).await);
    }
}

#[tokio::test]
async fn critical_extensions_and_other_types_are_refused() {
    let key = SigningKey::es256("a");
    let provider = Provider::publishing(&[&key]).await;

    let mut header = key.header();
    header.crit = Some(vec!["b64".to_owned()]);
    let token = key.sign_with(&header, &provider.claims());
    assert!(reason(provider.builder().build().verify(&token, RESOURCE).await).contains("critical"));

    for (typ, lenient, strict) in [
        (Some("at+jwt"), true, true),
        (Some("application/at+jwt"), true, true),
        (Some("JWT"), true, false),
        (None, true, false),
        (Some("logout+jwt"), false, false),
        (Some("dpop+jwt"), false, false),
    ] {
        let mut header = key.header();
        header.typ = typ.map(str::to_owned);
        let token = key.sign_with(&header, &provider.claims());
        let outcome = provider.builder().build().verify(&token, RESOURCE).await;
        assert_eq!(outcome.is_ok(), lenient, "{typ:?}");
        let verifier = provider.builder().require_access_token_type().build();
        assert_eq!(verifier.verify(&token, RESOURCE).await.is_ok(), strict, "{typ:?}");
    }
}

#[tokio::test]
async fn issuer_and_audience_must_be_right() {
    let key = SigningKey::es256("a");
    let provider = Provider::publishing(&[&key]).await;
    let verifier = provider.builder().build();
    let token = key.sign(&provider.claims());
    let elsewhere = verifier.verify(&token, "https://mcp.example/other").await;
    assert_eq!(reason(elsewhere), "the token is for another resource");

    for claim in ["iss", "aud", "exp", "sub"] {
        let mut claims = provider.claims();
        claims.as_object_mut().expect("an object").remove(claim);
        reason(verifier.verify(&key.sign(&claims), RESOURCE).await);
    }

    let named = provider.builder().audience("api://default").issuer("https://sts.example").build();
    reason(named.verify(&token, RESOURCE).await);
    let mut claims = provider.claims();
    claims["aud"] = json!("api://default");
    claims["iss"] = json!("https://sts.example");
    assert!(named.verify(&key.sign(&claims), RESOURCE).await.is_ok());
}

#[tokio::test]
async fn a_client_stands_in_for_an_audience_only_if_it_is_wanted() {
    let key = SigningKey::es256("a");
    let provider = Provider::publishing(&[&key]).await;
    let mut claims = provider.claims();
    claims.as_object_mut().expect("an object").remove("aud");
    claims["client_id"] = json!("our-client");
    claims["token_use"] = json!("access");
    let token = key.sign(&claims);
    let strict = provider.builder().build();
    reason(strict.verify(&token, RESOURCE).await);
    let wanted = provider.builder().client_instead_of_audience("our-client").build();
    let principal = wanted.verify(&token, RESOURCE).await.expect("a good token");
    assert_eq!(principal.client_id(), Some("our-client"));
    claims["client_id"] = json!("another-client");
    reason(wanted.verify(&key.sign(&claims), RESOURCE).await);
}

#[tokio::test]
async fn a_token_ends_by_the_given_clock() {
    let key = SigningKey::es256("a");
    let provider = Provider::publishing(&[&key]).await;
    let lenient = provider.builder().build();
    let exact = provider.builder().leeway(Duration::ZERO).build();
    let token = key.sign(&provider.claims());

    provider.clock.advance(299);
    assert!(exact.verify(&token, RESOURCE).await.is_ok());
    provider.clock.advance(1);
    assert_eq!(reason(exact.verify(&token, RESOURCE).await), "the token has expired");
    provider.clock.advance(59);
    assert!(lenient.verify(&token, RESOURCE).await.is_ok());
    provider.clock.advance(1);
    assert_eq!(reason(lenient.verify(&token, RESOURCE).await), "the token has expired");
}

#[tokio::test]
async fn a_new_key_is_found_and_a_withdrawn_one_forgotten() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let provider = Provider::publishing(&[&old]).await;
    let verifier = provider.builder().build();
    let claims = provider.claims();
    let (by_old, by_new) = (old.sign(&claims), new.sign(&claims));
    assert!(verifier.verify(&by_old, RESOURCE).await.is_ok());

    provider.publish(&[&new]).await;
    assert!(verifier.verify(&by_old, RESOURCE).await.is_ok(), "the set is still fresh");
    provider.clock.advance(30);
    assert!(verifier.verify(&by_new, RESOURCE).await.is_ok());
    assert!(reason(verifier.verify(&by_old, RESOURCE).await).contains("not signed with a key"));
}

#[tokio::test]
async fn an_outage_is_not_a_bad_token() {
    let key = SigningKey::es256("a");
    let provider = Provider::publishing(&[&key]).await;
    let token = key.sign(&provider.claims());
    provider.server.reset().await; // from here on every path is 404

    let verifier = provider.builder().build();
    match verifier.verify(&token, RESOURCE).await {
        Err(VerifyError::Unavailable { retry_after, source }) => {
            assert!(!retry_after.is_zero());
            assert!(source.to_string().contains("/.well-known/openid-configuration"), "{source}");
        }
        other => panic!("expected an outage, got {other:?}"),
    }
    // What is no JWT is bad whether or not the provider is up.
    reason(verifier.verify("opaque", RESOURCE).await);
}
