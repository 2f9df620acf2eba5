//! What must work as well through what is in front as without it.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use end_to_end::{
    browser::Browser,
    eventually,
    mcp::{McpClient, Session, call, eras, text},
    serve::Settings,
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{front::Front, rig::Rig};

/// A message that nginx by itself does not let through.
const LARGE_MESSAGE: usize = 3 << 20;

/// A query that does not fit into 8 KB, the limit of nginx by itself.
const LONG_QUERY: usize = 20 * 1024;

/// Login, tools, streams and large messages, with `start` in front of the proxy.
pub(crate) async fn through(
    start: impl Fn(u16, SocketAddr, &Path) -> anyhow::Result<Front>,
) -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let settings = Settings::new()?;
    let behind = settings.listen();
    let base_url = format!("http://127.0.0.1:{port}");
    let rig = Rig::start(settings.behind(&base_url)).await?;
    let mut front = start(port, behind, place.path())?;
    reachable(&mut front, &base_url).await?;

    let mut browser = Browser::new()?;
    let client = McpClient::log_in(&rig.serve.mcp_endpoint(), &mut browser, &rig.alice).await?;
    for (era, version) in eras() {
        let session = client.connect(era).await.with_context(|| format!("{version}"))?;
        tools(&session).await.with_context(|| format!("{version}"))?;
        streams(&session).await.with_context(|| format!("{version}"))?;
        session.cancel().await?;
    }
    client.refresh().await?;

    let tokens = client.tokens().await?;
    let token = tokens["access_token"].as_str().context("no access token")?;
    heads(&base_url).await?;
    paths(&base_url, behind, token).await?;
    secrets_stay_out_of_the_log(&front, &browser, token)
}

async fn reachable(front: &mut Front, base_url: &str) -> anyhow::Result<()> {
    let http = end_to_end::http()?;
    let metadata = format!("{base_url}/.well-known/oauth-authorization-server");
    eventually("what is in front", async || {
        front.is_over() || http.get(&metadata).send().await.is_ok_and(|it| it.status().is_success())
    })
    .await?;
    if front.is_over() {
        bail!("it ended by itself: {}", front.said());
    }
    Ok(())
}

/// Tools answer, and know who asks.
async fn tools(session: &Session) -> anyhow::Result<()> {
    let large = "x".repeat(LARGE_MESSAGE);
    let echo = session.call_tool(call("echo", json!({"text": large}))).await?;
    assert_eq!(text(&echo).len(), LARGE_MESSAGE);
    let who = session.call_tool(call("whoami", json!({}))).await?;
    let who = who.structured_content.context("whoami is structured")?;
    assert_eq!(who["x-forwarded-preferred-username"], Value::from("alice"), "{who}");
    Ok(())
}

/// The progress of a call arrives before its result: nothing buffers.
async fn streams(session: &Session) -> anyhow::Result<()> {
    let peer = session.peer().clone();
    let countdown = call("countdown", json!({"steps": 5, "interval_ms": 300}));
    let result = tokio::spawn(async move { peer.call_tool(countdown).await });
    let listener = session.service();
    eventually("the first progress", async || !listener.progress().is_empty()).await?;
    ensure!(!result.is_finished(), "the progress came with the result: something buffers");
    assert_eq!(text(&result.await??), "Counted down 5 steps.");
    Ok(())
}

/// Long heads pass.
async fn heads(base_url: &str) -> anyhow::Result<()> {
    let long = "x".repeat(LONG_QUERY);
    let metadata = format!("{base_url}/.well-known/oauth-authorization-server?x={long}");
    let answer = end_to_end::http()?.get(metadata).send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    Ok(())
}

/// Paths arrive as they were sent: the answer is the same as without what is in front.
async fn paths(base_url: &str, behind: SocketAddr, token: &str) -> anyhow::Result<()> {
    let http = end_to_end::http()?;
    for path in ["/mcp%2Fx", "/mcp//x", "/mcp/%252e", "/mcp%5Cx", "/nothing%20here"] {
        let mut answers = Vec::new();
        for start in [base_url.to_owned(), format!("http://{behind}")] {
            let answer = http.get(format!("{start}{path}")).bearer_auth(token).send().await?;
            answers.push((answer.status(), answer.text().await?));
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    Ok(())
}

/// The access log says what was asked for, without what is secret in it.
fn secrets_stay_out_of_the_log(
    front: &Front,
    browser: &Browser,
    token: &str,
) -> anyhow::Result<()> {
    let log = front.log()?;
    assert!(log.contains("/auth/callback") && log.contains("/token"), "{log}");
    let secrets = browser
        .visited
        .iter()
        .flat_map(|url| url.query_pairs())
        .filter(|(name, _)| name == "code" || name == "state")
        .map(|(_, value)| value.into_owned());
    let secrets: Vec<String> = secrets.collect();
    assert!(secrets.len() > 1, "{:?}", browser.visited);
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log: {log}");
    }
    assert!(!log.contains(token), "{log}");
    Ok(())
}
