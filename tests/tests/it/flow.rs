//! The whole flow, with a real client.

use anyhow::Context as _;
use end_to_end::{
    browser::Browser,
    client::Client,
    eventually,
    mcp::{McpClient, call, eras, text},
    process::Launch,
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::alice;

#[tokio::test]
async fn rmcp_from_discovery_to_revocation() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    let demo = Launch::new().keep(state.path()).start().await?;
    let mut browser = Browser::new()?;
    let client = McpClient::log_in(&demo.mcp_endpoint, &mut browser, &alice(&demo)).await?;

    // The person saw our consent page before the provider's login page.
    let seen = |start: &str| browser.visited.iter().position(|url| url.as_str().starts_with(start));
    let consent = seen(&format!("{}/authorize", demo.issuer())).context("no consent page")?;
    let login = seen(&demo.provider).context("no login page")?;
    assert!(consent < login, "{:?}", browser.visited);

    use_every_tool(&client).await?;

    let before = client.tokens().await?;
    client.refresh().await?;
    let after = client.tokens().await?;
    assert_ne!(before["access_token"], after["access_token"]);
    assert_ne!(before["refresh_token"], after["refresh_token"]);
    use_every_tool(&client).await?;

    let demo = demo.restart().await?;
    use_every_tool(&client).await?;
    assert_eq!(client.tokens().await?, after, "the token of before the restart was good enough");

    let raw = Client::register(&demo.mcp_endpoint).await?;
    let token = after["refresh_token"].as_str().context("no refresh token")?;
    let id = client.id().await?;
    let revoked = raw.post("revocation_endpoint", &[("token", token), ("client_id", &id)]).await?;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text);
    let access = after["access_token"].as_str().context("no access token")?;
    eventually("the access token to be refused", async || {
        raw.status_with(access).await.is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    for (era, version) in eras() {
        assert!(client.connect(era).await.is_err(), "{version} got in with a revoked token");
    }
    assert!(client.refresh().await.is_err(), "a revoked refresh token was good");
    Ok(())
}

/// Lists the tools and calls each, in both protocol eras.
async fn use_every_tool(client: &McpClient) -> anyhow::Result<()> {
    for (era, version) in eras() {
        let session = client.connect(era).await.with_context(|| format!("{version}"))?;
        let info = session.peer_info().context("the server said nothing of itself")?;
        assert_eq!(info.protocol_version, version);

        let tools = session.list_all_tools().await?;
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["countdown", "echo", "whoami"], "{version}");

        let echo = session.call_tool(call("echo", json!({"text": "héllo"}))).await?;
        assert_eq!(text(&echo), "héllo", "{version}");

        let who = session.call_tool(call("whoami", json!({}))).await?;
        let who = who.structured_content.context("whoami is structured")?;
        assert_eq!(who["x-forwarded-preferred-username"], Value::from("alice"), "{version}: {who}");

        streams(&session).await.with_context(|| format!("{version}"))?;
        session.cancel().await?;
    }
    Ok(())
}

/// The progress of a call arrives before its result.
async fn streams(session: &end_to_end::mcp::Session) -> anyhow::Result<()> {
    let peer = session.peer().clone();
    let countdown = call("countdown", json!({"steps": 5, "interval_ms": 300}));
    let result = tokio::spawn(async move { peer.call_tool(countdown).await });
    let listener = session.service();
    eventually("the first progress", async || !listener.progress().is_empty()).await?;
    assert!(!result.is_finished(), "the progress came with the result: something buffers");
    assert_eq!(text(&result.await??), "Counted down 5 steps.");
    assert_eq!(listener.progress(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    Ok(())
}

#[tokio::test]
async fn two_people_are_two_principals() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    for user in &demo.users {
        let intent = end_to_end::browser::Intent::LogIn(user.clone());
        let client = McpClient::log_in(&demo.mcp_endpoint, &mut Browser::new()?, &intent).await?;
        let [_, (newest, _)] = eras();
        let session = client.connect(newest).await?;
        let who = session.call_tool(call("whoami", json!({}))).await?;
        let who = who.structured_content.context("whoami is structured")?;
        assert_eq!(who["x-forwarded-preferred-username"], Value::from(user.name.clone()));
        session.cancel().await?;
    }
    assert!(demo.users.len() >= 2);
    Ok(())
}
