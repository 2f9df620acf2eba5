//! Streams end with their grant.

use std::{future::pending, sync::Arc};

use forwarder::{Ended, Forwarder, Liveness};
use futures_util::FutureExt;
use http::{Extensions, Response, StatusCode};
use tokio::sync::{Mutex, mpsc};

use crate::support::{Backend, Wire, client_and_backend_with, front, header};

const GET: &str = "GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n";
const POST: &str = "POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n";
const LISTEN: &str = "POST /mcp HTTP/1.1\r\nhost: h\r\nmcp-method: subscriptions/listen\r\n\
                      content-length: 0\r\n\r\n";

/// A grant that says what the test tells it to say.
fn grant() -> (mpsc::UnboundedSender<Ended>, Extensions) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let liveness = Liveness::new(move || {
        let receiver = Arc::clone(&receiver);
        async move {
            match receiver.lock().await.recv().await {
                Some(ended) => ended,
                None => pending().await,
            }
        }
        .boxed()
    });
    let mut extensions = Extensions::new();
    extensions.insert(liveness);
    (sender, extensions)
}

/// An open stream: the first event has arrived.
async fn stream(
    request: &str,
    content_type: &str,
) -> (Wire, Wire, mpsc::UnboundedSender<Ended>, Backend) {
    let (grant, extensions) = grant();
    let (mut client, backend) = client_and_backend_with(extensions).await;
    client.send(request).await;
    let mut server = backend.accept().await;
    server.head().await;
    server
        .send(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
    server.send_chunk("data: 1\n\n").await;
    client.head().await;
    assert_eq!(client.chunk().await, "data: 1\n\n");
    (client, server, grant, backend)
}

#[tokio::test]
async fn revocation_cuts_every_stream() {
    for (request, content_type) in [
        (GET, "text/event-stream"),
        (LISTEN, "text/event-stream"),
        (POST, "text/event-stream"),
        (POST, "application/json"),
        (GET, "application/octet-stream"),
    ] {
        let (mut client, mut server, grant, _backend) = stream(request, content_type).await;
        grant.send(Ended::Revoked).unwrap();
        assert_eq!(client.rest().await, "", "cut, without the last chunk that says complete");
        assert_eq!(server.rest().await, "", "the backend's request is closed");
    }
}

#[tokio::test]
async fn expiry_ends_listening_streams_cleanly() {
    for (request, content_type) in [
        (GET, "text/event-stream"),
        (GET, "Text/Event-Stream; charset=utf-8"),
        (LISTEN, "text/event-stream"),
    ] {
        let (mut client, mut server, grant, _backend) = stream(request, content_type).await;
        grant.send(Ended::Expired).unwrap();
        assert_eq!(client.chunk().await, "", "the last chunk");
        assert_eq!(server.rest().await, "", "the backend's request is closed");
    }
}

#[tokio::test]
async fn expiry_lets_answers_in_progress_finish() {
    for (request, content_type) in
        [(POST, "text/event-stream"), (POST, "application/json"), (GET, "application/octet-stream")]
    {
        let (mut client, mut server, grant, _backend) = stream(request, content_type).await;
        grant.send(Ended::Expired).unwrap();
        server.send_chunk("data: 2\n\n").await;
        assert_eq!(client.chunk().await, "data: 2\n\n");
        server.send_chunk("").await;
        assert_eq!(client.chunk().await, "");
    }
}

#[tokio::test]
async fn an_answer_that_outlives_its_token_is_still_cut_by_revocation() {
    let (mut client, mut server, grant, _backend) = stream(POST, "text/event-stream").await;
    grant.send(Ended::Expired).unwrap();
    server.send_chunk("data: 2\n\n").await;
    assert_eq!(client.chunk().await, "data: 2\n\n");
    grant.send(Ended::Revoked).unwrap();
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_server_that_stops_blames_no_token() {
    let (grant, extensions) = grant();
    let (mut client, backend) = client_and_backend_with(extensions).await;
    client.send(GET).await;
    let mut server = backend.accept().await;
    server.head().await;
    grant.send(Ended::Stopping).unwrap();
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(header(&head, "www-authenticate"), None);
    assert_eq!(header(&head, "retry-after"), Some("1"));
    assert!(body.contains("temporarily_unavailable"), "{body}");
}

#[tokio::test]
async fn whoever_waits_for_a_slow_backend_is_told() {
    for (request, ended) in [
        (GET, Ended::Revoked),
        (POST, Ended::Revoked),
        (POST, Ended::Overdue),
        (GET, Ended::Expired),
    ] {
        let (grant, extensions) = grant();
        let (mut client, backend) = client_and_backend_with(extensions).await;
        client.send(request).await;
        let mut server = backend.accept().await;
        server.head().await;
        grant.send(ended).unwrap();
        let (head, body) = client.answer().await;
        assert!(head.starts_with("http/1.1 401"), "{head}");
        assert_eq!(header(&head, "www-authenticate"), Some(r#"bearer error="invalid_token""#));
        assert!(body.contains("invalid_token"), "{body}");
        assert_eq!(server.rest().await, "", "the backend's request is closed");
    }
}

/// The guard in front knows where the way to a new token begins.
#[tokio::test]
async fn the_answer_to_an_ended_token_may_be_the_guards() {
    for (ended, expected) in [
        (Ended::Revoked, "get revoked"),
        (Ended::Expired, "get expired"),
        (Ended::Overdue, "get overdue"),
        (Ended::Stopping, "temporarily_unavailable"),
    ] {
        let backend = Backend::listen().await;
        let forwarder = Forwarder::builder(&backend.url())
            .unauthorized(|ended, method| {
                let text = format!("{method} {ended:?}").to_lowercase();
                Response::builder()
                    .status(StatusCode::UNAUTHORIZED)
                    .header("www-authenticate", "Bearer resource_metadata=\"there\"")
                    .body(text.into())
                    .unwrap()
            })
            .build()
            .unwrap();
        let (grant, extensions) = grant();
        let mut client = Wire::connect(front(forwarder, extensions).await).await;
        client.send(GET).await;
        let mut server = backend.accept().await;
        server.head().await;
        grant.send(ended).unwrap();
        let (head, body) = client.answer().await;
        assert!(body.contains(expected), "{body}");
        let challenge = header(&head, "www-authenticate");
        let stops = ended == Ended::Stopping;
        assert_eq!(challenge.is_none(), stops, "{head}");
        assert!(stops || challenge == Some(r#"bearer resource_metadata="there""#), "{head}");
    }
}
