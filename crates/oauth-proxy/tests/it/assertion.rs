//! Clients with keys (`private_key_jwt`): who has the client's id has nothing.

mod others;

use std::time::Duration;

use http::StatusCode;
use jwt_issuer::{AssertionClaims, AssertionIssuer, KeyRing, MasterKey, SigningAlgorithm};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::{
    cimd::{Host, authorize, document, json_answer, on_loopback, replica},
    support::{Answer, Deployment, Fault, REDIRECT, Tokens, VERIFIER},
};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The keys of a client.
struct Signer {
    client: String,
    keys: KeyRing,
    algorithm: SigningAlgorithm,
}

impl Signer {
    fn new(client: &str, algorithm: SigningAlgorithm) -> Self {
        let keys = KeyRing::new(MasterKey::generate());
        Self { client: client.to_owned(), keys, algorithm }
    }

    /// With other keys.
    fn rotated(&self) -> Self {
        Self::new(&self.client, self.algorithm)
    }

    fn key_set(&self) -> Value {
        self.keys.public_keys(self.algorithm, &self.client)
    }

    /// An assertion for `audience`, as if this were `now`.
    fn sign(&self, audience: &str, now: u64) -> String {
        let issuer = AssertionIssuer::new(&self.keys, self.algorithm, &self.client, audience);
        let exp = now + 60;
        let claims =
            AssertionClaims { sub: self.client.clone(), exp, ..AssertionClaims::default() };
        issuer.sign(&claims, now).unwrap()
    }
}

fn now(deployment: &Deployment) -> u64 {
    let clock = deployment.clock.clock();
    clock().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn assertion(deployment: &Deployment, signer: &Signer) -> String {
    signer.sign(deployment.proxy.issuer(), now(deployment))
}

fn described(client: &str, keys: (&str, Value)) -> Value {
    let mut document = document(client);
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document[keys.0] = keys.1;
    document
}

/// A client whose keys stand in its document.
async fn inline(algorithm: SigningAlgorithm) -> (Host, Signer) {
    let (host, client) = Host::new().await;
    let signer = Signer::new(&client, algorithm);
    host.say(json_answer(&described(&client, ("jwks", signer.key_set())))).await;
    (host, signer)
}

async fn redeem(deployment: &Deployment, code: &str, extra: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    form.extend(extra);
    deployment.post("/token", &form).await
}

async fn refresh(deployment: &Deployment, token: &str, assertion: &str) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    deployment.post("/token", &form).await
}

#[tokio::test]
async fn a_client_with_keys_signs_what_it_asks_for() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let deployment = on_loopback();
        let (host, signer) = inline(algorithm).await;
        let client = signer.client.as_str();
        let code = deployment.code(client).await;

        let refused = redeem(&deployment, &code, &[("client_id", client)]).await;
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
        let signed = assertion(&deployment, &signer);
        deployment.storage.operations();
        let form = [("client_assertion_type", TYPE), ("client_assertion", &*signed)];
        let tokens = Tokens::of(&redeem(&deployment, &code, &form).await);
        assert_eq!(deployment.storage.operations(), 4, "a redemption, and the mark");

        let refused = deployment.refresh(client, &tokens.refresh).await;
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
        let refused = refresh(&deployment, &tokens.refresh, &signed).await;
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
        assert!(refused.body.contains("used before"), "{}", refused.body);
        deployment.storage.operations();
        let signed = assertion(&deployment, &signer);
        let tokens = Tokens::of(&refresh(&deployment, &tokens.refresh, &signed).await);
        assert_eq!(deployment.storage.operations(), 3, "a refresh, and the mark");

        let form = [("token", &*tokens.refresh), ("client_id", client)];
        let refused = deployment.post("/revoke", &form).await;
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
        let signed = assertion(&deployment, &signer);
        let form = [
            ("token", &*tokens.refresh),
            ("client_assertion_type", TYPE),
            ("client_assertion", &*signed),
        ];
        assert_eq!(deployment.post("/revoke", &form).await.status, StatusCode::OK);
        let signed = assertion(&deployment, &signer);
        let ended = refresh(&deployment, &tokens.refresh, &signed).await;
        ended.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
        assert_eq!(host.asked().await, 1, "{algorithm:?}: keys and all");
    }
}

