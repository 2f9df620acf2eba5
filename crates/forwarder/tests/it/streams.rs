//! Streams stay streams, in both directions, and end when either side ends.

use std::{convert::Infallible, task::Poll, time::Duration};

use axum::{Router, body::Body, extract::DefaultBodyLimit, routing::post};
use bytes::Bytes;
use forwarder::Forwarder;
use futures_util::stream::poll_fn;
use http::{Extensions, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower::ServiceExt;

use crate::support::{Backend, client_and_backend, front, header, within};

const EVENT_STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn events_arrive_before_the_next_one_is_sent() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send(EVENT_STREAM).await;
    assert!(client.head().await.starts_with("http/1.1 200"), "the head before the first event");
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        server.send_chunk(event).await;
        assert_eq!(client.chunk().await, event);
    }
    server.send_chunk("").await;
    assert_eq!(client.chunk().await, "");
}

#[tokio::test]
async fn uploads_arrive_before_the_next_chunk_is_sent() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
    for chunk in ["one", "two"] {
        client.send_chunk(chunk).await;
        assert_eq!(server.chunk().await, chunk);
    }
    client.send_chunk("").await;
    assert_eq!(server.chunk().await, "");
}

#[tokio::test]
async fn the_answer_comes_through_while_the_upload_goes_on() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send_chunk("question 1").await;
    let mut server = backend.accept().await;
    server.head().await;
    assert_eq!(server.chunk().await, "question 1");
    server.send(EVENT_STREAM).await;
    server.send_chunk("answer 1").await;
    client.head().await;
    assert_eq!(client.chunk().await, "answer 1");
    client.send_chunk("question 2").await;
    assert_eq!(server.chunk().await, "question 2");
    server.send_chunk("answer 2").await;
    assert_eq!(client.chunk().await, "answer 2");
}

/// A backend that refuses a large upload without reading it.
#[tokio::test]
async fn an_early_refusal_reaches_the_client() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 100000000\r\n\r\nbegin").await;
    let mut server = backend.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        .await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert_eq!(body, "big");
}

/// The same, but the client does not stop sending, and the backend is gone with a reset. Rounds,
/// because it is a race between the answer and the reset.
#[tokio::test]
async fn an_early_refusal_survives_the_upload_it_refuses() {
    for _ in 0..50 {
        let backend = Backend::listen().await;
        let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
        // Lives as long as the upload does.
        let (alive, mut gone) = mpsc::channel::<Infallible>(1);
        let block = Bytes::from(vec![b'x'; 1 << 16]);
        let endless = poll_fn(move |_| {
            let _alive = &alive;
            Poll::Ready(Some(Ok::<_, Infallible>(block.clone())))
        });
        let request = Request::post("/mcp").body(Body::from_stream(endless)).unwrap();
        let asking = tokio::spawn(forwarder.oneshot(request));

        let mut server = backend.accept().await;
        server.head().await;
        server.take(1 << 16).await;
        server.send("HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await;
        drop(server);

        let answer = within(asking).await.unwrap().unwrap();
        assert_eq!(answer.status(), 413);
        assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), "big");
        assert_eq!(within(gone.recv()).await, None, "the upload is dropped, nothing hangs");
    }
}

#[tokio::test]
async fn a_client_that_stops_waiting_closes_the_backends_request() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}").await;
    let mut server = backend.accept().await;
    server.head().await;
    assert_eq!(server.take(2).await, "{}");
    drop(client);
    assert_eq!(server.rest().await, "");
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_closes_the_backends_request() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send(EVENT_STREAM).await;
    server.send_chunk("data: 1\n\n").await;
    client.head().await;
    client.chunk().await;
    drop(client);
    assert_eq!(server.rest().await, "");
}

#[tokio::test]
async fn a_client_that_leaves_an_upload_closes_the_backends_request() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nbegin").await;
    let mut server = backend.accept().await;
    assert_eq!(header(&server.head().await, "content-length"), Some("10"));
    assert_eq!(server.take(5).await, "begin");
    drop(client);
    assert_eq!(server.rest().await, "", "no invented rest of the upload");
}

#[tokio::test]
async fn a_backend_that_breaks_off_breaks_the_answer_off() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send(EVENT_STREAM).await;
    server.send_chunk("data: 1\n\n").await;
    client.head().await;
    assert_eq!(client.chunk().await, "data: 1\n\n");
    drop(server);
    assert_eq!(client.rest().await, "", "cut, without the last chunk that says complete");
}

