//! Masters that go under load, and how many acknowledged writes go with them.

use std::{sync::Arc, time::Duration};

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl, Version};
use test_servers::{RedisCluster, RedisSentinel, redis::resp::Reply};

use super::{
    outage::{Load, lost},
    write_until_it_works,
};

/// The master is cut off from so many of its two replicas, goes on writing, and dies; one of those
/// that were not cut off takes over, if there is one.
///
/// How many acknowledged writes were lost.
async fn partition_then_failover(wait_replicas: Option<u32>, cut_off: usize) -> usize {
    let mut servers = RedisSentinel::start().unwrap();
    let option = wait_replicas.map(|number| format!("&wait_replicas={number}"));
    let url = format!("{}?wait_timeout=100ms{}", servers.url(), option.unwrap_or_default());
    let store = Arc::new(Redis::open(&url).await.unwrap());
    let load = Load::start(&store);
    load.wait_for_acknowledged(100).await;
    let master = servers.master().unwrap();
    let replicas: Vec<usize> = (0..3).filter(|&position| position != master).collect();
    let (paused, left) = replicas.split_at(cut_off);
    for &replica in paused {
        servers.server(replica).pause().unwrap();
    }
    // What is on its way to a paused replica would still reach it.
    servers.server(master).command(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    load.wait_for_ended(100).await;
    if !left.is_empty() {
        load.wait_for_acknowledged(100).await;
    }
    servers.server(master).kill();
    for &replica in left {
        servers.wait_for_promotion(replica).unwrap();
    }
    for &replica in paused {
        servers.server(replica).resume().unwrap();
    }
    load.wait_for_failed(1).await;
    servers.wait_for_failover(master).unwrap();
    let acknowledged = load.stop().await;
    servers.server(master).restart().unwrap();
    write_until_it_works(&store, &["k".into()]).await;
    let lost = lost(&store, &acknowledged).await.len();
    let wait = wait_replicas.map_or("1, the default".to_owned(), |number| number.to_string());
    let what = format!("master cut off from {cut_off} of 2 replicas, then gone");
    report(&format!("{what}, wait_replicas={wait}"), lost, &acknowledged);
    lost
}

/// `cargo xtask integration` shows the lines that begin so.
#[expect(clippy::print_stdout, reason = "the number is to be seen")]
fn report(what: &str, lost: usize, acknowledged: &[String]) {
    println!("counted: {what}: {lost} of {} acknowledged writes lost", acknowledged.len());
}

/// This is what `WAIT` is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_wait_a_partition_loses_acknowledged_writes() {
    let lost = partition_then_failover(Some(0), 2).await;
    assert!(lost > 0, "the replicas had no chance to get what was written last");
}

/// The default of one replica: what the one that was cut off lacks, the other has, which is
/// promoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_for_one_replica_the_loss_of_the_master_and_a_replica_loses_nothing() {
    assert_eq!(partition_then_failover(None, 1).await, 0);
}

/// Whichever replica is promoted has every acknowledged write if each of them does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_wait_for_every_replica_a_partition_loses_nothing() {
    assert_eq!(partition_then_failover(Some(2), 2).await, 0);
}

/// A master that is cut off from everybody answers nothing, and is none when it comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_master_is_left_for_the_new_one() {
    let mut servers = RedisSentinel::start().unwrap();
    let url = format!("{}?response_timeout=500ms&connect_timeout=500ms", servers.url());
    let store = Arc::new(Redis::open(&url).await.unwrap());
    let load = Load::start(&store);
    load.wait_for_acknowledged(100).await;
    let master = servers.master().unwrap();
    servers.server(master).pause().unwrap();
    load.wait_for_failed(1).await;
    servers.wait_for_failover(master).unwrap();
    load.wait_for_acknowledged(100).await;
    servers.server(master).resume().unwrap();
    load.wait_for_acknowledged(100).await;
    let acknowledged = load.stop().await;
    store.health().await.unwrap();
    let lost = lost(&store, &acknowledged).await.len();
    report("pause and failover, wait_replicas=1", lost, &acknowledged);
}

