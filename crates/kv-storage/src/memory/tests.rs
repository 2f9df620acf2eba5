use std::{sync::Arc, time::Duration};

use super::Memory;
use crate::{Clock, KeyValue, Ttl};

fn at(seconds: u64) -> Clock {
    Arc::new(move || std::time::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn usage(store: &Memory) -> (usize, usize) {
    store.existing("c").unwrap().unwrap().usage()
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
        let ttl = Ttl::After(Duration::from_secs(1));
        store.put("c", &index.to_string(), "value".into(), ttl).await.unwrap();
    }
    store.clock = at(1);
    for index in 0..1000 {
        store.get("c", &format!("absent {index}")).await.unwrap();
    }
    assert_eq!(usage(&store), (0, 0));
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
