//! Size and time.

use std::time::{Duration, Instant};

use outbound_http::{Client, Error};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::get;

const LIMIT: usize = 64 * 1024;
/// 256 KiB of zeros, compressed to 289 bytes.
const BOMB: &[u8] = include_bytes!("zeros.gz");
const BOMB_LENGTH: usize = 256 * 1024;

fn client(max_body: usize) -> Client {
    Client::builder().max_body(max_body).build().expect("a client")
}

async fn serving(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    server
}

/// Accepts one connection, reads the head of the request, then does as told.
async fn raw_server<F>(answer: impl FnOnce(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 1024];
        let _length = stream.read(&mut head).await.expect("a request");
        answer(stream).await;
    });
    url
}

#[tokio::test]
async fn a_body_of_just_the_limit_passes_and_one_byte_more_does_not() {
    for (length, passes) in [(0, true), (LIMIT, true), (LIMIT + 1, false)] {
        let server = serving(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; length])).await;
        match client(LIMIT).send(get(&server.uri())).await {
            Ok(response) => assert!(passes && response.body().len() == length, "{length}"),
            Err(Error::TooLarge { limit, .. }) => assert!(!passes && limit == LIMIT, "{length}"),
            Err(other) => panic!("{length}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_body_without_end_is_given_up_at_the_limit() {
    let url = raw_server(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut written = stream.write_all(head).await;
        while written.is_ok() {
            written = stream.write_all(b"4\r\nxxxx\r\n").await;
        }
    })
    .await;
    let error = client(LIMIT).send(get(&url)).await.expect_err("endless");
    assert!(matches!(error, Error::TooLarge { limit: LIMIT, .. }), "{error:?}");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_compressed_body_is_measured_decoded() {
    let bomb = ResponseTemplate::new(200)
        .insert_header("content-encoding", "gzip")
        .set_body_bytes(BOMB.to_vec());
    let server = serving(bomb).await;
    let response = client(BOMB_LENGTH).send(get(&server.uri())).await.expect("it fits");
    assert_eq!(response.body().len(), BOMB_LENGTH);
    let error = client(BOMB_LENGTH - 1).send(get(&server.uri())).await.expect_err("a bomb");
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn the_deadline_is_for_the_whole_answer() {
    let silent = raw_server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let dripping = raw_server(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        let mut written = stream.write_all(head).await;
        while written.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            written = stream.write_all(b"x").await;
        }
    })
    .await;
    for url in [silent, dripping] {
        let limit = Duration::from_millis(100);
        let client = Client::builder().timeout(limit).build().expect("a client");
        let start = Instant::now();
        let error = client.send(get(&url)).await.expect_err("too slow");
        assert!(matches!(error, Error::Timeout { .. }) && error.is_temporary(), "{error:?}");
        assert!(start.elapsed() >= limit);
    }
}