/// Nothing is stored on the way: what the backend does not read, the client cannot send.
#[tokio::test]
async fn a_backend_that_does_not_read_stalls_the_client() {
    const MORE_THAN_ALL_SOCKET_BUFFERS: usize = 128 << 20;
    let (mut client, backend) = client_and_backend().await;
    let size = MORE_THAN_ALL_SOCKET_BUFFERS;
    client.send(&format!("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n")).await;
    let mut server = backend.accept().await;
    server.head().await;
    let upload = vec![b'x'; size];
    let mut writing = client.take_writing();
    let sending = writing.write_all(&upload);
    let sent = tokio::time::timeout(Duration::from_secs(1), sending).await;
    assert!(sent.is_err(), "128 MiB went into something that buffers");
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    const SIZE: usize = 24 << 20;
    let router = Router::new()
        .route("/mcp", post(|body: Body| async { body }))
        .layer(DefaultBodyLimit::disable());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let forwarder = Forwarder::builder(&url).build().unwrap();

    let sent: Vec<u8> = (0..=250).cycle().take(SIZE).collect();
    let request = Request::post("/mcp").body(Body::from(sent.clone())).unwrap();
    let answer = within(forwarder.oneshot(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let received = within(answer.into_body().collect()).await.unwrap().to_bytes();
    assert!(received == sent, "{} of {SIZE} bytes", received.len());
}

#[tokio::test]
async fn expectations_are_met_when_the_backend_is_there() {
    let (mut client, backend) = client_and_backend().await;
    client
        .send("POST /mcp HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    let mut server = backend.accept().await;
    assert_eq!(client.head().await, "http/1.1 100 continue\r\n\r\n");
    client.send("{}").await;
    let head = server.head().await;
    assert_eq!(header(&head, "expect"), None);
    assert_eq!(server.take(2).await, "{}");
}

/// Answers without a body keep the length they speak of, and the connection stays in step.
#[tokio::test]
async fn answers_without_a_body_stay_in_step() {
    let (mut client, backend) = client_and_backend().await;
    client.send("HEAD /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    assert!(server.head().await.starts_with("head /mcp "));
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n").await;
    assert_eq!(header(&client.head().await, "content-length"), Some("42"));

    for status in ["204 No Content", "304 Not Modified", "202 Accepted\r\ncontent-length: 0"] {
        client.send("DELETE /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
        server.head().await;
        server.send(&format!("HTTP/1.1 {status}\r\n\r\n")).await;
        assert!(client.head().await.starts_with(&format!("http/1.1 {}", &status[..3])));
    }
}

/// Some servers answer 411 to a POST that says nothing about its body.
#[tokio::test]
async fn an_empty_post_says_so() {
    let (mut client, backend) = client_and_backend().await;
    client.send("POST /mcp HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n").await;
    let head = backend.accept().await.head().await;
    assert_eq!(header(&head, "content-length"), Some("0"));
}

/// An answer that ends with its connection is passed on as it comes, and ends.
#[tokio::test]
async fn answers_of_unknown_length_end() {
    let (mut client, backend) = client_and_backend().await;
    client.send("GET /mcp HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut server = backend.accept().await;
    server.head().await;
    server.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
    assert!(client.head().await.starts_with("http/1.1 200"));
    assert_eq!(client.chunk().await, "until the end");
    drop(server);
    assert_eq!(client.chunk().await, "");
}

#[tokio::test]
async fn trailers_and_informational_answers_end_at_the_forwarder() {
    let (mut client, backend) = client_and_backend().await;
    client
        .send(
            "POST /mcp HTTP/1.1\r\nhost: h\r\nte: trailers\r\ntrailer: x-forwarded-user\r\n\
             transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-forwarded-user: root\r\n\r\n",
        )
        .await;
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert_eq!((header(&head, "te"), header(&head, "trailer")), (None, None));
    assert_eq!(server.chunk().await, "{}");
    assert_eq!(server.chunk().await, "", "the last chunk, with nothing before its empty line");
    server
        .send(
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
             HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
        )
        .await;
    assert!(client.head().await.starts_with("http/1.1 200"));
    assert_eq!(client.chunk().await, "ok");
    assert_eq!(client.chunk().await, "");
}

#[tokio::test]
async fn http2_clients_stream_and_cancel_too() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    let front = front(forwarder, Extensions::new()).await;
    let stream = TokioIo::new(TcpStream::connect(front).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);

    let (upload, mut chunks) = mpsc::channel::<&'static str>(1);
    let body = StreamBody::new(poll_fn(move |cx| {
        let frame = |text: &'static str| Ok::<_, Infallible>(Frame::data(Bytes::from(text)));
        chunks.poll_recv(cx).map(|chunk| chunk.map(frame))
    }));
    let request = Request::post("http://public.example/mcp?q")
        .header("cookie", "a=1")
        .header("cookie", "__Host-oidc-proxy-tx=secret")
        .header("cookie", "b=2")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(client.send_request(request));

    upload.send("one").await.unwrap();
    let mut server = backend.accept().await;
    let head = server.head().await;
    assert!(head.starts_with("post /mcp?q http/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some(backend.address().to_string().as_str()));
    assert_eq!(header(&head, "cookie"), Some("a=1; b=2"));
    assert_eq!(server.chunk().await, "one");
    upload.send("two").await.unwrap();
    assert_eq!(server.chunk().await, "two");

    server.send(EVENT_STREAM).await;
    server.send_chunk("data: 1\n\n").await;
    let mut answer = within(answer).await.unwrap().unwrap();
    let frame = within(answer.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
    drop(answer);
    drop(upload);
    server.rest().await;
}

/// Over HTTP/1.1 trailers that nobody announced are lost anyway; HTTP/2 would carry them.
#[tokio::test]
async fn http2_clients_get_no_trailers() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    let front = front(forwarder, Extensions::new()).await;
    let stream = TokioIo::new(TcpStream::connect(front).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);

    let request = Request::get("http://public.example/mcp").body(Body::empty()).unwrap();
    let asking = tokio::spawn(client.send_request(request));
    let mut server = backend.accept().await;
    server.head().await;
    server.send(EVENT_STREAM).await;
    server.send("2\r\nok\r\n0\r\nset-cookie: a=1\r\n\r\n").await;
    let answer = within(asking).await.unwrap().unwrap();
    let body = within(answer.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers(), None);
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn http2_clients_that_stop_waiting_close_the_backends_request() {
    let backend = Backend::listen().await;
    let forwarder = Forwarder::builder(&backend.url()).build().unwrap();
    let front = front(forwarder, Extensions::new()).await;
    let stream = TokioIo::new(TcpStream::connect(front).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);

    let request = Request::get("http://public.example/mcp").body(Body::empty()).unwrap();
    let asking = tokio::spawn(client.send_request(request));
    let mut server = backend.accept().await;
    server.head().await;
    asking.abort();
    assert_eq!(server.rest().await, "");
}
