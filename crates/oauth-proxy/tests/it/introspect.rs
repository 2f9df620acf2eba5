//! Introspection (RFC 7662): resource servers learn of their own tokens, and nobody of anything else.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use oauth_proxy::ResourceServer;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{Answer, Browser, Deployment, Tokens, authorize_path, param};

const SECRET: &str = "the resource server's secret";
const INACTIVE: &str = r#"{"active":false}"#;

fn server(id: &str) -> ResourceServer {
    ResourceServer::new(id, &SecretString::from(SECRET))
}

/// Two resources, each with a resource server of its own.
fn deployment() -> Deployment {
    Deployment::with(|builder| {
        builder
            .resource("/mcp")
            .resource("/other")
            .resource_server(server("rs"))
            .resource_server(server("other").resource("https://proxy.example/other/"))
    })
}

async fn ask(deployment: &Deployment, id: &str, secret: &str, token: &str) -> Answer {
    let form = [("token", token), ("client_id", id), ("client_secret", secret)];
    deployment.post("/introspect", &form).await
}

async fn answer(deployment: &Deployment, id: &str, token: &str) -> Answer {
    let answer = ask(deployment, id, SECRET, token).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    answer
}

#[tokio::test]
async fn a_good_token_is_described_to_its_resource_server() {
    let deployment = deployment();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let access = answer(&deployment, "rs", &tokens.access).await.json();
    assert_eq!(
        access,
        json!({
            "active": true, "token_type": "Bearer", "scope": "openid", "client_id": client,
            "sub": "alice", "aud": "https://proxy.example/mcp", "iss": "https://proxy.example",
            "iat": 1_800_000_000_u64, "exp": 1_800_003_605_u64, "jti": access["jti"],
        })
    );
}

#[tokio::test]
async fn whatever_is_not_good_for_it_is_inactive_and_no_more_is_said() {
    let deployment = deployment();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let mut forged = tokens.access.clone();
    forged.pop();
    let cases = [
        ("other", tokens.access.as_str(), "another audience"),
        ("rs", &tokens.refresh, "a refresh token, which nobody should call with"),
        ("rs", "nonsense", "nonsense"),
        ("rs", &forged, "a forged signature"),
        ("rs", "r1.key.grant.0.AAAA", "a forged refresh token"),
    ];
    for (id, token, case) in cases {
        assert_eq!(answer(&deployment, id, token).await.body, INACTIVE, "{case}");
    }
    let revoked = deployment.login(&client).await;
    deployment.post("/revoke", &[("token", &*revoked.refresh), ("client_id", &*client)]).await;
    assert_eq!(answer(&deployment, "rs", &revoked.access).await.body, INACTIVE, "revoked");
    let rotated = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    deployment.clock.advance(Duration::from_secs(121));
    // Looking at a replayed token is no replay.
    assert_eq!(answer(&deployment, "rs", &tokens.refresh).await.body, INACTIVE, "used long ago");
    Tokens::of(&deployment.refresh(&client, &rotated.refresh).await);
    deployment.clock.advance(Duration::from_hours(1) + Duration::from_secs(5));
    assert_eq!(answer(&deployment, "rs", &tokens.access).await.body, INACTIVE, "expired");
}

#[tokio::test]
async fn a_code_that_waits_has_no_good_tokens_and_scopes_are_those_of_the_token() {
    let deployment =
        Deployment::with(|builder| builder.extra_scopes(["files"]).resource_server(server("rs")));
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let path = authorize_path(&client, &[("scope", "openid files")]);
    let page = browser.get(&deployment, &path).await;
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let sent = browser.post(&deployment, "/consent", &form).await;
    let state = param(sent.location(), "state").unwrap();
    let back = browser.return_with_code(&deployment, &state).await;
    let code = param(back.location(), "code").unwrap();
    let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*tokens.refresh),
        ("client_id", &*client),
        ("scope", "openid"),
    ];
    let narrow = Tokens::of(&deployment.post("/token", &form).await);
    assert_eq!(answer(&deployment, "rs", &narrow.access).await.json()["scope"], "openid");
    assert_eq!(answer(&deployment, "rs", &tokens.access).await.json()["scope"], "openid files");
}

#[tokio::test]
async fn only_configured_resource_servers_may_ask() {
    let deployment = deployment();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    for (id, secret) in [("rs", "wrong"), ("rs", ""), ("nobody", SECRET), (&client, SECRET)] {
        let refused = ask(&deployment, id, secret, &tokens.access).await;
        refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
        assert!(refused.headers.contains_key("www-authenticate"));
    }
    let form = [("token", tokens.access.as_str())];
    let request = |pair: &str| {
        crate::support::form_request("/introspect", &form)
            .header("authorization", format!("Basic {}", BASE64_STANDARD.encode(pair)))
            .body(crate::support::encoded(&form))
            .unwrap()
    };
    let answer = deployment.send(request(&format!("rs:{SECRET}"))).await;
    assert_eq!(answer.json()["active"], true);
    let answer = deployment.send(request("rs:wrong")).await;
    answer.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    let missing = [("client_id", "rs"), ("client_secret", SECRET)];
    let answer = deployment.post("/introspect", &missing).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
}

#[tokio::test]
async fn an_outage_is_no_verdict() {
    let deployment = deployment();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    deployment.storage.fail("grants");
    let answer = ask(&deployment, "rs", SECRET, &tokens.access).await;
    answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
}

#[tokio::test]
async fn metadata_names_the_endpoint_if_there_is_one() {
    let name = "/.well-known/oauth-authorization-server";
    let metadata = deployment().get(name).await.json();
    assert_eq!(metadata["introspection_endpoint"], "https://proxy.example/introspect");
    assert_eq!(
        metadata["introspection_endpoint_auth_methods_supported"],
        json!(["client_secret_basic", "client_secret_post"])
    );
    let without = Deployment::new();
    assert_eq!(without.get(name).await.json().get("introspection_endpoint"), None);
    let answer = ask(&without, "rs", SECRET, "token").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_resource_server_that_could_not_be_told_apart_is_refused() {
    let short = SecretString::from("x".repeat(15));
    let cases = [
        (vec![server("rs"), server("rs")], "given twice"),
        (vec![server("")], "id is empty"),
        (vec![ResourceServer::new("rs", &short)], "shorter than 16 bytes"),
        (vec![server("rs").resource("https://elsewhere.example/mcp")], "https://proxy.example/mcp"),
    ];
    for (servers, why) in cases {
        let error = crate::support::build_error(|builder| {
            servers.into_iter().fold(builder, oauth_proxy::OAuthProxyBuilder::resource_server)
        });
        assert!(error.contains(why), "{error}");
    }
    let debug = format!("{:?}", server("rs"));
    assert!(!debug.contains(SECRET) && !debug.contains("hash"), "{debug}");
}
