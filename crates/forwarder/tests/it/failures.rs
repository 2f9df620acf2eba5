//! What a client is told when there is no answer from the backend.

use axum::body::Body;
use forwarder::Forwarder;
use http::{Extensions, Request};
use http_body_util::{BodyExt, Limited};
use tower::ServiceExt;

use crate::support::{Backend, Wire, client_and_backend, front, header, within};

/// The error of a JSON answer with this status.
async fn refused(client: &mut Wire, status: u16) -> String {
    let (head, body) = client.answer().await;
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}{body}");
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    let error = body.strip_prefix(r#"{"error":""#).expect("an error");
    error.split('"').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_backend_that_is_down_is_a_bad_gateway_without_an_address() {
    let (mut client, backend) = client_and_backend().await;
    let address = backend.address();
    drop(backend);
    // The expectation must not be met: nobody would read the upload.
    client
        .send("POST /mcp HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 502"), "{head}");
    assert!(body.contains("backend_unreachable"), "{body}");
    assert!(!body.contains(&address.port().to_string()) && !body.contains("127."), "{body}");
}

#[tokio::test]
async fn a_backend_that_says_nothing_or_nonsense_is_a_bad_gateway() {
    for answer in ["", "HTTP/1.1 200 O", "220 mail.example ESMTP\r\n\r\n"] {
        let (mut client, backend) = client_and_backend().await;
        client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let mut server = backend.accept().await;
        server.head().await;
        server.send(answer).await;
        drop(server);
        assert_eq!(refused(&mut client, 502).await, "backend_unreachable");
    }
}

#[tokio::test]
async fn a_backend_that_switches_protocols_is_a_bad_gateway() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert_eq!(header(&head, "upgrade"), None);
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        .await;
    assert_eq!(refused(&mut client, 502).await, "backend_answer_invalid");
}

#[tokio::test]
async fn ambiguous_targets_never_reach_the_backend() {
    let (mut client, backend) = client_and_backend().await;
    for target in [
        "/mcp/../admin",
        "/mcp/%2e%2E/admin",
        "/mcp/..;/admin",
        "/mcp%2fadmin",
        "/mcp/%5cadmin",
        "/mcp\\admin",
        "//mcp",
        "/mcp//x",
        "/mcp/%00",
        "/mcp/%0d%0ax",
        "http://other.example/mcp/../admin",
    ] {
        client.send(&format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        assert_eq!(refused(&mut client, 400).await, "invalid_request", "{target}");
    }
    client.send("OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(refused(&mut client, 400).await, "invalid_request");
    for target in ["/", "/mcpx", "/MCP", "/admin", "/x/mcp"] {
        client.send(&format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        assert_eq!(refused(&mut client, 404).await, "not_found", "{target}");
    }
    client.send("TRACE /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(refused(&mut client, 501).await, "invalid_request");

    client.send("GET /mcp/ok HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let first = backend.accept().await.raw_line().await;
    assert_eq!(first, "GET /mcp/ok HTTP/1.1", "the backend saw nothing of all that");
}

#[tokio::test]
async fn tunnels_are_refused() {
    let (mut client, _backend) = client_and_backend().await;
    client.send("CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n").await;
    assert_eq!(refused(&mut client, 501).await, "invalid_request");
}

#[tokio::test]
async fn an_absolute_target_goes_to_our_backend_only() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET http://other.example/mcp?q HTTP/1.1\r\nhost: other.example\r\n\r\n").await;
    let head = backend.accept().await.head().await;
    assert!(head.starts_with("get /mcp?q http/1.1\r\n"), "{head}");
    assert!(!head.contains("other.example"), "{head}");
}

/// A limit of the server in front shows up as an error of the body.
#[tokio::test]
async fn an_upload_over_the_limit_is_too_large() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    let chunks = ["12345", "67890"].map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    let request = Request::post("/mcp").body(Limited::new(body, 7)).unwrap();
    let answer = within(forwarder.oneshot(request)).await.unwrap();
    assert_eq!(answer.status(), 413);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(br#"{"error":"request_too_large""#), "{body:?}");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_the_clients_fault() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    let chunks = [Ok("12345"), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    let request = Request::post("/mcp").body(body).unwrap();
    let answer = within(forwarder.oneshot(request)).await.unwrap();
    assert_eq!(answer.status(), 400);
}

/// As the README has it: the forwarder is an axum fallback.
#[tokio::test]
async fn it_serves_below_an_axum_router() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    let router = axum::Router::new()
        .route("/healthz", axum::routing::get(|| async { "ok" }))
        .fallback_service(forwarder);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut client = Wire::connect(address).await;
    client.send("GET /mcp/x?y HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(backend.accept().await.raw_line().await, "GET /mcp/x?y HTTP/1.1");
}

#[tokio::test]
async fn a_root_resource_serves_every_path() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).resource_path("/").build().unwrap();
    let front = front(forwarder, Extensions::new()).await;
    for (asked, received) in [("/", "/mcp"), ("/x", "/mcp/x"), ("/mcp", "/mcp/mcp")] {
        let mut client = Wire::connect(front).await;
        client.send(&format!("GET {asked} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let line = backend.accept().await.raw_line().await;
        assert_eq!(line, format!("GET {received} HTTP/1.1"));
    }
}
