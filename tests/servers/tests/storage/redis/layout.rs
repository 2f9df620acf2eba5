//! The stored form, as somebody else would read and write it, and scans over what moves.

use std::{collections::BTreeSet, time::Duration};

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl, Version};
use test_servers::{Redis as Server, RedisCluster, redis::resp::Reply};

#[tokio::test]
async fn others_can_read_and_write_records() {
    let server = Server::start().unwrap();
    let store = Redis::open(&format!("{}/3?prefix=my-app", server.url())).await.unwrap();
    let mut client = server.client().unwrap();
    client.command(&["SELECT", "3"]).unwrap();

    let ttl = Ttl::After(Duration::from_mins(1));
    let version = store.put("codes", "a:{b}", "value".into(), ttl).await.unwrap();
    let key = "my-app:codes:a:{b}";
    let stored = [version.as_bytes().as_slice(), b"value"].concat();
    assert_eq!(client.command(&["GET", key]).unwrap(), Reply::Bytes(stored));
    let Reply::Number(left) = client.command(&["PTTL", key]).unwrap() else { panic!() };
    assert!((1..=60_000).contains(&left), "{left}");

    let mine = [7; 16];
    client
        .command(&[b"SET".as_slice(), b"my-app:codes:k", &[&mine, b"other".as_slice()].concat()])
        .unwrap();
    let entry = store.get("codes", "k").await.unwrap().unwrap();
    assert_eq!((entry.version, &*entry.value), (Version::from_bytes(mine), &b"other"[..]));
    let swap = store.compare_and_swap("codes", "k", entry.version, "new".into(), Ttl::Keep);
    assert!(swap.await.unwrap().is_some());
    assert_eq!(client.command(&["DBSIZE"]).unwrap(), Reply::Number(2), "nothing else is there");
}

#[tokio::test]
async fn what_is_no_record_is_corrupt_and_left_alone() {
    let server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    server.command(&["SET", "kv:codes:short", "fifteen bytes.."]).unwrap();
    server.command(&["LPUSH", "kv:codes:list", "a"]).unwrap();
    server.client().unwrap().command(&[b"SET".as_slice(), b"kv:odd:\xff", b""]).unwrap();
    assert_eq!(store.get("codes", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    store.put("odd", "ours", "".into(), Ttl::Forever).await.unwrap();
    assert_eq!(store.scan("odd", "", None, 10).await.unwrap().keys, ["ours"]);
    let version = Version::from_bytes([0; 16]);
    for error in [
        store.get("codes", "list").await.unwrap_err(),
        store.take("codes", "list").await.unwrap_err(),
        store.compare_and_delete("codes", "list", version).await.unwrap_err(),
        store.compare_and_swap("codes", "list", version, "".into(), Ttl::Keep).await.unwrap_err(),
        store.expire("codes", "list", Ttl::Forever).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert_eq!(server.command(&["LLEN", "kv:codes:list"]).unwrap(), Reply::Number(1));
}

/// A server that was restarted lists its keys in another order, and its old cursors lie.
#[tokio::test]
async fn a_scan_outlives_a_restart() {
    let mut server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    let keys: BTreeSet<String> = (0..500).map(|index| index.to_string()).collect();
    for key in &keys {
        store.put("many", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    let mut seen = BTreeSet::new();
    let page = store.scan("many", "", None, 50).await.unwrap();
    seen.extend(page.keys);
    server.restart().unwrap();
    let mut cursor = page.next;
    while let Some(next) = cursor {
        let page = store.scan("many", "", Some(next), 50).await.unwrap();
        seen.extend(page.keys);
        cursor = page.next;
    }
    assert_eq!(seen, keys);
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_records_along() {
    let cluster = RedisCluster::start().unwrap();
    let store = Redis::open(&cluster.url()).await.unwrap();
    let keys: BTreeSet<String> = (0..30).map(|index| format!("{{foo}}{index}")).collect();
    for key in &keys {
        store.put("many", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    let first = store.scan("many", "", None, 10).await.unwrap();
    // The slot of `foo`, by the specification's example.
    cluster.begin_move(12182, 0).unwrap();
    let version = store.put("many", "{foo}0", "new".into(), Ttl::Forever).await.unwrap();
    cluster.move_keys(12182, 0, 10).unwrap();
    for key in &keys {
        // Some are there already and some are here still.
        assert!(store.get("many", key).await.unwrap().is_some(), "{key}");
    }
    let swap = store.compare_and_swap("many", "{foo}0", version, "newer".into(), Ttl::Keep);
    assert!(swap.await.unwrap().is_some());
    cluster.end_move(12182, 0).unwrap();
    for key in &keys {
        assert!(store.get("many", key).await.unwrap().is_some(), "{key}");
        store.put("many", key, "newest".into(), Ttl::Forever).await.unwrap();
    }
    let (mut seen, mut cursor) = (BTreeSet::from_iter(first.keys), first.next);
    while let Some(next) = cursor {
        let page = store.scan("many", "", Some(next), 10).await.unwrap();
        seen.extend(page.keys);
        cursor = page.next;
    }
    assert_eq!(seen, keys, "the scan began anew with the slot's new master");
}
