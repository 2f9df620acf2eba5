//! Each wrong answer is wrong in exactly its way, and everything is right again after a reset.

use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::PublicKeyComponents,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use dev_idp::{
    ExpiresInFault, IdTokenFault, IssParameterFault, RefreshTokenFault, TokenEndpointFault,
};
use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind, jwk::JwkSet};
use serde_json::{Value, json};

use crate::support::{CONFIDENTIAL, ISSUER, START, World, authorize, claims};

const FOREIGN: &str = "https://attacker.example";

async fn id_token(world: &World, fault: IdTokenFault) -> Value {
    world.idp.misbehave().set(|switches| switches.id_token = Some(fault));
    world.tokens(&[]).await["id_token"].clone()
}

#[tokio::test]
async fn id_token_claims_go_wrong_one_at_a_time() {
    let world = World::new();
    let mut right = claims(&world.tokens(&[]).await["id_token"]);
    // It depends on the access token, which is never the same.
    right.as_object_mut().unwrap().remove("at_hash");
    let day = 24 * 60 * 60;
    for (fault, changes) in [
        (IdTokenFault::WrongIssuer, json!({"iss": FOREIGN})),
        (IdTokenFault::WrongAudience, json!({"aud": FOREIGN})),
        (
            IdTokenFault::ForeignAuthorizedParty,
            json!({"aud": [CONFIDENTIAL, FOREIGN], "azp": FOREIGN}),
        ),
        (IdTokenFault::MissingAuthorizedParty, json!({"aud": [CONFIDENTIAL, FOREIGN]})),
        (IdTokenFault::Expired, json!({"iat": START - day - 60, "exp": START - day})),
        (IdTokenFault::IssuedInFuture, json!({"iat": START + day, "exp": START + day + 3600})),
        (IdTokenFault::WrongNonce, json!({"nonce": "a-nonce-of-somebody-else"})),
        (IdTokenFault::MissingNonce, json!({"nonce": null})),
        (IdTokenFault::MissingSubject, json!({"sub": null})),
    ] {
        let mut expected = right.clone();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                expected.as_object_mut().unwrap().remove(name);
            } else {
                expected[name] = value.clone();
            }
        }
        let mut wrong = claims(&id_token(&world, fault).await);
        wrong.as_object_mut().unwrap().remove("at_hash");
        assert_eq!(wrong, expected, "{fault:?}");
    }
    world.idp.misbehave().reset();
    assert_eq!(claims(&world.tokens(&[]).await["id_token"])["iss"], ISSUER);
}

#[tokio::test]
async fn a_wrong_signature_is_only_that() {
    let world = World::new();
    let token = id_token(&world, IdTokenFault::WrongSignature).await;
    let set: JwkSet = serde_json::from_str(&world.get("/jwks.json").await.body).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_jwk(&set.keys[0]).unwrap();
    let error = jsonwebtoken::decode::<Value>(token.as_str().unwrap(), &key, &validation);
    assert!(matches!(error.unwrap_err().kind(), ErrorKind::InvalidSignature));
}

#[tokio::test]
async fn alg_none_and_hs256_are_forged_as_attackers_do() {
    let world = World::new();
    let header = |token: &Value| -> Value {
        let (header, _) = token.as_str().unwrap().split_once('.').unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
    };
    let unsigned = id_token(&world, IdTokenFault::UnsignedAlgNone).await;
    assert_eq!(header(&unsigned)["alg"], "none");
    assert!(unsigned.as_str().unwrap().ends_with('.'));

    let confused = id_token(&world, IdTokenFault::Hs256WithPublicKey).await;
    assert_eq!(header(&confused)["alg"], "HS256");
    assert_eq!(header(&confused)["kid"], crate::support::signing_key().key_id());

    // Who takes the public key for a secret believes it.
    let key = world.get("/jwks.json").await.json()["keys"][0].clone();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let der: PublicKeyX509Der<'_> =
        PublicKeyComponents { n: part("n"), e: part("e") }.as_der().unwrap();
    let body = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_audience(&[CONFIDENTIAL]);
    let secret = DecodingKey::from_secret(pem.as_bytes());
    let believed = jsonwebtoken::decode::<Value>(confused.as_str().unwrap(), &secret, &validation);
    assert_eq!(believed.unwrap().claims["sub"], "user-alice");
}

