//! Hosts that are not there, and answers that are none.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use kv_storage::{ErrorKind, KeyValue, Postgres, Ttl};
use test_servers::Postgres as Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::{chain, refused, schema};

/// What becomes of a client's messages.
const PASS: u8 = 0;
const SWALLOW: u8 = 1;
const ANSWER_WITHOUT_ROWS: u8 = 2;

/// `CommandComplete` and `ReadyForQuery`.
const NO_ROWS: &[u8] = b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I";

/// A way to a server on which things happen.
struct Way {
    url: String,
    mode: Arc<AtomicU8>,
    /// Whoever goes it is cut off when this changes.
    cut: watch::Sender<()>,
}

impl Way {
    async fn to(server: &Server, url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = url.replace(&format!(":{}/", server.port()), &format!(":{port}/"));
        let (mode, server) = (Arc::new(AtomicU8::new(PASS)), server.port());
        let way = Self { url, mode: Arc::clone(&mode), cut: watch::Sender::new(()) };
        let cut = way.cut.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mode, mut cut) = (Arc::clone(&mode), cut.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        () = pass(client, server, &mode) => {}
                    }
                });
            }
        });
        way
    }

    fn set(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, server: u16, mode: &AtomicU8) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut sent, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let passed = tokio::select! {
            read = from_client.read(&mut sent) => {
                let Ok(length @ 1..) = read else { return };
                let is_query = sent[0] == b'Q';
                match mode.load(Ordering::SeqCst) {
                    SWALLOW => Ok(()),
                    ANSWER_WITHOUT_ROWS if is_query => to_client.write_all(NO_ROWS).await,
                    _ => to_server.write_all(&sent[..length]).await,
                }
            }
            read = from_server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                to_client.write_all(&answered[..length]).await
            }
        };
        if passed.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_host_that_is_gone_hears_so() {
    let (server, url) = schema();
    let way = Way::to(&server, &format!("{url}&connections=1")).await;
    let store = Arc::new(Postgres::open(&way.url).await.unwrap());
    // Nobody answers any more, and nobody refuses either.
    way.set(SWALLOW);
    way.cut.send_replace(());
    let mut reading = JoinSet::new();
    // More than get their turn before they give up.
    for _ in 0..6 {
        let store = Arc::clone(&store);
        reading.spawn(async move { store.get("c", "k").await });
    }
    for outcome in reading.join_all().await {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
        assert!(error.to_string().contains("the server cannot be reached"), "{error}");
    }
    refused(&way.url, ErrorKind::Unavailable, "the server cannot be reached; check host").await;
    way.set(PASS);
    assert_eq!(store.get("c", "k").await.unwrap(), None);
}

#[tokio::test]
async fn a_host_without_an_address_is_named() {
    // No part of a name has 64 letters, so nobody is asked for it.
    let host = format!("{}.test", "a".repeat(64));
    let url = format!("postgres://user:hunter2@{host}/db");
    let part = format!("{host}:5432/db: the server cannot be reached; check host and port");
    refused(&url, ErrorKind::Unavailable, &part).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_rows_is_no_answer() {
    let (server, url) = schema();
    let way = Way::to(&server, &format!("{url}&prepared=false")).await;
    let store = Postgres::open(&way.url).await.unwrap();
    let version = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    way.set(ANSWER_WITHOUT_ROWS);
    let read = store.get("c", "k").await.unwrap_err();
    assert_eq!(read.kind(), ErrorKind::Unavailable, "{}", chain(&read));
    for outcome in [
        store.put("c", "k", "new".into(), Ttl::Forever).await.map(drop),
        store.take("c", "k").await.map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{}", chain(&error));
    }
    way.set(PASS);
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().version, version);
}
