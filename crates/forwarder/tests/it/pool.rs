//! One pool of connections to the backend.

use std::time::Duration;

use forwarder::Forwarder;
use http::Extensions;

use crate::support::{Backend, Wire, client_and_backend, front};

const GET: &str = "GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn connections_to_the_backend_are_used_again() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp/1 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    for number in 1..=3 {
        assert!(server.head().await.starts_with(&format!("get /mcp/{number} http/1.1\r\n")));
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(client.answer().await.1, "ok");
        client.send(&format!("GET /mcp/{} HTTP/1.1\r\nhost: h\r\n\r\n", number + 1)).await;
    }
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_is_not_used_again() {
    let (mut client, backend) = client_and_backend().await;
    for round in 0..50 {
        client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}").await;
        let mut server = backend.accept().await;
        server.head().await;
        server.take(2).await;
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        drop(server);
        let (head, body) = client.answer().await;
        assert_eq!(body, "ok", "{round} {head}");
    }
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_a_while() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url())
        .pool_idle_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let mut client = Wire::connect(front(forwarder, Extensions::new()).await).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send(OK).await;
    assert_eq!(client.answer().await.1, "ok");
    assert_eq!(server.rest().await, "");
}

#[tokio::test]
async fn only_so_many_unused_connections_are_kept() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).pool_max_idle(1).build().unwrap();
    let front = front(forwarder, Extensions::new()).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = Wire::connect(front).await;
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.head().await;
        busy.push((client, server));
    }
    for (client, server) in &mut busy {
        server.send(OK).await;
        assert_eq!(client.answer().await.1, "ok");
    }
    let (_, mut second) = busy.pop().unwrap();
    assert_eq!(second.rest().await, "", "the second one had no place left");
    let (mut client, mut first) = busy.pop().unwrap();
    client.send(GET).await;
    first.head().await;
}
