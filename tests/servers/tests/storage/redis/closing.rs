//! What is left of a store that was closed.

use std::{sync::Arc, time::Instant};

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl};
use test_servers::{Redis as Server, RedisCluster, RedisSentinel};
use tokio::{runtime::Handle, task};

use super::DEADLINE;

/// Opens a store, uses it and closes it: no task is left, and nothing works any more.
async fn lets_go(url: &str) {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let store = Redis::open(url).await.unwrap();
    for key in ["a", "b", "c"] {
        store.put("c", key, "value".into(), Ttl::Forever).await.unwrap();
        store.get("c", key).await.unwrap();
    }
    assert!(tasks() > before, "connections are kept by tasks");
    store.close().await;
    let deadline = Instant::now() + DEADLINE;
    while tasks() > before {
        assert!(Instant::now() < deadline, "{} tasks are left", tasks() - before);
        task::yield_now().await;
    }
    for outcome in [
        store.put("c", "a", "new".into(), Ttl::Forever).await.map(drop),
        store.get("c", "a").await.map(drop),
        store.get_many("c", &["a", "b"]).await.map(drop),
        store.scan("c", "", None, 10).await.map(drop),
        store.health().await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("was closed"), "{error}");
    }
    assert_eq!(tasks(), before, "nobody connects again");
}

#[tokio::test]
async fn closing_lets_go_of_a_single_server() {
    lets_go(&Server::start().unwrap().url()).await;
}

#[tokio::test]
async fn closing_lets_go_of_a_master_that_sentinels_named() {
    lets_go(&RedisSentinel::start().unwrap().url()).await;
}

#[tokio::test]
async fn closing_lets_go_of_a_cluster() {
    lets_go(&RedisCluster::start().unwrap().url()).await;
}

/// What is under way gets its answer.
#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    let server = Server::start().unwrap();
    let store = Arc::new(Redis::open(&server.url()).await.unwrap());
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    server.pause().unwrap();
    let writer = Arc::clone(&store);
    let writing =
        task::spawn(async move { writer.put("c", "k", "new".into(), Ttl::Forever).await });
    // On one thread: it has been sent when it is our turn again.
    task::yield_now().await;
    let closer = Arc::clone(&store);
    let closing = task::spawn(async move { closer.close().await });
    for _ in 0..10 {
        task::yield_now().await;
    }
    assert!(!closing.is_finished(), "a write is under way");
    let error = store.get("c", "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "nothing new begins: {error}");
    server.resume().unwrap();
    writing.await.unwrap().unwrap();
    closing.await.unwrap();
}
