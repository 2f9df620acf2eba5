//! What is particular to `Memory`: its bounds.

use std::{sync::Arc, time::Duration};

use kv_storage::{Error, ErrorKind, KeyValue, Memory, MemoryBuilder, Ttl, testing::TestClock};

const SECOND: Ttl = Ttl::After(Duration::from_secs(1));

#[tokio::test]
async fn a_collection_full_of_entries_refuses_and_keeps_all() {
    let store = Memory::builder().max_entries(100).build();
    for index in 0..100 {
        put(&store, "full", &index.to_string(), "value").await.unwrap();
    }
    let error = put(&store, "full", "one more", "value").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(
        error.to_string(),
        "collection full is full: 100 entries; raise max_entries, as in memory:?max_entries=200"
    );
    let absent = store.put_if_absent("full", "one more", "value".into(), Ttl::Keep).await;
    assert_eq!(absent.unwrap_err().kind(), ErrorKind::TooLarge);
    for index in 0..100 {
        assert!(store.get("full", &index.to_string()).await.unwrap().is_some());
    }

    // What is there may still be rewritten, and other collections have room of their own.
    put(&store, "full", "7", "other").await.unwrap();
    put(&store, "other", "k", "value").await.unwrap();
    store.delete("full", "7").await.unwrap();
    put(&store, "full", "one more", "value").await.unwrap();
}

#[tokio::test]
async fn a_collection_full_of_bytes_refuses_growth() {
    let store = Memory::builder().max_bytes(100).build();
    put(&store, "full", "key", &"v".repeat(97)).await.unwrap();
    let error = put(&store, "full", "", "v").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(
        error.to_string(),
        "collection full is full: 100 bytes; raise max_bytes, as in memory:?max_bytes=200"
    );
    assert!(put(&store, "full", "key", &"v".repeat(98)).await.is_err());

    // Shrinking gives room, removing gives all of it back.
    put(&store, "full", "key", &"v".repeat(90)).await.unwrap();
    put(&store, "full", "k", "123456").await.unwrap();
    assert!(put(&store, "full", "", "v").await.is_err());
    store.take("full", "key").await.unwrap();
    put(&store, "full", "", &"v".repeat(93)).await.unwrap();
}

#[tokio::test]
async fn a_url_states_the_bounds() {
    for (url, entries) in [
        ("memory:?max_entries=3", 3),
        ("memory:?max_bytes=20", 4),
        ("MEMORY:?max_entries=2&max_bytes=100", 2),
        ("memory:?max_bytes=10&max_entries=100", 2),
    ] {
        let opened = kv_storage::open(url).await.unwrap();
        let same: Arc<dyn KeyValue> = Arc::new(Memory::open(url).unwrap());
        for store in [opened, same] {
            for index in 0..entries {
                put(&store, "c", &index.to_string(), "four").await.unwrap();
            }
            let error = put(&store, "c", "k", "four").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{url}");
            put(&store, "other", "k", "four").await.unwrap();
        }
    }
    for url in ["sqlite:///kv.sqlite", "memory:?max_entries=0", "memory"] {
        assert_eq!(Memory::open(url).unwrap_err().kind(), ErrorKind::Misconfigured, "{url}");
    }
}

#[tokio::test]
async fn expired_records_make_room_wherever_they_lie() {
    // The two keys seldom share a shard, so the expired record has to be looked for.
    for _ in 0..32 {
        let clock = TestClock::new();
        let store = builder(&clock).max_entries(1).build();
        store.put("full", "expiring", "value".into(), SECOND).await.unwrap();
        assert!(put(&store, "full", "another", "value").await.is_err());
        clock.advance(Duration::from_secs(1));
        put(&store, "full", "another", "value").await.unwrap();
        assert!(put(&store, "full", "one more", "value").await.is_err());
    }
}

#[tokio::test]
async fn racing_writers_do_not_exceed_the_bounds() {
    let store = Arc::new(Memory::builder().max_entries(50).build());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut written = 0;
            for index in 0..20 {
                let key = format!("{task}/{index}");
                written += usize::from(put(&*store, "full", &key, "value").await.is_ok());
            }
            written
        });
    }
    let written: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(written, 50);
}

#[test]
fn debug_shows_no_values() {
    let store = Memory::new();
    futures_util::FutureExt::now_or_never(put(&store, "c", "key", "secret")).unwrap().unwrap();
    let entry = futures_util::FutureExt::now_or_never(store.get("c", "key")).unwrap().unwrap();
    let shown = format!("{store:?} {entry:?}");
    assert!(!shown.contains("secret") && shown.contains("6 bytes"), "{shown}");
}

fn builder(clock: &TestClock) -> MemoryBuilder {
    Memory::builder().clock(clock.clock())
}

async fn put(store: &impl KeyValue, collection: &str, key: &str, value: &str) -> Result<(), Error> {
    store.put(collection, key, value.to_owned().into(), Ttl::Forever).await.map(drop)
}
