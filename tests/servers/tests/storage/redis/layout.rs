//! The stored form, as somebody else would read and write it, and records that move.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

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

/// A record of the layout that `docs/storage.md` has, as every version wrote it.
#[tokio::test]
async fn a_record_of_an_earlier_version_opens() {
    let server = Server::start().unwrap();
    let raw = b"*5\r\n$3\r\nSET\r\n$12\r\nkv:codes:abc\r\n$25\r\n\
        \x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10the value\r\n\
        $2\r\nPX\r\n$6\r\n300000\r\n";
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    socket.write_all(raw).unwrap();
    let mut answer = [0; 5];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");

    let store = Redis::open(&server.url()).await.unwrap();
    let entry = store.get("codes", "abc").await.unwrap().unwrap();
    let version =
        Version::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap() + 1));
    assert_eq!((entry.version, &*entry.value), (version, &b"the value"[..]));
    assert_eq!(store.scan("codes", "", None, 10).await.unwrap().keys, ["abc"]);
    let swap = store.compare_and_swap("codes", "abc", version, "newer".into(), Ttl::Keep);
    assert!(swap.await.unwrap().is_some());
    let Reply::Number(left) = server.command(&["PTTL", "kv:codes:abc"]).unwrap() else { panic!() };
    assert!((1..=300_000).contains(&left), "{left}");
    let taken = store.take("codes", "abc").await.unwrap().unwrap();
    assert_eq!(taken.value, "newer");
}

#[tokio::test]
async fn what_is_no_record_is_corrupt() {
    let server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    server.command(&["SET", "kv:codes:short", "fifteen bytes.."]).unwrap();
    server.command(&["LPUSH", "kv:codes:list", "a"]).unwrap();
    server.client().unwrap().command(&[b"SET".as_slice(), b"kv:odd:\xff", b""]).unwrap();
    for ttl in [Ttl::Keep, Ttl::Forever, Ttl::After(Duration::from_mins(1))] {
        let error = store.expire("codes", "short", ttl).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert_eq!(store.get("codes", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    let as_it_was = Reply::Bytes(b"fifteen bytes..".to_vec());
    assert_eq!(server.command(&["GET", "kv:codes:short"]).unwrap(), as_it_was);
    assert_eq!(server.command(&["PTTL", "kv:codes:short"]).unwrap(), Reply::Number(-1));
    // What cannot be read can never be redeemed.
    assert_eq!(store.take("codes", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(server.command(&["EXISTS", "kv:codes:short"]).unwrap(), Reply::Number(0));
    assert_eq!(store.take("codes", "short").await.unwrap(), None);
    store.put("odd", "ours", "".into(), Ttl::Forever).await.unwrap();
    assert_eq!(store.scan("odd", "", None, 10).await.unwrap().keys, ["ours"]);
    let version = Version::from_bytes([0; 16]);
    for error in [
        store.get("codes", "list").await.unwrap_err(),
        store.get_many("codes", &["absent", "list"]).await.unwrap_err(),
        store.take("codes", "list").await.unwrap_err(),
        store.compare_and_delete("codes", "list", version).await.unwrap_err(),
        store.compare_and_swap("codes", "list", version, "".into(), Ttl::Keep).await.unwrap_err(),
        store.expire("codes", "list", Ttl::Forever).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert_eq!(server.command(&["LLEN", "kv:codes:list"]).unwrap(), Reply::Number(1));
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_records_along() {
    let cluster = RedisCluster::start().unwrap();
    let store = Redis::open(&cluster.url()).await.unwrap();
    let keys: BTreeSet<String> = (0..30).map(|index| format!("{{foo}}{index}")).collect();
    for key in &keys {
        store.put("many", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    // The slot of `foo`, by the specification's example.
    cluster.begin_move(12182, 0).unwrap();
    let version = store.put("many", "{foo}0", "new".into(), Ttl::Forever).await.unwrap();
    cluster.move_keys(12182, 0, 10).unwrap();
    // Some are there already and some are here still.
    let all: Vec<_> = keys.iter().map(String::as_str).collect();
    assert!(store.get_many("many", &all).await.unwrap().iter().all(Option::is_some));
    for key in &keys {
        assert!(store.get("many", key).await.unwrap().is_some(), "{key}");
    }
    let swap = store.compare_and_swap("many", "{foo}0", version, "newer".into(), Ttl::Keep);
    assert!(swap.await.unwrap().is_some());
    cluster.end_move(12182, 0).unwrap();
    for key in &keys {
        assert!(store.get("many", key).await.unwrap().is_some(), "{key}");
        store.put("many", key, "newest".into(), Ttl::Forever).await.unwrap();
    }
}
