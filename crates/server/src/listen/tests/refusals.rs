//! Refusals that come before the body was read.

use axum::routing::post;
use tokio::sync::Notify;

use super::*;

/// What `stream` says until it is silent for good: up to `end`, or closed.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(end) {
        match timeout(DEADLINE, stream.read(&mut buffer)).await.expect("an answer in time") {
            Ok(read @ 1..) => answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
            _ => break,
        }
    }
    answer
}

/// Refuses without a look at the body, and tells `refused`.
fn refusing(refused: Arc<Notify>) -> Router {
    let refuse = async move || {
        refused.notify_one();
        (http::StatusCode::FORBIDDEN, "no")
    };
    Router::new().route("/", post(refuse))
}

fn head(length: usize, more: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{more}\r\n")
}

#[tokio::test]
async fn a_connection_outlives_a_refusal_that_came_before_the_body() {
    let refused = Arc::new(Notify::new());
    let running = start(refusing(Arc::clone(&refused)), Limits::default()).await;
    let mut stream = connect(running.port).await;
    for _ in 0..3 {
        stream.write_all(head(5, "").as_bytes()).await.unwrap();
        // As with clients that write head and body apart: the refusal is there first.
        timeout(DEADLINE, refused.notified()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let answer = read_until(&mut stream, "no").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_too_long_or_too_slow_to_read_ends_the_connection_and_says_so() {
    let running = start(refusing(Arc::default()), Limits::default()).await;
    let long = usize::try_from(unread::MOST_BYTES).unwrap() + 1;
    let chunked = "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{long:x}\r\n{}", "a".repeat(long));
    for (sent, what) in [
        (head(long, ""), "announced as too long"),
        (format!("{chunked}{chunk}"), "too long"),
        (head(5, ""), "never sent"),
        (head(5, "expect: 100-continue\r\n"), "not asked for"),
    ] {
        let mut stream = connect(running.port).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "no").await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{what}: {answer}");
        assert!(answer.contains("connection: close"), "{what}: {answer}");
    }
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}