#[tokio::test]
async fn the_id_token_can_be_absent() {
    let world = World::new();
    assert_eq!(id_token(&world, IdTokenFault::Absent).await, Value::Null);
}

#[tokio::test]
async fn a_refresh_can_name_another_subject() {
    let world = World::new();
    world.idp.misbehave().set(|s| s.id_token = Some(IdTokenFault::OtherSubjectOnRefresh));
    let tokens = world.tokens(&[]).await;
    assert_eq!(claims(&tokens["id_token"])["sub"], "user-alice");
    let refreshed = world.refresh(tokens["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!(claims(&refreshed["id_token"])["sub"], "user-somebody-else");
}

#[tokio::test]
async fn the_iss_parameter_can_be_wrong_or_missing_on_success_and_error() {
    let world = World::new();
    for (fault, expected) in
        [(IssParameterFault::Wrong, Some(FOREIGN)), (IssParameterFault::Missing, None)]
    {
        world.idp.misbehave().set(|switches| switches.iss_parameter = Some(fault));
        let refused = world.get(&authorize(&[("prompt", "none")])).await;
        assert_eq!(refused.param("iss").as_deref(), expected);
        let mut browser = world.browser();
        let page = browser.get(&authorize(&[])).await;
        let answer = browser.log_in(&page, "alice", "wonderland").await;
        assert!(answer.param("code").is_some());
        assert_eq!(answer.param("iss").as_deref(), expected);
    }
}

#[tokio::test]
async fn the_token_endpoint_can_fail_without_using_anything_up() {
    let world = World::new();
    let code = world.code(&[]).await;
    let fail = async |fault| {
        world.idp.misbehave().set(|switches| switches.token_endpoint = Some(fault));
        world.redeem(&code, &[]).await
    };
    let answer = fail(TokenEndpointFault::InternalError).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.json().get("error"), None);

    let answer =
        fail(TokenEndpointFault::TooManyRequests { retry_after: Duration::from_secs(7) }).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header(header::RETRY_AFTER), "7");

    let answer = fail(TokenEndpointFault::Html).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header(header::CONTENT_TYPE).starts_with("text/html"));

    assert_eq!(world.idp.stats().code_calls, 3, "the calls count");
    world.idp.misbehave().reset();
    assert_eq!(world.redeem(&code, &[]).await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_token_endpoint_can_hang() {
    let world = World::new();
    let code = world.code(&[]).await;
    world.idp.misbehave().set(|s| s.token_endpoint = Some(TokenEndpointFault::Hang));
    let hour = Duration::from_hours(1);
    assert!(tokio::time::timeout(hour, world.redeem(&code, &[])).await.is_err());
}

#[tokio::test]
async fn expires_in_can_be_absent_negative_or_text() {
    let world = World::new();
    for (fault, expected) in [
        (ExpiresInFault::Absent, Value::Null),
        (ExpiresInFault::Negative, json!(-1)),
        (ExpiresInFault::Text, json!("3600")),
    ] {
        world.idp.misbehave().set(|switches| switches.expires_in = Some(fault));
        assert_eq!(world.tokens(&[]).await["expires_in"], expected);
    }
}

#[tokio::test]
async fn refresh_tokens_can_be_absent_or_stay() {
    let world = World::new();
    let tokens = world.tokens(&[]).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let misbehave = world.idp.misbehave().clone();
    misbehave.set(|switches| switches.refresh_token = Some(RefreshTokenFault::NotRotated));
    for _ in 0..2 {
        let answer = world.refresh(token).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json().get("refresh_token"), None);
    }
    misbehave.set(|switches| switches.refresh_token = Some(RefreshTokenFault::Absent));
    assert_eq!(world.tokens(&[]).await.get("refresh_token"), None);
    assert_eq!(misbehave.switches().refresh_token, Some(RefreshTokenFault::Absent));
}
