//! A server that stops, is killed or ends sessions, while it is used.

use std::{
    collections::BTreeMap,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use kv_storage::{ErrorKind, KeyValue, Postgres, Ttl, Version};
use test_servers::Postgres as Server;
use tokio::task::JoinSet;

use super::{DEADLINE, chain, eventually, schema};

const WRITERS: usize = 6;

/// What one writer knows of its records.
#[derive(Default)]
struct Written {
    /// The last acknowledged version of each key.
    acknowledged: BTreeMap<String, Version>,
    /// Keys whose last write has an unknown outcome.
    unknown: Vec<String>,
    unavailable: usize,
}

/// Writes until told to stop: new keys, and one over and over by compare-and-swap.
async fn write(
    store: Arc<Postgres>,
    writer: usize,
    done: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> Written {
    let mut written = Written::default();
    let deadline = Instant::now() + DEADLINE;
    for index in 0.. {
        if done.load(Ordering::Relaxed) || Instant::now() > deadline {
            break;
        }
        let key = format!("{writer}/{index}");
        let value = key.clone().into();
        match store.put_if_absent("writes", &key, value, Ttl::Forever).await {
            Ok(version) => {
                // Nobody else writes that key, so it cannot have been there.
                written.acknowledged.insert(key, version.expect("the key is new"));
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => written.unknown.push(key),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
                written.unavailable += 1;
                let read = store.get("writes", &key).await;
                assert!(matches!(read, Ok(None) | Err(_)), "what failed has happened");
                tokio::task::yield_now().await;
            }
        }
        match store.get("writes", "fixed").await {
            Ok(entry) => assert_eq!(entry.unwrap().value, "fixed", "a wrong answer"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error)),
        }
    }
    written
}

/// Has writers at work while `trouble` happens to the server, and compares afterwards.
async fn while_writing(trouble: impl AsyncFnOnce(&mut Server, &AtomicUsize)) {
    let mut server = Server::start_new().unwrap();
    let store = Arc::new(Postgres::open(&server.url()).await.unwrap());
    store.put("writes", "fixed", "fixed".into(), Ttl::Forever).await.unwrap();
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(write(store, writer, Arc::clone(&done), Arc::clone(&count)));
    }
    more_writes(&count).await;
    trouble(&mut server, &count).await;
    more_writes(&count).await;
    done.store(true, Ordering::Relaxed);
    let mut failures = 0;
    for written in writers.join_all().await {
        for (key, version) in written.acknowledged {
            let entry = store.get("writes", &key).await.unwrap();
            let entry = entry.unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
            assert_eq!((entry.version, entry.value), (version, key.into()));
        }
        failures += written.unavailable + written.unknown.len();
        for key in written.unknown {
            let entry = store.get("writes", &key).await.unwrap();
            assert!(entry.is_none_or(|entry| entry.value == key));
        }
    }
    assert!(failures > 0, "the writers noticed nothing");
}

/// Waits until the store works, and has for a while.
async fn more_writes(count: &AtomicUsize) {
    let before = count.load(Ordering::Relaxed);
    eventually("writes go on", async || {
        (count.load(Ordering::Relaxed) > before + 100).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_started_loses_nothing() {
    while_writing(async |server, count| {
        for _ in 0..2 {
            server.stop().unwrap();
            server.start().unwrap();
            more_writes(count).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_no_acknowledged_write() {
    while_writing(async |server, count| {
        for _ in 0..3 {
            server.kill().unwrap();
            server.start().unwrap();
            more_writes(count).await;
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_server_everything_is_unavailable() {
    let mut server = Server::start_new().unwrap();
    let store = Postgres::open(&server.url()).await.unwrap();
    let version = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    // Any connection is of the past by now.
    store.close().await;
    let store = Postgres::open(&format!("{}?connections=3", server.url())).await.unwrap();
    server.stop().unwrap();
    let first = store.put("c", "k", "new".into(), Ttl::Forever).await.unwrap_err();
    assert_ne!(first.kind(), ErrorKind::Misconfigured, "{}", chain(&first));
    for outcome in [
        store.get("c", "k").await.map(drop),
        store.get_many("c", &["k"]).await.map(drop),
        store.put("c", "k", "new".into(), Ttl::Forever).await.map(drop),
        store.put_if_absent("c", "new", "new".into(), Ttl::Forever).await.map(drop),
        store.compare_and_swap("c", "k", version, "new".into(), Ttl::Keep).await.map(drop),
        store.compare_and_delete("c", "k", version).await.map(drop),
        store.expire("c", "k", Ttl::Forever).await.map(drop),
        store.delete("c", "k").await.map(drop),
        store.take("c", "k").await.map(drop),
        store.scan("c", "", None, 1).await.map(drop),
        store.health().await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
        assert!(error.to_string().contains("the server cannot be reached"), "{error}");
    }
    server.start().unwrap();
    let entry = store.get("c", "k").await.unwrap().unwrap();
    assert_eq!((entry.version, &*entry.value), (version, &b"value"[..]));
    store.health().await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_ended_while_idle_is_not_trusted() {
    let (server, url) = schema();
    let store = Postgres::open(&url).await.unwrap();
    for _ in 0..3 {
        store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name = 'kv-storage'";
        assert_ne!(server.execute("postgres", end).unwrap(), "0");
        // A read finds the loss by itself and makes another connection.
        assert!(store.get("c", "k").await.unwrap().is_some());
        assert!(store.take("c", "k").await.unwrap().is_some());
    }
}

/// The file that large values go to is one that no byte fits into, as on a full disk.
#[tokio::test]
async fn a_full_disk_is_unavailable_and_harms_nothing() {
    let mut server = Server::start_new().unwrap();
    let store = Postgres::open(&server.url()).await.unwrap();
    let version = store.put("c", "small", "value".into(), Ttl::Forever).await.unwrap();
    let file = "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class \
                WHERE oid = 'kv_storage.kv_entries'::regclass";
    let file = server.data().join(server.execute("postgres", file).unwrap());
    let aside = file.with_extension("aside");
    server.stop().unwrap();
    std::fs::rename(&file, &aside).unwrap();
    symlink("/dev/full", &file).unwrap();
    server.start().unwrap();

    let large = || Bytes::from(vec![7; 64 * 1024]);
    let store = Postgres::open(&server.url()).await.unwrap();
    for outcome in [
        store.put("c", "large", large(), Ttl::Forever).await.map(drop),
        store.put_if_absent("c", "large", large(), Ttl::Forever).await.map(drop),
        store.compare_and_swap("c", "small", version, large(), Ttl::Keep).await.map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
        assert!(error.to_string().contains("disk is full"), "{}", chain(&error));
        assert!(chain(&error).contains("53100"), "{}", chain(&error));
    }
    assert_eq!(store.get("c", "large").await.unwrap(), None);
    let entry = store.get("c", "small").await.unwrap().unwrap();
    assert_eq!((entry.version, &*entry.value), (version, &b"value"[..]));
    store.put("c", "other", "value".into(), Ttl::Forever).await.unwrap();
    store.close().await;

    server.stop().unwrap();
    std::fs::rename(&aside, &file).unwrap();
    server.start().unwrap();
    let store = Postgres::open(&server.url()).await.unwrap();
    let swap = store.compare_and_swap("c", "small", version, large(), Ttl::Keep);
    assert!(swap.await.unwrap().is_some());
    assert_eq!(store.get("c", "small").await.unwrap().unwrap().value, large());
}
