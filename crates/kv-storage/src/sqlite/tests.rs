//! What SQLite does beneath `Sqlite`: how it waits for the disk, and what a full one does.

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Sqlite,
    change::{COMPARE_AND_SWAP, Change, PUT, PUT_IF_ABSENT},
    options,
    writer::Writer,
};
use crate::{ErrorKind, KeyValue, Ttl, Version, clock::system_clock};

async fn store() -> (TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path().join("kv.sqlite")).await.unwrap();
    (directory, store)
}

#[tokio::test]
async fn the_connection_that_writes_waits_for_the_disk() {
    const TELL: &str = "INSERT INTO entries (collection, key, version, value) \
         SELECT ?1, ?2, ?4, CAST(journal_mode || ' ' || synchronous AS BLOB) \
         FROM pragma_journal_mode, pragma_synchronous";

    let (_directory, store) = store().await;
    let version = Version::random().unwrap();
    let change = Change::new(TELL, "c", "settings").to(version, Bytes::new(), Ttl::Keep);
    assert!(store.writer.write(change).await.unwrap().changed);
    let told = store.get("c", "settings").await.unwrap().unwrap();
    assert_eq!(told.value, "wal 2", "2 is FULL: with a log, only that outlives a power failure");
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_says_so() {
    let (_directory, store) = store().await;
    let before = store.put("c", "before", "value".into(), Ttl::Forever).await.unwrap();
    // No page can be added to the file: SQLite's answer is that of a full disk.
    let full = options(&store.path).pragma("max_page_count", "1");
    let full = Writer::start(full, system_clock()).unwrap();
    let large = |change: Change| {
        let version = Version::random().unwrap();
        full.write(change.to(version, vec![1; 100_000].into(), Ttl::Forever))
    };
    for _ in 0..3 {
        let version = Version::random().unwrap();
        let small = Change::new(PUT, "c", "small").to(version, "small".into(), Ttl::Forever);
        // In one transaction at first, and then each by itself, for the small one fits.
        let (put, absent, swap, small) = tokio::join!(
            large(Change::new(PUT, "c", "put")),
            large(Change::new(PUT_IF_ABSENT, "c", "absent")),
            large(Change::new(COMPARE_AND_SWAP, "c", "before").expecting(before)),
            full.write(small),
        );
        for outcome in [put, absent, swap] {
            let Err(error) = outcome else { panic!("it was written") };
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().ends_with("the disk is full; make room"), "{error}");
        }
        assert!(small.unwrap().changed);
        assert_eq!(store.get("c", "before").await.unwrap().unwrap().version, before);
        assert_eq!(store.get("c", "small").await.unwrap().unwrap().version, version);
        assert_eq!(store.scan("c", "", None, 9).await.unwrap().keys, ["before", "small"]);
    }
    let large = vec![1; 100_000].into();
    store.put("c", "put", large, Ttl::Forever).await.unwrap();
}

#[tokio::test]
async fn a_file_that_came_to_be_read_only_names_the_way_out() {
    let (_directory, store) = store().await;
    let read_only = options(&store.path).pragma("query_only", "ON");
    let read_only = Writer::start(read_only, system_clock()).unwrap();
    let version = Version::random().unwrap();
    let put = Change::new(PUT, "c", "k").to(version, Bytes::new(), Ttl::Keep);
    let Err(error) = read_only.write(put).await else { panic!("it was written") };
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("must be allowed to write to the file"), "{error}");
    assert_eq!(store.get("c", "k").await.unwrap(), None);
}