#[tokio::test]
async fn nobody_elses_assertion_is_good_and_none_harms_the_login() {
    let deployment = on_loopback();
    let (_host, signer) = inline(SigningAlgorithm::Es256).await;
    let (_other_host, other) = inline(SigningAlgorithm::Es256).await;
    let client = signer.client.as_str();
    let code = deployment.code(client).await;
    let tokens = {
        let signed = assertion(&deployment, &signer);
        let form = [("client_assertion_type", TYPE), ("client_assertion", &*signed)];
        let code = deployment.code(client).await;
        Tokens::of(&redeem(&deployment, &code, &form).await)
    };
    let issuer = deployment.proxy.issuer();
    let forged = Signer { keys: signer.rotated().keys, ..Signer::new(client, signer.algorithm) };
    let now = now(&deployment);
    for (what, wrong) in [
        ("forged", forged.sign(issuer, now)),
        ("for another server", signer.sign("https://other.example", now)),
        ("expired", signer.sign(issuer, now - 120)),
        ("of the future", signer.sign(issuer, now + 120)),
        ("no JWT", "a.b.c".to_owned()),
        ("unsigned", {
            let signed = signer.sign(issuer, now);
            let (head, _) = signed.rsplit_once('.').unwrap();
            format!("{head}.")
        }),
    ] {
        let named =
            [("client_id", client), ("client_assertion_type", TYPE), ("client_assertion", &*wrong)];
        let refused = redeem(&deployment, &code, &named).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{what}: {}", refused.body);
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    // The other client's own is good, but the grant is not its own.
    let others = assertion(&deployment, &other);
    let refused = refresh(&deployment, &tokens.refresh, &others).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    let wrong_type = [("client_assertion_type", "saml"), ("client_assertion", &*others)];
    let refused = redeem(&deployment, &code, &wrong_type).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_request");

    let signed = assertion(&deployment, &signer);
    let form = [("client_assertion_type", TYPE), ("client_assertion", &*signed)];
    Tokens::of(&redeem(&deployment, &code, &form).await);
    let signed = assertion(&deployment, &signer);
    Tokens::of(&refresh(&deployment, &tokens.refresh, &signed).await);
}

/// A client whose keys stand elsewhere, and that place.
async fn with_keys_elsewhere() -> (Host, Host, Signer) {
    let ((host, client), (keys, place)) = (Host::new().await, Host::new().await);
    let signer = Signer::new(&client, SigningAlgorithm::Es256);
    host.say(json_answer(&described(&client, ("jwks_uri", json!(place))))).await;
    keys.say(json_answer(&signer.key_set())).await;
    (host, keys, signer)
}

async fn tokens(deployment: &Deployment, signer: &Signer) -> Tokens {
    let code = deployment.code(&signer.client).await;
    let signed = assertion(deployment, signer);
    let form = [("client_assertion_type", TYPE), ("client_assertion", &*signed)];
    Tokens::of(&redeem(deployment, &code, &form).await)
}

#[tokio::test]
async fn keys_are_followed_but_not_hunted() {
    let deployment = on_loopback();
    let (_host, keys, signer) = with_keys_elsewhere().await;
    let first = tokens(&deployment, &signer).await;
    assert_eq!(keys.asked().await, 1);

    let next = signer.rotated();
    keys.say(json_answer(&next.key_set())).await;
    for _ in 0..5 {
        let signed = assertion(&deployment, &next);
        let refused = refresh(&deployment, &first.refresh, &signed).await;
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    assert_eq!(keys.asked().await, 0, "they were fetched a moment ago");
    deployment.clock.advance(Duration::from_mins(1));
    let signed = assertion(&deployment, &next);
    let tokens = Tokens::of(&refresh(&deployment, &first.refresh, &signed).await);
    assert_eq!(keys.asked().await, 1);
    let signed = assertion(&deployment, &signer);
    let refused = refresh(&deployment, &tokens.refresh, &signed).await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    assert_eq!(keys.asked().await, 1, "the old key is gone, and nobody looks for it");
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_no_verdict() {
    let deployment = on_loopback();
    let (host, keys, signer) = with_keys_elsewhere().await;
    let first = tokens(&deployment, &signer).await;
    drop((host, keys));
    deployment.clock.advance(Duration::from_hours(2));

    let fresh = replica(&deployment);
    let signed = assertion(&deployment, &signer);
    let refused = refresh(&fresh, &first.refresh, &signed).await;
    refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    assert!(refused.headers.contains_key("retry-after"));
    let tokens = Tokens::of(&refresh(&deployment, &first.refresh, &signed).await);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK, "with the old keys");
}

/// The row "a host's trouble" (D7): only what it says about the client is a verdict.
#[tokio::test]
async fn trouble_of_a_host_is_no_verdict_on_its_client() {
    let maintenance = ResponseTemplate::new(200).set_body_raw("<html>", "text/html");
    let elsewhere = ResponseTemplate::new(302).insert_header("location", "https://app.example/");
    for (what, answer, refusal) in [
        ("a firewall", ResponseTemplate::new(403), None),
        ("a redirect", elsewhere, None),
        ("a maintenance page", maintenance, None),
        ("withdrawn", ResponseTemplate::new(404), Some("404")),
    ] {
        for troubled in ["document", "keys"] {
            let deployment = on_loopback();
            let (host, keys, signer) = with_keys_elsewhere().await;
            let first = tokens(&deployment, &signer).await;
            let place = if troubled == "keys" { &keys } else { &host };
            place.say(answer.clone()).await;
            let fresh = replica(&deployment);
            let signed = assertion(&deployment, &signer);
            let refused = refresh(&fresh, &first.refresh, &signed).await;
            if let Some(why) = refusal {
                refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
                assert!(refused.body.contains(why), "{}", refused.body);
            } else {
                let expected = "temporarily_unavailable";
                refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, expected);
                assert_eq!(refused.headers["retry-after"], "10", "{what}: {troubled}");
            }
        }
    }
}

#[tokio::test]
async fn keys_in_a_document_are_followed_and_believed_for_an_hour() {
    let deployment = on_loopback();
    let (host, signer) = inline(SigningAlgorithm::EdDsa).await;
    let first = tokens(&deployment, &signer).await;
    let next = signer.rotated();
    let said = described(&signer.client, ("jwks", next.key_set()));
    let for_long = json_answer(&said).insert_header("cache-control", "max-age=86400");
    host.say(for_long.clone()).await;
    let signed = assertion(&deployment, &next);
    let refused = refresh(&deployment, &first.refresh, &signed).await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    assert_eq!(host.asked().await, 0, "it was fetched a moment ago");
    deployment.clock.advance(Duration::from_mins(1));
    let signed = assertion(&deployment, &next);
    let tokens = Tokens::of(&refresh(&deployment, &first.refresh, &signed).await);
    assert_eq!(host.asked().await, 1);

    deployment.clock.advance(Duration::from_mins(61));
    let signed = assertion(&deployment, &next);
    let tokens = Tokens::of(&refresh(&deployment, &tokens.refresh, &signed).await);
    assert_eq!(host.asked().await, 2, "for an hour, whatever the host says");

    // Newer keys are wanted and cannot be had: that is no verdict on who has them.
    host.say(ResponseTemplate::new(500)).await;
    deployment.clock.advance(Duration::from_mins(1));
    for _ in 0..3 {
        let signed = assertion(&deployment, &signer);
        let refused = refresh(&deployment, &tokens.refresh, &signed).await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    }
    assert_eq!(host.asked().await, 1, "and nobody asks for them without a pause");
    let signed = assertion(&deployment, &next);
    Tokens::of(&refresh(&deployment, &tokens.refresh, &signed).await);
}

#[tokio::test]
async fn a_wrong_signature_may_be_one_of_a_newer_key_and_no_key_is_believed_for_long() {
    let deployment = on_loopback();
    let (_host, keys, signer) = with_keys_elsewhere().await;
    let next = signer.rotated();
    // The next key has a name that an older one has as well.
    let mut set = signer.key_set();
    let mut namesake = set["keys"][0].clone();
    namesake["kid"] = next.key_set()["keys"][0]["kid"].clone();
    set["keys"].as_array_mut().unwrap().push(namesake);
    keys.say(json_answer(&set)).await;
    let first = tokens(&deployment, &signer).await;
    let for_long = json_answer(&next.key_set()).insert_header("cache-control", "max-age=86400");
    keys.say(for_long).await;
    deployment.clock.advance(Duration::from_mins(1));
    let signed = assertion(&deployment, &next);
    let tokens = Tokens::of(&refresh(&deployment, &first.refresh, &signed).await);

    // The client takes that key back, and nobody signs with another meanwhile.
    keys.say(json_answer(&signer.key_set())).await;
    deployment.clock.advance(Duration::from_mins(61));
    let signed = assertion(&deployment, &next);
    let refused = refresh(&deployment, &tokens.refresh, &signed).await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
}

#[tokio::test]
async fn strangers_spend_nothing_that_a_signing_client_needs() {
    let deployment = on_loopback();
    let (host, _keys, signer) = with_keys_elsewhere().await;
    let first = tokens(&deployment, &signer).await;
    let fresh = replica(&deployment);
    for number in 0..1000 {
        authorize(&fresh, &host.url(&format!("/none?{number}"))).await;
    }
    let spent = authorize(&fresh, &host.url("/none")).await;
    spent.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    let signed = assertion(&deployment, &signer);
    Tokens::of(&refresh(&fresh, &first.refresh, &signed).await);
}

#[tokio::test]
async fn a_redemption_is_patient_from_when_its_client_has_proven_itself() {
    let deployment = on_loopback();
    let (_host, signer) = inline(SigningAlgorithm::Es256).await;
    let code = deployment.code(&signer.client).await;
    let signed = assertion(&deployment, &signer);
    let form = [("client_assertion_type", TYPE), ("client_assertion", &*signed)];
    deployment.storage.delay_next("once", Duration::from_secs(11));
    deployment.storage.fail_next("grants", Fault::AnswerLost);
    tokio::time::pause();
    Tokens::of(&redeem(&deployment, &code, &form).await);
}

#[tokio::test]
async fn storage_that_fails_beside_an_assertion_is_no_verdict() {
    for fault in [Fault::Down, Fault::AnswerLost] {
        let deployment = on_loopback();
        let (_host, signer) = inline(SigningAlgorithm::Es256).await;
        let mut current = tokens(&deployment, &signer).await;
        for at in 0.. {
            deployment.storage.fail_at(at, fault);
            let signed = assertion(&deployment, &signer);
            let answer = refresh(&deployment, &current.refresh, &signed).await;
            let failed = !deployment.storage.is_to_fail();
            deployment.storage.heal();
            let expected = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE];
            assert!(expected.contains(&answer.status), "{fault:?} at {at}: {answer:?}");
            let signed = assertion(&deployment, &signer);
            current = Tokens::of(&refresh(&deployment, &current.refresh, &signed).await);
            if !failed {
                assert!(at >= 3, "a read, the mark and the rotation; not {at}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_grant_remembers_that_its_client_signs() {
    let deployment = on_loopback();
    let (host, signer) = inline(SigningAlgorithm::Es256).await;
    let first = tokens(&deployment, &signer).await;
    // Whoever could change the document could drop the keys, but not from this grant.
    host.say(json_answer(&document(&signer.client))).await;
    deployment.clock.advance(Duration::from_hours(1));
    let refused = deployment.refresh(&signer.client, &first.refresh).await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    let signed = assertion(&deployment, &signer);
    let refused = refresh(&deployment, &first.refresh, &signed).await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");

    let public = deployment.login(&signer.client).await;
    Tokens::of(&deployment.refresh(&signer.client, &public.refresh).await);
}
