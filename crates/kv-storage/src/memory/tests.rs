use std::{sync::Arc, time::Duration};

use super::{Memory, collection::SWEEP, shard::LOOKS};
use crate::{Clock, Cursor, KeyValue, Ttl};

fn at(seconds: u64) -> Clock {
    Arc::new(move || std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn usage(store: &Memory) -> (usize, usize) {
    store.existing("c").unwrap().unwrap().usage()
}

const fn seconds(seconds: u64) -> Ttl {
    Ttl::After(Duration::from_secs(seconds))
}

/// Lets operations come by in every shard.
async fn pass(store: &Memory) {
    for index in 0..1000 {
        store.get("c", &format!("absent {index}")).await.unwrap();
    }
}

#[tokio::test]
async fn usage_follows_every_operation() {
    let store = Memory::builder().clock(at(0)).build();
    let version = store.put("c", "key", "12345".into(), Ttl::Forever).await.unwrap();
    assert_eq!(usage(&store), (1, 8));
    let swapped = store.compare_and_swap("c", "key", version, "1".into(), Ttl::Keep).await;
    assert_eq!(usage(&store), (1, 4));
    store.put("c", "key", "123".into(), Ttl::Keep).await.unwrap();
    assert_eq!(usage(&store), (1, 6));
    store.expire("c", "key", Ttl::After(Duration::from_secs(1))).await.unwrap();
    store.put_if_absent("c", "key", "123456".into(), Ttl::Keep).await.unwrap();
    store.compare_and_delete("c", "key", swapped.unwrap().unwrap()).await.unwrap();
    assert_eq!(usage(&store), (1, 6));
    store.put_if_absent("c", "new", "1".into(), Ttl::Keep).await.unwrap();
    assert_eq!(usage(&store), (2, 10));
    store.take("c", "key").await.unwrap();
    assert_eq!(usage(&store), (1, 4));
    store.delete("c", "new").await.unwrap();
    assert_eq!(usage(&store), (0, 0));
}

#[tokio::test]
async fn expired_records_are_dropped_in_passing() {
    let mut store = Memory::builder().clock(at(0)).build();
    for index in 0..1000 {
        store.put("c", &index.to_string(), "value".into(), seconds(1)).await.unwrap();
    }
    store.clock = at(1);
    pass(&store).await;
    assert_eq!(usage(&store), (0, 0));
}

/// However many records there are, and however many of them have expired.
#[tokio::test]
async fn an_operation_looks_at_few_records() {
    let mut store = Memory::builder().clock(at(0)).build();
    for index in 0..10_000 {
        let ttl = if index % 2 == 0 { seconds(1) } else { seconds(2) };
        store.put("c", &index.to_string(), "value".into(), ttl).await.unwrap();
    }
    store.clock = at(1);
    let version = store.get("c", "1").await.unwrap().unwrap().version;
    for operation in 0..8 {
        LOOKS.set(0);
        let before = usage(&store).0;
        match operation {
            0 => drop(store.get("c", "3").await.unwrap().unwrap()),
            1 => drop(store.put("c", "5", "value".into(), seconds(1)).await.unwrap()),
            2 => assert!(store.delete("c", "7").await.unwrap()),
            3 => drop(store.take("c", "9").await.unwrap().unwrap()),
            4 => assert!(store.expire("c", "11", seconds(1)).await.unwrap().is_some()),
            5 => {
                let written = store.put_if_absent("c", "new", "value".into(), seconds(1)).await;
                assert!(written.unwrap().is_some());
            }
            6 => {
                let swap = store.compare_and_swap("c", "1", version, "new".into(), Ttl::Keep);
                assert!(swap.await.unwrap().is_some());
            }
            _ => assert!(!store.compare_and_delete("c", "13", version).await.unwrap()),
        }
        let looks = LOOKS.get();
        assert!((1..=SWEEP + 2).contains(&looks), "operation {operation} looks at {looks} records");
        let gone = before.saturating_sub(usage(&store).0);
        assert!(gone <= SWEEP + 1, "operation {operation} drops {gone} records");
    }
}

#[tokio::test]
async fn a_record_is_dropped_at_its_last_expiry_and_not_before() {
    let mut store = Memory::builder().clock(at(0)).build();
    store.put("c", "later", "v".into(), seconds(1)).await.unwrap();
    store.put("c", "later", "v".into(), seconds(3)).await.unwrap();
    store.put("c", "sooner", "v".into(), seconds(3)).await.unwrap();
    store.expire("c", "sooner", seconds(1)).await.unwrap();
    store.put("c", "never", "v".into(), seconds(1)).await.unwrap();
    store.expire("c", "never", Ttl::Forever).await.unwrap();
    for (now, left) in [(0, 3), (1, 2), (2, 2), (3, 1), (1_000_000, 1)] {
        store.clock = at(now);
        pass(&store).await;
        assert_eq!(usage(&store).0, left, "after {now} s");
    }
    assert!(store.get("c", "never").await.unwrap().is_some());
}

#[tokio::test]
async fn a_record_in_another_s_place_has_an_expiry_of_its_own() {
    let mut store = Memory::builder().clock(at(0)).build();
    for (old, new) in [(1, 3), (3, 1), (1, 1)] {
        store.clock = at(0);
        // One after the other in whichever shard "key" is in.
        store.put("c", "key", "old".into(), seconds(old)).await.unwrap();
        store.delete("c", "key").await.unwrap();
        store.put("c", "key", "new".into(), seconds(new)).await.unwrap();
        for now in 0..5 {
            store.clock = at(now);
            pass(&store).await;
            assert_eq!(usage(&store).0, usize::from(now < new), "{old} s, {new} s, after {now} s");
        }
    }
}

#[tokio::test]
async fn what_is_kept_to_find_expired_records_is_bounded() {
    let store = Memory::builder().clock(at(0)).build();
    for round in 0..10_000 {
        // Ever sooner, so that no time on record is good for the next one.
        store.put("c", "rewritten", "v".into(), seconds(100_000 - round)).await.unwrap();
        store.put("c", &format!("fresh {round}"), "v".into(), seconds(1)).await.unwrap();
        store.delete("c", &format!("fresh {round}")).await.unwrap();
    }
    let due = store.existing("c").unwrap().unwrap().due();
    assert!(due <= 100, "{due} times for one record");
}

#[tokio::test]
async fn a_cursor_of_another_store_does_no_harm() {
    let store = Memory::new();
    store.put("c", "key", "value".into(), Ttl::Forever).await.unwrap();
    for foreign in [&b""[..], b"\xff", b"\0\xff", b"\0\x10", b"\xff\xffkey", b"key"] {
        let page = store.scan("c", "", Some(Cursor::new(foreign)), 10).await.unwrap();
        assert!(page.keys.len() <= 1 && page.next.is_none(), "{foreign:?}: {page:?}");
    }
    let anew = store.scan("c", "", Some(Cursor::new(b"\0\0\xff")), 10).await.unwrap();
    assert_eq!(anew.keys, ["key"]);
}

/// With every other key gone, expired or of another prefix, each page still holds what it should.
#[tokio::test]
async fn pages_are_full_until_the_end() {
    let mut store = Memory::builder().clock(at(0)).build();
    for index in 0..1000 {
        let ttl = if index % 2 == 0 { seconds(1) } else { seconds(2) };
        store.put("c", &format!("{}/{index}", index % 4), "v".into(), ttl).await.unwrap();
    }
    store.clock = at(1);
    let mut sizes = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.scan("c", "3/", cursor, 100).await.unwrap();
        assert!(page.keys.iter().all(|key| key.starts_with("3/")));
        sizes.push(page.keys.len());
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
}

#[tokio::test]
async fn values_are_copied_in() {
    let store = Memory::new();
    let large = bytes::Bytes::from(vec![1; 1000]);
    let part = large.slice(..10);
    store.put("c", "key", part.clone(), Ttl::Forever).await.unwrap();
    let stored = store.get("c", "key").await.unwrap().unwrap().value;
    assert_eq!(stored, part);
    assert_ne!(stored.as_ptr(), part.as_ptr(), "a part must not keep the whole alive");
}
