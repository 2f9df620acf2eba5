//! HTTP/2 by hand, frame by frame: no client of good manners goes past these limits.

use std::{convert::Infallible, future::ready};

use axum::body::Body;
use futures_util::{StreamExt, stream};

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// `GET http://a/`, in HPACK: three entries of the static table, and an `:authority`.
const REQUEST: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// The error code of a reset or a farewell.
    fn code(&self) -> u32 {
        let at = if self.kind == GO_AWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

struct Peer(TcpStream);

impl Peer {
    async fn new(port: u16) -> Self {
        let mut stream = connect(port).await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self(stream)
    }

    /// `false` if the server is gone.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// `None` at the end of the connection. Settings are acknowledged.
    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        timeout(DEADLINE, self.0.read_exact(&mut head)).await.expect("a frame in time").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        let received = Frame { kind: head[3], flags: head[4], stream, payload };
        if received.kind == SETTINGS && received.flags & ACK == 0 {
            self.send(&frame(SETTINGS, ACK, 0, &[])).await;
        }
        Some(received)
    }

    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }
}

fn ask(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &REQUEST)
}

async fn end(running: Running) {
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_connection_has_so_many_requests_at_a_time() {
    let never = Router::new().route("/", get(std::future::pending::<&'static str>));
    let running = start(never, Limits { drain: Duration::ZERO, ..Limits::default() }).await;
    let mut peer = Peer::new(running.port).await;
    for number in 0..=connection::MAX_STREAMS {
        assert!(peer.send(&ask(2 * number + 1)).await);
    }
    let refused = peer.until(|frame| frame.kind == RESET).await.expect("one too many");
    assert_eq!((refused.stream, refused.code()), (2 * connection::MAX_STREAMS + 1, REFUSED_STREAM));
    end(running).await;
}

#[tokio::test]
async fn requests_that_are_begun_and_given_up_end_the_connection() {
    let running = start(hello(), Limits { drain: Duration::ZERO, ..Limits::default() }).await;
    let mut peer = Peer::new(running.port).await;
    let mut burst = Vec::new();
    for number in 0..2_000 {
        let stream = 2 * number + 1;
        burst.extend(ask(stream));
        burst.extend(frame(RESET, 0, stream, &CANCEL.to_be_bytes()));
    }
    // The server may hang up in the middle of it.
    peer.send(&burst).await;
    if let Some(farewell) = peer.until(|frame| frame.kind == GO_AWAY).await {
        assert_eq!(farewell.code(), ENHANCE_YOUR_CALM);
    }
    // Whatever could be read: the connection is over, and others are served.
    while peer.next().await.is_some() {}
    let mut other = connect(running.port).await;
    super::ask(&mut other).await;
    end(running).await;
}

#[tokio::test]
async fn headers_are_bounded_in_size() {
    let running = start(hello(), Limits { drain: Duration::ZERO, ..Limits::default() }).await;
    let mut peer = Peer::new(running.port).await;
    let settings = peer.until(|frame| frame.kind == SETTINGS).await.unwrap();
    let limit = settings.payload.chunks(6).find(|entry| entry[..2] == [0, 6]).unwrap();
    let limit = u32::from_be_bytes(limit[2..].try_into().unwrap());
    assert_eq!(limit, 64 * 1024);

    // Five fields of 16 KiB each, in five frames: `a: xxx…`.
    let mut block = REQUEST.to_vec();
    for _ in 0..5 {
        // A literal with a new name of one byte; its value's length is 127 + (16_384 - 127).
        block.extend([0x00, 0x01, b'a', 0x7f, 0x81, 0x7f]);
        block.extend(vec![b'x'; 127 + 1 + (0x7f << 7)]);
    }
    let mut parts = block.chunks(16_000).peekable();
    let first = parts.next().unwrap();
    peer.send(&frame(HEADERS, END_STREAM, 1, first)).await;
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { END_HEADERS } else { 0 };
        if !peer.send(&frame(CONTINUATION, flags, 1, part)).await {
            break;
        }
    }
    // A refusal without a body, a reset, a farewell or the end: never the handler's answer.
    let answer = peer.until(|frame| [HEADERS, RESET, GO_AWAY].contains(&frame.kind)).await;
    assert!(answer.is_none_or(|frame| frame.kind != HEADERS || frame.flags & END_STREAM != 0));
    end(running).await;
}

#[tokio::test]
async fn an_answer_that_the_client_grants_no_window_ends_the_connection() {
    let limits = Limits { stall: Duration::from_millis(100), ..Limits::default() };
    let running = start(hello(), limits).await;
    let mut peer = Peer::new(running.port).await;
    // INITIAL_WINDOW_SIZE
    peer.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    peer.send(&ask(1)).await;
    peer.until(|frame| frame.kind == HEADERS).await.expect("the head of an answer");
    assert!(peer.until(|frame| frame.kind == DATA).await.is_none(), "there is no window");
    end(running).await;
}

#[tokio::test]
async fn a_stream_that_has_nothing_to_say_is_no_answer_that_waits() {
    let silent = Router::new().route(
        "/",
        get(async || {
            let first = stream::once(ready(Ok::<_, Infallible>("first")));
            Body::from_stream(first.chain(stream::pending()))
        }),
    );
    let stall = Duration::from_millis(50);
    let limits = Limits { stall, drain: Duration::ZERO, ..Limits::default() };
    let running = start(silent, limits).await;
    let mut peer = Peer::new(running.port).await;
    peer.send(&ask(1)).await;
    peer.until(|frame| frame.kind == DATA).await.expect("the first event");
    let over = timeout(stall * 10, peer.until(|frame| frame.kind != SETTINGS)).await;
    assert!(over.is_err(), "{over:?}");
    end(running).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let idle = Duration::from_millis(100);
    // A connection is looked at when its first request is overdue, and then when it is idle.
    let limits = Limits { idle, head: Duration::from_secs(2), ..Limits::default() };
    let running = start(hello(), limits).await;
    let mut peer = Peer::new(running.port).await;
    peer.send(&ask(1)).await;
    peer.until(|frame| frame.kind == DATA).await.expect("an answer");
    peer.until(|frame| frame.kind == GO_AWAY).await.expect("a farewell");
    end(running).await;
}
