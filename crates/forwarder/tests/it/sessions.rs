//! `Mcp-Session-Id` belongs to one principal.

use forwarder::{Forwarder, SessionSeal};
use http::Extensions;

use crate::support::{Backend, Wire, front, header};

#[derive(Clone)]
struct User(&'static str);

/// Seals by writing the user's name in front of the id, which is all that the forwarder can tell.
async fn front_for(user: &'static str, backend: &Backend) -> Wire {
    fn name(request: &Extensions) -> &'static str {
        request.get::<User>().map_or("nobody", |User(name)| name)
    }
    let forwarder = Forwarder::builder(&backend.url())
        .session_seal(SessionSeal::new(
            |request, session| format!("{}.{session}", name(request)),
            |request, sealed| {
                let session = sealed.strip_prefix(name(request))?.strip_prefix('.')?;
                Some(session.to_owned())
            },
        ))
        .build()
        .unwrap();
    let mut extensions = Extensions::new();
    extensions.insert(User(user));
    Wire::connect(front(forwarder, extensions).await).await
}

#[tokio::test]
async fn a_session_id_is_sealed_on_its_way_out_and_opened_on_its_way_in() {
    let backend = Backend::listen().await;
    let mut client = front_for("alice", &backend).await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send("HTTP/1.1 200 OK\r\nmcp-session-id: s1\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(header(&client.head().await, "mcp-session-id"), Some("alice.s1"));

    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\nMcp-Session-Id: alice.s1\r\n\r\n").await;
    assert_eq!(header(&server.head().await, "mcp-session-id"), Some("s1"));
}

#[tokio::test]
async fn another_users_session_does_not_exist() {
    let backend = Backend::listen().await;
    for session in ["alice.s1", "s1", "", "alice.s1, bob.s1"] {
        let mut client = front_for("bob", &backend).await;
        for method in ["GET", "POST", "DELETE"] {
            client
                .send(&format!(
                    "{method} /mcp HTTP/1.1\r\nhost: h\r\nmcp-session-id: {session}\r\n\
                     content-length: 0\r\n\r\n"
                ))
                .await;
            let (head, body) = client.answer().await;
            assert!(head.starts_with("http/1.1 404"), "{head}");
            assert!(body.contains("session_not_found"), "{body}");
        }
    }
}

/// A backend that reads `_` as `-` would see the raw id; one that takes the last of two as well.
#[tokio::test]
async fn the_seal_cannot_be_walked_around() {
    let backend = Backend::listen().await;
    let mut client = front_for("bob", &backend).await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\nMcp_Session_Id: s1\r\n\r\n").await;
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert!(!head.contains("session"), "{head}");
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.head().await;

    client
        .send(
            "GET /mcp HTTP/1.1\r\nhost: h\r\nmcp-session-id: bob.s1\r\n\
             mcp-session-id: alice.s1\r\n\r\n",
        )
        .await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    assert!(body.contains("invalid_request"), "{body}");
}

#[tokio::test]
async fn a_backend_with_two_session_ids_is_a_bad_gateway() {
    let backend = Backend::listen().await;
    let mut client = front_for("alice", &backend).await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server
        .send(
            "HTTP/1.1 200 OK\r\nmcp-session-id: s1\r\nmcp-session-id: s2\r\n\
             content-length: 0\r\n\r\n",
        )
        .await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 502") && !head.contains("s2"), "{head}");
    assert!(body.contains("backend_answer_invalid"), "{body}");
}
