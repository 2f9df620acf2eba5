//! A backend that listens on a socket in the file system.

use axum::{Router, extract::Request, http::HeaderMap, response::Redirect, routing::get};
use forwarder::Forwarder;
use http::Extensions;
use tokio::net::UnixListener;

use crate::support::{Wire, front, header};

/// The socket and whose directory it is in.
fn place() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("mcp.sock").to_str().unwrap().to_owned();
    (directory, socket)
}

async fn client(socket: &str) -> Wire {
    let backend = format!("unix:{socket}:/mcp");
    let forwarder = Forwarder::builder(&backend).build().unwrap();
    assert!(format!("{forwarder:?}").contains(&backend));
    Wire::connect(front(forwarder, Extensions::new()).await).await
}

#[tokio::test]
async fn requests_go_through_a_unix_socket() {
    let (_directory, socket) = place();
    let app = Router::new()
        .route(
            "/mcp/echo",
            get(|headers: HeaderMap, request: Request| async move {
                format!("{} {}", headers["host"].to_str().unwrap(), request.uri())
            }),
        )
        .route("/mcp/away", get(|| async { Redirect::temporary("http://localhost/mcp/echo") }));
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut client = client(&socket).await;
    client.send("GET /mcp/echo?a=%20 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "localhost /mcp/echo?a=%20");

    client.send("GET /mcp/away HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (head, _) = client.answer().await;
    assert_eq!(header(&head, "location"), Some("/mcp/echo"));
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_a_bad_gateway_that_does_not_name_it() {
    let (_directory, socket) = place();
    let mut client = client(&socket).await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 502"), "{head}");
    assert!(body.contains("backend_unreachable") && !body.contains("mcp.sock"), "{body}");
}
