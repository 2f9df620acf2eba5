//! What passes between client and backend, and what does not (D12).

use end_to_end::{
    browser::{Browser, Intent},
    client::{Answer, Client},
    process::{Demo, Launch},
};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{alice, logged_in};

/// A request with a token, a body and more headers.
async fn post(
    client: &Client,
    token: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> anyhow::Result<Answer> {
    let mut request = end_to_end::http()?
        .post(&client.resource)
        .bearer_auth(token)
        .header("accept", "application/json, text/event-stream")
        .json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await?).await
}

#[tokio::test]
async fn nobody_says_for_himself_who_he_is() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let honest = client.call(&tokens.access, "whoami", json!({})).await?.text().await?;
    assert!(honest.contains("alice"), "{honest}");
    for name in [
        "x-forwarded-user",
        "X-Forwarded-User",
        "x_forwarded_user",
        "x-forwarded-groups",
        "x-forwarded-user-issuer",
        "x-forwarded-anything",
        "forwarded",
    ] {
        let request = client.call_request(&tokens.access, "whoami", &json!({}));
        let answer = Answer::read(request.header(name, "mallory").send().await?).await?;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert_eq!(answer.text, honest, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_is_its_owners_alone() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let initialize = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "end-to-end", "version": "0"},
        },
    });
    let answer = post(&client, &tokens.access, &[], &initialize).await?;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let session = answer.header("mcp-session-id").to_owned();
    assert!(!session.is_empty(), "no session was begun");

    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let own = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let answer = post(&client, &tokens.access, &own, &initialized).await?;
    assert!(answer.status.is_success(), "{}: {}", answer.status, answer.text);
    let answer = post(&client, &tokens.access, &own, &list).await?;
    assert!(answer.text.contains("countdown"), "{}: {}", answer.status, answer.text);

    // The same person by another client, another person by the same client, nobody's.
    let (other_client, other_tokens) = logged_in(&demo).await?;
    let bob = Intent::LogIn(demo.user("bob"));
    let bobs = client.log_in(&mut Browser::new()?, &bob).await?;
    for (client, token) in [(&other_client, &other_tokens.access), (&client, &bobs.access)] {
        let answer = post(client, token, &own, &list).await?;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
    }
    let made_up = [("mcp-session-id", "made-up"), ("mcp-protocol-version", "2025-11-25")];
    let answer = post(&client, &tokens.access, &made_up, &list).await?;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
    // And after a new login of the same person by the same client it is still there.
    let again = client.log_in(&mut Browser::new()?, &alice(&demo)).await?;
    let answer = post(&client, &again.access, &own, &list).await?;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    Ok(())
}

/// Sends a request line as it is, which no HTTP library would.
async fn raw_status(demo: &Demo, path: &str, token: &str) -> anyhow::Result<u16> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let host = demo.issuer().trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(host).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Accept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    // `HTTP/1.1 400` is enough of the answer.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(String::from_utf8_lossy(&head[9..]).parse()?)
}

#[tokio::test]
async fn a_path_cannot_leave_its_resource() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (_, tokens) = logged_in(&demo).await?;
    for path in [
        "/mcp/../admin",
        "/mcp/%2e%2e/admin",
        "/mcp/%2E./admin",
        "/mcp/a%2fb",
        "/mcp/a%5cb",
        "/mcp//a",
        "/mcp/a%00",
    ] {
        let status = raw_status(&demo, path, &tokens.access).await?;
        assert_eq!(status, 400, "{path}");
    }
    // Whole segments: this is another path, not below the resource.
    let status = raw_status(&demo, "/mcpx", &tokens.access).await?;
    assert_eq!(status, 404);
    Ok(())
}

#[tokio::test]
async fn the_backend_says_nothing_of_cookies_and_origins() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let request = end_to_end::http()?.request(Method::DELETE, &client.resource);
    let request = request.bearer_auth(&tokens.access).header("origin", "https://inspector.example");
    let answer = Answer::read(request.send().await?).await?;
    assert_ne!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers.get_all("access-control-allow-origin").iter().count(), 1);
    assert_eq!(answer.header("set-cookie"), "");
    Ok(())
}
