//! What crosses, and what does not, as it stands on the wire.

use std::sync::Arc;

use forwarder::{Forwarder, Identity};
use http::{Extensions, HeaderName};

use crate::support::{Backend, Wire, client_and_backend, front, header};

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");

#[derive(Clone)]
struct User(&'static str);

/// A front that says `X-Forwarded-User: alice`.
async fn alice() -> (Wire, Backend) {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url())
        .resource_path("/public/mcp")
        .identity(Arc::new(|request: &Extensions| match request.get::<User>() {
            Some(User(name)) => Identity::new().claim(USER, name),
            None => Identity::new(),
        }))
        .identity_headers([HeaderName::from_static("x-auth-groups")])
        .build()
        .unwrap();
    let mut extensions = Extensions::new();
    extensions.insert(User("alice"));
    (Wire::connect(front(forwarder, extensions).await).await, backend)
}

/// The request line and headers of what the backend gets, sorted.
async fn received(backend: &Backend) -> Vec<String> {
    let head = backend.accept().await.head().await;
    let mut lines: Vec<String> = head.trim_end().lines().map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

#[tokio::test]
async fn the_backend_gets_exactly_this() {
    let (mut client, backend) = alice().await;
    client
        .send(
            "GET /public/mcp/tools?a=%2F..%2e&b=%zz&&c=+'? HTTP/1.1\r\n\
             Host: public.example\r\n\
             Authorization: Bearer secret\r\n\
             Connection: keep-alive, X-Forwarded-User, X-Hop\r\n\
             Cookie: a=1; __Host-oidc-proxy-tx=secret; b=2\r\n\
             Cookie: oidc-proxy-consent=secret\r\n\
             Forwarded: for=10.0.0.1\r\n\
             Keep-Alive: timeout=5\r\n\
             Mcp-Protocol-Version: 2025-11-25\r\n\
             Proxy-Authorization: Basic c2VjcmV0\r\n\
             TE: trailers\r\n\
             Upgrade: websocket\r\n\
             X-Auth-Groups: admin\r\n\
             X_Auth_Groups: admin\r\n\
             X-Forwarded-For: 10.0.0.1\r\n\
             X-Forwarded-User: root\r\n\
             X_Forwarded_User: root\r\n\
             x-forwarded-USER: root\r\n\
             x_FORWARDED-user: root\r\n\
             X-Hop: 1\r\n\r\n",
        )
        .await;
    let host = format!("host: {}", backend.address());
    assert_eq!(
        received(&backend).await,
        [
            "get /mcp/tools?a=%2f..%2e&b=%zz&&c=+'? http/1.1",
            "cookie: a=1; b=2",
            &host,
            "mcp-protocol-version: 2025-11-25",
            "x-forwarded-user: alice",
        ]
    );
}

#[tokio::test]
async fn queries_keep_their_bytes() {
    for query in ["", "?", "?a=%2E%2e/%2F", "?A=b%c3%A9&&=", "?x=http://h/../y"] {
        let (mut client, backend) = client_and_backend().await;
        client.send(&format!("GET /mcp{query} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let line = backend.accept().await.raw_line().await;
        assert_eq!(line, format!("GET /mcp{query} HTTP/1.1"));
    }
}

/// Two lengths in one message are how a request is hidden in another one: the backend gets one
/// message with one framing, and the hidden request as its body.
#[tokio::test]
async fn a_request_hidden_by_two_framings_stays_a_body() {
    for framing in [
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nTransfer_Encoding: identity",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding",
    ] {
        let (mut client, backend) = client_and_backend().await;
        let hidden = "GET /admin HTTP/1.1\r\nhost: h\r\nx-forwarded-user: root\r\n\r\n";
        client
            .send(&format!(
                "POST /mcp HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
                hidden.len()
            ))
            .await;
        let mut server = backend.accept().await;
        let head = server.head().await;
        assert_eq!(header(&head, "content-length"), None, "{head}");
        assert_eq!(head.matches("transfer").count(), 1, "{head}");
        assert_eq!(server.chunk().await, hidden);
        assert_eq!(server.chunk().await, "");
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert_eq!(client.answer().await.1, "ok");
        drop(client);
        assert_eq!(server.rest().await, "", "nothing follows");
    }
}

/// A body has no meaning with GET: of unknown length, it is not passed on, and hides nothing.
#[tokio::test]
async fn a_request_hidden_in_the_body_of_a_get_is_dropped() {
    let (mut client, backend) = client_and_backend().await;
    let hidden = "GET /admin HTTP/1.1\r\nhost: h\r\n\r\n";
    client
        .send(&format!(
            "GET /mcp HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n\
             {:x}\r\n{hidden}\r\n0\r\n\r\n",
            hidden.len()
        ))
        .await;
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    assert_eq!(client.answer().await.1, "ok");
    drop(client);
    assert_eq!(server.rest().await, "", "nothing follows");
}

#[tokio::test]
async fn ambiguous_framing_is_refused_by_the_listener() {
    for framing in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
    ] {
        let (mut client, _backend) = client_and_backend().await;
        client.send(&format!("POST /mcp HTTP/1.1\r\nhost: h\r\n{framing}\r\n\r\nabcde")).await;
        assert!(client.head().await.starts_with("http/1.1 400"), "{framing}");
    }
}

#[tokio::test]
async fn the_client_gets_exactly_this() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server
        .send(
            "HTTP/1.1 200 Looks Fine\r\n\
             Access-Control-Allow-Origin: *\r\n\
             Access-Control-Expose-Headers: x\r\n\
             Alt-Svc: h3=\":443\"\r\n\
             Clear-Site-Data: \"*\"\r\n\
             Connection: x-hop, keep-alive\r\n\
             Content-Length: 2\r\n\
             Content-Type: application/json\r\n\
             Keep-Alive: timeout=5\r\n\
             Set-Cookie: __Host-oidc-proxy=fixed; Path=/\r\n\
             Set-Cookie: b=2\r\n\
             Strict-Transport-Security: max-age=0\r\n\
             X-Hop: 1\r\n\
             X-Stays: 2\r\n\r\n{}",
        )
        .await;
    let (head, body) = client.answer().await;
    let mut lines: Vec<_> = head.trim_end().lines().collect();
    lines.retain(|line| !line.starts_with("date: "));
    lines[1..].sort_unstable();
    let expected =
        ["http/1.1 200 ok", "content-length: 2", "content-type: application/json", "x-stays: 2"];
    assert_eq!(lines, expected);
    assert_eq!(body, "{}");
}

#[tokio::test]
async fn a_backend_that_asks_for_credentials_is_a_bad_gateway() {
    for answer in [
        "401 Unauthorized",
        "401 Unauthorized\r\nwww-authenticate: Bearer resource_metadata=\"http://evil/\"",
        "403 Forbidden\r\nwww-authenticate: Basic",
        "200 OK\r\nwww-authenticate: Basic",
        "407 Proxy Authentication Required\r\nproxy-authenticate: Basic",
    ] {
        let (mut client, backend) = client_and_backend().await;
        client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut server = backend.accept().await;
        server.head().await;
        server.send(&format!("HTTP/1.1 {answer}\r\ncontent-length: 6\r\n\r\nsecret")).await;
        let (head, body) = client.answer().await;
        assert!(head.starts_with("http/1.1 502"), "{answer}: {head}");
        assert_eq!(header(&head, "www-authenticate"), None);
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        assert!(body.contains("backend_requires_authentication"), "{body}");
        assert!(!body.contains("secret"), "{body}");
    }
}

/// How Starlette answers to a missing slash: with its own address.
#[tokio::test]
async fn redirects_do_not_lead_to_the_backend() {
    for (location, expected) in [
        ("http://BACKEND/mcp/?a=b", Some("/public/mcp/?a=b")),
        ("/mcp/x", Some("/public/mcp/x")),
        ("https://docs.example/%7Ex", Some("https://docs.example/%7ex")),
        ("http://BACKEND/admin", None),
        ("/admin", None),
    ] {
        let (mut client, backend) = alice().await;
        let address = backend.address().to_string();
        client.send("GET /public/mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut server = backend.accept().await;
        server.head().await;
        let location = location.replace("BACKEND", &address);
        server
            .send(&format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\n\
                 content-length: 0\r\n\r\n"
            ))
            .await;
        let (head, body) = client.answer().await;
        assert_eq!(header(&head, "location"), expected, "{location}");
        let status = if expected.is_some() { "http/1.1 307" } else { "http/1.1 502" };
        assert!(head.starts_with(status), "{head}");
        assert!(!format!("{head}{body}").contains(&address), "{head}{body}");
    }
}

#[tokio::test]
async fn a_created_resource_that_nobody_can_reach_loses_its_address_only() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send("HTTP/1.1 201 Created\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("http/1.1 201"), "{head}");
    assert_eq!(header(&head, "location"), None);
}
