//! The examples, through a whole login.

use dev_idp::{IdTokenFault, User};
use end_to_end::{
    browser::{Browser, Intent},
    client::{Answer, Client},
    mcp::{self, McpClient},
};
use http::{StatusCode, header};
use serde_json::json;

#[path = "../../examples/axum.rs"]
#[expect(dead_code, reason = "nobody calls its main here")]
mod axum_example;
#[path = "../../examples/rmcp.rs"]
#[expect(dead_code, reason = "nobody calls its main here")]
mod rmcp_example;

use axum_example::support as axum_support;
use rmcp_example::support as rmcp_support;

fn log_in_as(user: &User) -> Intent {
    Intent::LogIn(end_to_end::User { name: user.username.clone(), password: user.password.clone() })
}

#[tokio::test]
async fn axum_greets_who_logged_in() {
    let running = axum_support::start(0, axum_example::app).await.unwrap();
    let url = format!("{}/hello", running.base_url);
    let client = Client::register(&url).await.unwrap();
    let mut browser = Browser::new().unwrap();
    let tokens = client.log_in(&mut browser, &log_in_as(&User::alice())).await.unwrap();

    let http = end_to_end::http().unwrap();
    let greeting = http.get(&url).bearer_auth(&tokens.access).send().await.unwrap();
    let greeting = Answer::read(greeting).await.unwrap();
    assert_eq!(
        greeting.text,
        format!("Hello Alice Liddell, you are user-alice at {}.", running.provider.issuer())
    );
    for token in ["nonsense", &tokens.refresh] {
        let refused = http.get(&url).bearer_auth(token).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{token}");
        assert!(refused.headers().contains_key(header::WWW_AUTHENTICATE));
    }

    let refreshed = client.refresh(&tokens.refresh).await.unwrap().tokens().unwrap();
    let again = http.get(&url).bearer_auth(&refreshed.access).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}

#[tokio::test]
async fn axum_lets_in_only_verified_addresses_of_the_domain() {
    let running = axum_support::start(0, axum_example::app).await.unwrap();
    let client = Client::register(&format!("{}/hello", running.base_url)).await.unwrap();
    let mut browser = Browser::new().unwrap();
    // His address is in the domain, but the provider does not vouch for it.
    assert!(client.log_in(&mut browser, &log_in_as(&User::bob())).await.is_err());
}

#[tokio::test]
async fn a_login_with_a_bad_id_token_ends_without_a_code() {
    let running = axum_support::start(0, axum_example::app).await.unwrap();
    let client = Client::register(&format!("{}/hello", running.base_url)).await.unwrap();
    for fault in [IdTokenFault::WrongSignature, IdTokenFault::WrongNonce, IdTokenFault::Absent] {
        running.provider.misbehave().set(|switches| switches.id_token = Some(fault));
        let mut browser = Browser::new().unwrap();
        let outcome = client.log_in(&mut browser, &log_in_as(&User::alice())).await;
        assert!(outcome.is_err(), "{fault:?}");
    }
    running.provider.misbehave().reset();
    let mut browser = Browser::new().unwrap();
    client.log_in(&mut browser, &log_in_as(&User::alice())).await.unwrap();
}

#[tokio::test]
async fn rmcp_tools_know_who_calls() {
    let running = rmcp_support::start(0, rmcp_example::app).await.unwrap();
    let url = format!("{}/mcp", running.base_url);
    for (user, name) in [(User::alice(), "Alice Liddell"), (User::bob(), "Bob Baumeister")] {
        let mut browser = Browser::new().unwrap();
        let client = McpClient::log_in(&url, &mut browser, &log_in_as(&user)).await.unwrap();
        for (era, version) in mcp::eras() {
            let session = client.connect(era).await.unwrap();
            let result = session.call_tool(mcp::call("greet", json!({}))).await.unwrap();
            assert_eq!(mcp::text(&result), format!("Hello {name}!"), "{version}");
            session.cancel().await.unwrap();
        }
    }
}
