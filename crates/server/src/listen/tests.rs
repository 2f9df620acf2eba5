use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::ConnectInfo,
    routing::get,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
};

use super::*;

/// Longer than anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    port: u16,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

async fn start(router: Router, limits: Limits) -> Running {
    let sockets = Sockets::loopback(0).await.unwrap();
    let port = sockets.port();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(sockets, router, limits, stop.clone()));
    Running { port, stop, ended }
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap()
}

/// All that comes until the other side closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("closed in time");
    String::from_utf8(bytes).unwrap()
}

fn hello() -> Router {
    Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
    )
}

#[tokio::test]
async fn every_loopback_address_answers_and_sees_its_peer() {
    let sockets = Sockets::loopback(0).await.unwrap();
    let addresses: Vec<SocketAddr> =
        sockets.listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    assert!(addresses.contains(&SocketAddr::new(LOOPBACK[0], sockets.port())));
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));

    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(sockets, hello(), Limits::default(), stop.clone()));
    for address in addresses {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(&address.ip().to_string()), "{answer}");
    }
    stop.cancel();
    timeout(DEADLINE, ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_port_is_an_error_on_either_address() {
    for address in LOOPBACK {
        let Ok(other) = TcpListener::bind(SocketAddr::new(address, 0)).await else { continue };
        let port = other.local_addr().unwrap().port();
        let error = Sockets::loopback(port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

#[tokio::test]
async fn unfinished_heads_are_closed() {
    let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
    let running = start(hello(), limits).await;
    // Nothing at all, half a request, and half an HTTP/2 preface.
    for sent in ["", "GET / HTTP/1.1\r\nhost: loc", "PRI * HT"] {
        let mut stream = connect(running.port).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{sent:?}: {answer}");
    }
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let limits = Limits { head: Duration::from_millis(50), ..Limits::default() };
    let slow = get(|| async {
        sleep(Duration::from_millis(200)).await;
        "at last"
    });
    let running = start(Router::new().route("/", slow), limits).await;
    let mut stream = connect(running.port).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("at last"));
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

/// A router whose answer is what the test sends, and the test's end of it.
fn streaming() -> (Router, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel::<&'static str>(1);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let stream = get(move || async move {
        let chunks = futures_stream(receiver);
        Body::from_stream(chunks)
    });
    (Router::new().route("/", stream), sender)
}

fn futures_stream(
    receiver: Arc<tokio::sync::Mutex<mpsc::Receiver<&'static str>>>,
) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
    futures_util::stream::unfold(receiver, |receiver| async move {
        let chunk = receiver.lock().await.recv().await?;
        Some((Ok(Bytes::from_static(chunk.as_bytes())), receiver))
    })
}

#[tokio::test]
async fn stopping_finishes_an_answer_under_way() {
    let (router, chunks) = streaming();
    let running = start(router, Limits { drain: DEADLINE, ..Limits::default() }).await;
    let mut stream = connect(running.port).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    chunks.send("first").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();

    running.stop.cancel();
    chunks.send("last").await.unwrap();
    drop(chunks);
    assert!(read_to_end(&mut stream).await.contains("last"));
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, running.port)).await.is_err());
}

#[tokio::test]
async fn stopping_cuts_what_does_not_end() {
    let (router, chunks) = streaming();
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let running = start(router, limits).await;
    let mut stream = connect(running.port).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    chunks.send("first").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();

    let stopped = Instant::now();
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
    assert!(stopped.elapsed() >= limits.drain);
    // No last chunk: the client can tell that the answer is not whole.
    assert!(!read_to_end(&mut stream).await.ends_with("0\r\n\r\n"));
    drop(chunks);
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_stopping() {
    let running = start(hello(), Limits { drain: DEADLINE, ..Limits::default() }).await;
    let mut idle = connect(running.port).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    let _silent = connect(running.port).await;
    let stopped = Instant::now();
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
    assert!(stopped.elapsed() < DEADLINE / 2);
}

/// An answer without end whose bytes come as fast as they are taken.
fn flood() -> Router {
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    Router::new().route(
        "/flood",
        get(async move || {
            let chunks = futures_util::stream::repeat(Ok::<_, Infallible>(chunk));
            Body::from_stream(chunks)
        }),
    )
}

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn ask(stream: &mut TcpStream) {
    stream.write_all(HELLO).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_room() {
    let running = start(hello(), Limits { connections: 2, ..Limits::default() }).await;
    let (mut one, mut two) = (connect(running.port).await, connect(running.port).await);
    ask(&mut one).await;
    ask(&mut two).await;
    let mut three = connect(running.port).await;
    three.write_all(HELLO).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(300), three.read(&mut byte)).await;
    assert!(early.is_err(), "there was no room for it: {early:?}");
    drop(one);
    timeout(DEADLINE, three.read_exact(&mut byte)).await.expect("room in time").unwrap();
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn silent_and_half_open_connections_make_room_by_themselves() {
    let limits = Limits { connections: 4, head: Duration::from_millis(50), ..Limits::default() };
    let running = start(hello(), limits).await;
    let mut loris = Vec::new();
    for sent in
        ["", "GET / HTTP/1.1\r\nx: ", "POST / HTTP/1.1\r\nhost: a", "PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut stream = connect(running.port).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        loris.push(stream);
    }
    let mut honest = connect(running.port).await;
    timeout(DEADLINE, ask(&mut honest)).await.expect("answered in time");
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let limits = Limits { connections: 1, stall: Duration::from_millis(200), ..Limits::default() };
    let running = start(flood().merge(hello()), limits).await;
    let mut lazy = connect(running.port).await;
    lazy.write_all(b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // Its place is free for another although it never hung up.
    let mut next = connect(running.port).await;
    timeout(DEADLINE, ask(&mut next)).await.expect("answered in time");
    drop(lazy);
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_silent_stream_is_not_idle() {
    let (router, chunks) = streaming();
    let tiny = Duration::from_millis(30);
    let limits = Limits { head: tiny, idle: tiny, stall: tiny, ..Limits::default() };
    let running = start(router, limits).await;
    let mut stream = connect(running.port).await;
    stream.write_all(HELLO).await.unwrap();
    chunks.send("first").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    sleep(tiny * 10).await;
    chunks.send("last").await.unwrap();
    drop(chunks);
    assert!(read_to_end(&mut stream).await.contains("last"));
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_number() {
    let running = start(hello(), Limits::default()).await;
    let fields = |number: usize, value: &str| {
        let fields: Vec<_> = (0..number).map(|n| format!("x-{n}: {value}\r\n")).collect();
        fields.concat()
    };
    let most = connection::MAX_HEADERS - 2;
    let long = "v".repeat(8 * 1024);
    for (fields, expected) in [
        (fields(most, "v"), " 200 "),
        (fields(most + 1, "v"), " 431 "),
        (fields(7, &long), " 200 "),
        (fields(9, &long), " 431 "),
    ] {
        let mut stream = connect(running.port).await;
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
        // The server may close before all of it was sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        assert!(answer.lines().next().is_some_and(|line| line.contains(expected)), "{answer}");
    }
    running.stop.cancel();
    timeout(DEADLINE, running.ended).await.unwrap().unwrap();
}

mod http2;
mod refusals;
