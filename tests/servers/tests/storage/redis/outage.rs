//! A server that is stopped, cut off and started again under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kv_storage::{Entry, ErrorKind, KeyValue, Redis, Ttl};
use test_servers::{Redis as Server, redis::RedisOptions};
use tokio::{task::JoinSet, time::Instant};

use super::{DEADLINE, write_until_it_works};

const WRITERS: usize = 8;

/// Writes as fast as it can, every record once, and remembers what was acknowledged.
pub(super) struct Load {
    writers: JoinSet<Vec<String>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Load {
    pub(super) fn start(store: &Arc<Redis>) -> Self {
        let mut load = Self {
            writers: JoinSet::new(),
            stop: Arc::default(),
            acknowledged: Arc::default(),
            failed: Arc::default(),
        };
        for writer in 0..WRITERS {
            let store = Arc::clone(store);
            let stop = Arc::clone(&load.stop);
            let acknowledged = Arc::clone(&load.acknowledged);
            let failed = Arc::clone(&load.failed);
            load.writers.spawn(async move {
                let mut kept = Vec::new();
                for index in 0_u32.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("{writer}/{index}");
                    match store.put_if_absent("load", &key, "value".into(), Ttl::Forever).await {
                        Ok(written) => {
                            assert!(written.is_some(), "{key} was written twice");
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                            kept.push(key);
                        }
                        Err(error) => {
                            let kinds = [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
                            assert!(kinds.contains(&error.kind()), "{error}");
                            failed.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }
                kept
            });
        }
        load
    }

    /// Waits until so many more writes were acknowledged.
    pub(super) async fn wait_for_acknowledged(&self, more: usize) {
        self.wait_for(&[&self.acknowledged], more).await;
    }

    /// Waits until so many more writes failed.
    pub(super) async fn wait_for_failed(&self, more: usize) {
        self.wait_for(&[&self.failed], more).await;
    }

    /// Waits until so many more writes ended in whatever way.
    pub(super) async fn wait_for_ended(&self, more: usize) {
        self.wait_for(&[&self.acknowledged, &self.failed], more).await;
    }

    async fn wait_for(&self, counts: &[&AtomicUsize], more: usize) {
        let count = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>();
        let target = count() + more;
        let deadline = Instant::now() + DEADLINE;
        while count() < target {
            assert!(Instant::now() < deadline, "the writers do not get on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops; the keys that were acknowledged.
    pub(super) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.join_all().await.concat()
    }
}

/// Which of the acknowledged keys are not there.
pub(super) async fn lost(store: &Redis, keys: &[String]) -> Vec<String> {
    let mut lost = Vec::new();
    for some in keys.chunks(500) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        let found = read_when_it_works(store, &some).await;
        let absent = some.iter().zip(found).filter(|(_, found)| found.is_none());
        lost.extend(absent.map(|(key, _)| (*key).to_owned()));
    }
    lost
}

/// The pause after the last attempt to connect may not be over yet.
async fn read_when_it_works(store: &Redis, keys: &[&str]) -> Vec<Option<Entry>> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match store.get_many("load", keys).await {
            Ok(found) => return found,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(Instant::now() < deadline, "it does not work again: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn restart_under_load(fsync: &str) {
    let options =
        RedisOptions::default().line("appendonly yes").line(format!("appendfsync {fsync}"));
    let mut server = Server::with(options).unwrap();
    let store = Arc::new(Redis::open(&server.url()).await.unwrap());
    let load = Load::start(&store);
    for _ in 0..3 {
        load.wait_for_acknowledged(100).await;
        server.kill();
        load.wait_for_failed(WRITERS).await;
        assert_eq!(store.get("load", "k").await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
        server.restart().unwrap();
    }
    load.wait_for_acknowledged(100).await;
    let acknowledged = load.stop().await;
    assert_eq!(lost(&store, &acknowledged).await, Vec::<String>::new());
    store.health().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_lose_no_acknowledged_write_with_fsync_always() {
    restart_under_load("always").await;
}

/// What the process wrote is the system's already: only a crash of the machine loses a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_lose_no_acknowledged_write_with_fsync_every_second() {
    restart_under_load("everysec").await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_from_one_that_is_gone() {
    let mut server = Server::start().unwrap();
    let url = format!("{}?response_timeout=300ms&connect_timeout=300ms", server.url());
    let store = Redis::open(&url).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    server.pause().unwrap();
    let write = store.put("c", "k", "new".into(), Ttl::Forever).await.unwrap_err();
    assert_eq!(write.kind(), ErrorKind::OutcomeUnknown, "{write}");
    let again = store.put("c", "k", "newer".into(), Ttl::Forever).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable, "it was not sent: {again}");
    assert_eq!(store.get("c", "k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.resume().unwrap();
    write_until_it_works(&store, &["k".into()]).await;
    server.restart().unwrap();
    let store = Redis::open(&url).await.unwrap();
    let value = store.get("afterwards", "k").await.unwrap().unwrap().value;
    assert_eq!(value, "value");
    let value = store.get("c", "k").await.unwrap().unwrap().value;
    assert_ne!(value, "newer", "what was never sent was not done");
    // A connection that broke while nobody used it costs a write nothing.
    for _ in 0..3 {
        server.restart().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    }
}

#[tokio::test]
async fn scripts_that_a_restart_forgot_are_sent_again() {
    let mut server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    let mut version = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    for _ in 0..2 {
        let swap = store.compare_and_swap("c", "k", version, "new".into(), Ttl::Keep).await;
        version = swap.unwrap().unwrap();
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
    }
    server.kill();
}

/// A `WAIT` holds up what comes behind it on its connection, and reads have another.
#[tokio::test]
async fn reads_do_not_wait_for_replicas() {
    let server = Server::start().unwrap();
    let replica = RedisOptions::default().line(format!("replicaof 127.0.0.1 {}", server.port()));
    let replica = Server::with(replica).unwrap();
    let url = format!("{}?wait_replicas=1&wait_timeout=60s", server.url());
    let deadline = Instant::now() + DEADLINE;
    let store = loop {
        match Redis::open(&url).await {
            Ok(store) => break Arc::new(store),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    replica.pause().unwrap();
    let writer = Arc::clone(&store);
    let writing =
        tokio::spawn(async move { writer.put("c", "k", "newer".into(), Ttl::Forever).await });
    let read = async {
        // The write is done, and waits for the replica.
        while store.get("c", "k").await.unwrap().unwrap().value != "newer" {}
        store.get_many("c", &["k", "absent"]).await.unwrap();
        store.scan("c", "", None, 10).await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.unwrap();
    assert!(!writing.is_finished(), "nobody confirmed it");
    replica.resume().unwrap();
    writing.await.unwrap().unwrap();
}

/// A command that was sent is done before those about the same key that are sent after it, even
/// where nobody waits for it any more.
#[tokio::test]
async fn writes_that_are_given_up_do_not_overtake_later_ones() {
    let server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    for key in ["a", "b"] {
        // Both connections are there.
        store.put("c", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    for round in 0..6 {
        server.pause().unwrap();
        for _ in 0..5 + round % 2 {
            let write = store.put("c", "a", "given up".into(), Ttl::Forever);
            tokio::time::timeout(Duration::from_millis(20), write).await.unwrap_err();
        }
        let resume = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            server.resume().unwrap();
        };
        let last = format!("last of {round}");
        let write = store.put("c", "a", last.clone().into(), Ttl::Forever);
        let (written, ()) = tokio::join!(write, resume);
        written.unwrap();
        // What is behind it on the other connection would have been done by then.
        store.put("c", "b", "value".into(), Ttl::Forever).await.unwrap();
        assert_eq!(store.get("c", "a").await.unwrap().unwrap().value, last);
    }
}

/// Dropping operations in the middle harms neither the others nor the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_operations_leave_the_connection_whole() {
    let server = Server::start().unwrap();
    let store = Arc::new(Redis::open(&server.url()).await.unwrap());
    let mut tasks = JoinSet::new();
    for index in 0..300 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let key = index.to_string();
            let value = "x".repeat(10 * index);
            let write = store.put("c", &key, value.into(), Ttl::Forever);
            let read = store.get("c", &key);
            let patience = Duration::from_micros(10 * u64::try_from(index % 30).unwrap());
            let _dropped_in_the_middle = tokio::time::timeout(patience, write).await;
            let _dropped_in_the_middle = tokio::time::timeout(patience, read).await;
        });
    }
    tasks.join_all().await;
    for index in 0..300 {
        let key = index.to_string();
        let value = format!("{index} {}", "y".repeat(index));
        store.put("c", &key, value.clone().into(), Ttl::Forever).await.unwrap();
        assert_eq!(store.get("c", &key).await.unwrap().unwrap().value, value);
    }
}
