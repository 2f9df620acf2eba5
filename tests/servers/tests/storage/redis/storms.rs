//! What a server that is gone costs those that are left: few connections, and no waiting.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl};
use test_servers::{Redis as Server, RedisCluster};
use tokio::time::timeout;

/// Far more than anything takes here, and far less than the timeouts of the store.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many new connections pauses of up to a second allow in a time: those of the first second,
/// in which the pauses grow, and one for each second.
fn allowed(time: Duration) -> u64 {
    8 + time.as_secs()
}

/// Names a server as the master, whatever it is asked, and counts who asks.
fn sentinel(master: u16) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let master = master.to_string();
            let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{master}\r\n", master.len());
            let mut question = [0; 1024];
            if stream.read(&mut question).is_ok_and(|length| length > 0) {
                let _gone_again = stream.write_all(answer.as_bytes());
            }
        }
    });
    (port, asked)
}

#[tokio::test]
async fn a_dead_master_is_not_asked_for_by_every_operation() {
    let mut server = Server::start().unwrap();
    let (port, asked) = sentinel(server.port());
    let url = format!("redis+sentinel://127.0.0.1:{port}/main?wait_replicas=0");
    let store = Redis::open(&url).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    server.kill();
    let (begun, before) = (Instant::now(), asked.load(Ordering::Relaxed));
    let mut failed = 0;
    while failed < 500 || begun.elapsed() < Duration::from_secs(2) {
        let error = store.get("c", "k").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        failed += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let connections = asked.load(Ordering::Relaxed) - before;
    let allowed = allowed(begun.elapsed());
    assert!(u64::from(connections) <= allowed, "{connections} of {allowed}, {failed} operations");
    assert!(connections > 1, "it is asked about again");
    server.restart().unwrap();
    super::write_until_it_works(&store, &["k".into()]).await;
}

/// A cluster whose nodes take long to notice that one is gone, and a key at each of the masters.
async fn cluster_without_failover(options: &str) -> (RedisCluster, Redis, Vec<String>) {
    let mut cluster = RedisCluster::start().unwrap();
    for position in 0..2 * cluster.masters() {
        let patient = ["CONFIG", "SET", "cluster-node-timeout", "600000"];
        cluster.node(position).command(&patient).unwrap();
    }
    let store = Redis::open(&format!("{}?{options}", cluster.url())).await.unwrap();
    let mut keys = Vec::new();
    for position in 0..cluster.masters() {
        let at_home = |key: &String| {
            let slot = super::slot(cluster.node(0), &format!("kv:c:{key}"));
            cluster.master_of(slot) == position
        };
        let key = (0..100).map(|index| index.to_string()).find(at_home).unwrap();
        store.put("c", &key, "value".into(), Ttl::Forever).await.unwrap();
        store.get("c", &key).await.unwrap().unwrap();
        keys.push(key);
    }
    (cluster, store, keys)
}

#[tokio::test]
async fn a_dead_node_brings_no_storm_on_the_others() {
    let (mut cluster, store, keys) = cluster_without_failover("").await;
    cluster.node(0).kill();
    let mut received = || -> u64 {
        let mut of_node = |position| {
            let received = cluster.node(position).info("total_connections_received").unwrap();
            received.parse::<u64>().unwrap()
        };
        of_node(1) + of_node(2)
    };
    let (begun, before) = (Instant::now(), received());
    for _ in 0..300 {
        let error = store.get("c", &keys[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        for key in &keys[1..] {
            assert!(store.get("c", key).await.unwrap().is_some(), "its master is well");
        }
    }
    let connections = received() - before;
    // Those that count are counted.
    let allowed = allowed(begun.elapsed()) + 4;
    assert!(connections <= allowed, "{connections} of {allowed}");
}

/// One node is gone, and the one that is asked first where the slots are does not answer.
#[tokio::test]
async fn operations_at_a_node_that_is_well_do_not_wait_for_the_others() {
    let options = "connect_timeout=60s&response_timeout=60s";
    let (mut cluster, store, keys) = cluster_without_failover(options).await;
    cluster.node(0).pause().unwrap();
    cluster.node(1).kill();
    for _ in 0..3 {
        // Given up: the first may find its connection broken and ask on.
        let _failed = timeout(Duration::from_secs(1), store.get("c", &keys[1])).await;
        let read = timeout(PATIENCE, store.get("c", &keys[2])).await;
        assert!(read.expect("its node is well").unwrap().is_some());
    }
    cluster.node(0).resume().unwrap();
}