/// The write is at the master, but a failover may take it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_replicas_leave_the_outcome_unknown() {
    let mut servers = RedisSentinel::start().unwrap();
    let store = Redis::open(&format!("{}?wait_timeout=100ms", servers.url())).await.unwrap();
    let version = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let master = servers.master().unwrap();
    for position in (0..3).filter(|&position| position != master) {
        servers.server(position).pause().unwrap();
    }
    let error = store.put("c", "new", "value".into(), Ttl::Forever).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(error.to_string().contains("wait_replicas"), "{error}");
    assert!(store.get("c", "new").await.unwrap().is_some(), "it may well be there");
    let error = store.take("c", "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    // What changes nothing needs nobody's confirmation.
    let swap = store.compare_and_swap("c", "k", version, "new".into(), Ttl::Keep).await;
    assert_eq!(swap.unwrap(), None);
    for position in (0..3).filter(|&position| position != master) {
        servers.server(position).resume().unwrap();
    }
    write_until_it_works(&store, &["k".into()]).await;
}

/// What found nothing because of a removal that nobody confirmed is no better confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_finds_nothing_is_confirmed_as_well() {
    let mut servers = RedisSentinel::start().unwrap();
    let url = format!("{}?wait_timeout=100ms", servers.url());
    let store = Redis::open(&url).await.unwrap();
    for key in ["deleted", "taken"] {
        store.put("c", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    let kept = store.put("c", "kept", "value".into(), Ttl::Forever).await.unwrap();
    let none = Version::from_bytes([0; 16]);
    let master = servers.master().unwrap();
    let replicas: Vec<usize> = (0..3).filter(|&position| position != master).collect();
    for &replica in &replicas {
        servers.server(replica).pause().unwrap();
    }
    // Over a connection that has written nothing, as a process that was just started has.
    for store in [&store, &Redis::open(&url).await.unwrap()] {
        for _ in 0..2 {
            for outcome in [
                store.delete("c", "deleted").await.map(drop),
                store.take("c", "taken").await.map(drop),
                store.compare_and_delete("c", "never", none).await.map(drop),
            ] {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
            }
        }
    }
    for &replica in &replicas {
        servers.server(replica).resume().unwrap();
    }
    write_until_it_works(&store, &["k".into()]).await;
    let store = Redis::open(&url).await.unwrap();
    assert!(!store.delete("c", "deleted").await.unwrap());
    assert!(store.take("c", "taken").await.unwrap().is_none());
    assert!(!store.compare_and_delete("c", "kept", none).await.unwrap());
    let entry = store.get("c", "kept").await.unwrap().unwrap();
    assert_eq!((entry.version, &*entry.value), (kept, &b"value"[..]), "it is as it was");
    assert_eq!(store.get_many("c", &["deleted", "taken"]).await.unwrap(), [None, None]);
}

/// It keeps the time that it has left.
#[tokio::test]
async fn a_record_that_is_not_removed_keeps_its_expiry() {
    let mut servers = RedisSentinel::start().unwrap();
    let store = Redis::open(&servers.url()).await.unwrap();
    let ttl = Ttl::After(Duration::from_mins(1));
    store.put("c", "k", "value".into(), ttl).await.unwrap();
    let none = Version::from_bytes([0; 16]);
    assert!(!store.compare_and_delete("c", "k", none).await.unwrap());
    let master = servers.master().unwrap();
    let left = servers.server(master).command(&["PTTL", "kv:c:k"]).unwrap();
    assert!(matches!(left, Reply::Number(1..=60_000)), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_of_a_killed_cluster_master_takes_over() {
    let mut cluster = RedisCluster::start().unwrap();
    let url = format!("{}?response_timeout=500ms", cluster.url());
    let store = Arc::new(Redis::open(&url).await.unwrap());
    let load = Load::start(&store);
    load.wait_for_acknowledged(200).await;
    cluster.node(0).kill();
    load.wait_for_failed(1).await;
    cluster.wait_for_failover(0).unwrap();
    // It comes back as the replica of its replica, and writes can be confirmed again.
    cluster.node(0).restart().unwrap();
    let keys: Vec<String> = (0..30).map(|index| index.to_string()).collect();
    write_until_it_works(&store, &keys).await;
    load.wait_for_acknowledged(200).await;
    let acknowledged = load.stop().await;
    let lost = lost(&store, &acknowledged).await;
    report("cluster failover, wait_replicas=1", lost.len(), &acknowledged);
    assert_eq!(lost, Vec::<String>::new(), "the only replica had each of them");
    store.health().await.unwrap();
}
