//! Codes (D3): once means once, and a failed attempt changes nothing.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use kv_storage::Sqlite;

use crate::support::{
    CHALLENGE, Deployment, Fault, REDIRECT, TestClock, Tokens, authorize_path, redemption,
};

#[tokio::test]
async fn a_login_leads_to_tokens_that_open_the_resource() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let code = deployment.code(&client).await;
    let answer = deployment.redeem(&client, &code).await;
    let tokens = Tokens::of(&answer);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["scope"], "openid");
    assert_eq!(tokens.expires_in, 3600);

    let call = deployment.call(&tokens.access).await;
    assert_eq!(call.status, StatusCode::OK);
    assert_eq!(call.body, format!("alice {client} [openid]"));
    assert!(!answer.body.contains("provider-"), "the provider's tokens stay here");
}

#[tokio::test]
async fn without_a_good_token_the_resource_is_closed() {
    let deployment = Deployment::new();
    let answer = deployment.get("/mcp").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    assert!(
        challenge.contains(
            "resource_metadata=\"https://proxy.example/.well-known/oauth-protected-resource/mcp\""
        ),
        "{challenge}"
    );
    assert_eq!(deployment.call("nonsense").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_access_token_ends_with_its_lifetime() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    // The principal is cached by now; its end counts all the same.
    deployment.clock.advance(Duration::from_secs(tokens.expires_in));
    // The client's clock started later: a token that it still believes in is one for us, too.
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    deployment.clock.advance(Duration::from_secs(5));
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_thief_without_the_verifier_changes_nothing() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let other = deployment.register().await;
    let code = deployment.code(&client).await;

    let honest = redemption(&client, &code);
    let with = |index: usize, value: &'static str| {
        let mut form = honest.map(|(name, value)| (name, value.to_owned()));
        value.clone_into(&mut form[index].1);
        form
    };
    let attempts = [
        (with(4, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX"), "invalid_grant"),
        (with(4, CHALLENGE), "invalid_grant"),
        (with(3, "http://127.0.0.1:7778/callback"), "invalid_grant"),
    ];
    for (form, error) in attempts {
        let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        deployment.post("/token", &form).await.assert_error(StatusCode::BAD_REQUEST, error);
    }
    deployment.redeem(&other, &code).await.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    deployment
        .redeem("nobody", &code)
        .await
        .assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    let without_verifier = deployment.post("/token", &honest[..4]).await;
    without_verifier.assert_error(StatusCode::BAD_REQUEST, "invalid_request");

    Tokens::of(&deployment.redeem(&client, &code).await);
}

#[tokio::test]
async fn a_replay_ends_the_grant_however_late_it_comes() {
    for late in [Duration::ZERO, Duration::from_hours(23)] {
        let deployment = Deployment::with_lifetimes(|lifetimes| {
            lifetimes.revocation_delay = Duration::ZERO;
            lifetimes.access_token = Duration::from_hours(24);
        });
        let client = deployment.register().await;
        let code = deployment.code(&client).await;
        let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
        deployment.clock.advance(late);
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);

        let replay = deployment.redeem(&client, &code).await;
        replay.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
        deployment
            .refresh(&client, &tokens.refresh)
            .await
            .assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    }
}

#[tokio::test]
async fn a_code_that_nobody_redeems_in_time_is_dead() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let code = deployment.code(&client).await;
    deployment.clock.advance(Duration::from_secs(301));
    deployment.redeem(&client, &code).await.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    deployment.clock.advance(Duration::from_mins(5));
    assert!(deployment.storage.keys("grants").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_simultaneous_redemptions_one_wins_and_the_grant_dies() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::wall();
    let storage = Sqlite::open(folder.path().join("state.sqlite")).await.unwrap();
    let deployment = Arc::new(Deployment::on(Arc::new(storage), clock, |builder| builder));
    for _ in 0..5 {
        let client = deployment.register().await;
        let code = deployment.code(&client).await;
        let attempts = (0..32).map(|_| {
            let (deployment, client, code) =
                (Arc::clone(&deployment), client.clone(), code.clone());
            tokio::spawn(async move { deployment.redeem(&client, &code).await })
        });
        let mut won = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            let answer = attempt.await.unwrap();
            if answer.status == StatusCode::OK {
                won.push(Tokens::of(&answer));
            } else {
                answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
            }
        }
        assert_eq!(won.len(), 1, "exactly one redemption wins");
        assert!(deployment.storage.keys("grants").await.is_empty(), "the losers are replays");
        let refresh = deployment.refresh(&client, &won[0].refresh).await;
        refresh.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    }
}

#[tokio::test]
async fn a_lost_answer_of_the_store_is_no_replay() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let code = deployment.code(&client).await;
    deployment.storage.fail_next("grants", Fault::AnswerLost);
    // The compare-and-swap happened; its attempt id tells that it was ours.
    let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_token_endpoint_takes_forms_with_each_parameter_once() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let code = deployment.code(&client).await;
    let honest = redemption(&client, &code);
    let mut twice = honest.to_vec();
    twice.push(("code", &code));
    let answer = deployment.post("/token", &twice).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
    let password = [("grant_type", "password"), ("client_id", &*client)];
    let answer = deployment.post("/token", &password).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    let json = http::Request::post("/token")
        .header("content-type", "application/json")
        .body(axum::body::Body::from("{}"))
        .unwrap();
    deployment.send(json).await.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
    let long = "x".repeat(70 * 1024);
    let answer = deployment.post("/token", &[("grant_type", &*long)]).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
    let long = "x".repeat(10 * 1024);
    deployment.redeem(&long, &code).await.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    assert_eq!(deployment.get("/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_confidential_client_must_prove_itself() {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let deployment = Deployment::new();
    let metadata = serde_json::json!({"redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_basic"});
    let registered = deployment.register_with(&metadata).await.json();
    let client = registered["client_id"].as_str().unwrap();
    let secret = registered["client_secret"].as_str().unwrap();
    let code = deployment.code(client).await;
    let form = redemption(client, &code);

    let without = deployment.post("/token", &form).await;
    without.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    let request = |pair: String| {
        crate::support::form_request("/token", &form)
            .header("authorization", format!("Basic {}", BASE64_STANDARD.encode(pair)))
            .body(crate::support::encoded(&form))
            .unwrap()
    };
    let wrong = deployment.send(request(format!("{client}:{secret}x"))).await;
    wrong.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    assert!(wrong.headers.contains_key("www-authenticate"));
    Tokens::of(&deployment.send(request(format!("{client}:{secret}"))).await);
}

#[tokio::test]
async fn twenty_devices_stay_logged_in_and_the_idlest_goes() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut devices = Vec::new();
    for _ in 0..21 {
        devices.push(deployment.login(&client).await);
        deployment.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(deployment.storage.keys("grants").await.len(), 20);
    let first = deployment.refresh(&client, &devices[0].refresh).await;
    first.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    Tokens::of(&deployment.refresh(&client, &devices[1].refresh).await);
}

#[tokio::test]
async fn scopes_are_cut_to_what_exists() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = crate::support::Browser::default();
    let path = authorize_path(&client, &[("scope", "admin profile")]);
    let page = browser.get(&deployment, &path).await;
    let form = [("request", &*page.field("request")), ("csrf", &page.field("csrf"))];
    let form = [form[0], form[1], ("action", "approve")];
    let sent = browser.post(&deployment, "/consent", &form).await;
    let state = crate::support::param(sent.location(), "state").unwrap();
    let back = browser.return_with_code(&deployment, &state).await;
    let code = crate::support::param(back.location(), "code").unwrap();
    let answer = deployment.redeem(&client, &code).await;
    assert_eq!(answer.json()["scope"], "openid");
}
