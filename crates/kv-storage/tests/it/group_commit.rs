//! Writes that wait together share a transaction of `Sqlite`, and nothing else.

use std::{path::Path, sync::Arc, time::Duration};

use kv_storage::{ErrorKind, KeyValue, Result, Sqlite, Ttl, Version};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{task::JoinSet, time};

const WRITERS: usize = 64;

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Puts one record for each writer, all at once; the key of each, and what it was answered.
async fn put_at_once(store: &Arc<Sqlite>, round: &str) -> Vec<(String, Result<Version>)> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, key) = (Arc::clone(store), format!("{round}/{writer}"));
        writers.spawn(async move {
            let outcome = store.put("c", &key, "value".into(), Ttl::Forever).await;
            (key, outcome)
        });
    }
    writers.join_all().await
}

#[tokio::test]
async fn writes_that_wait_together_share_a_wait_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let store = Arc::new(Sqlite::open(&path).await.unwrap());
    let log = || std::fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |log| log.len());
    // Every transaction adds to the log the pages that it changed.
    let before = log();
    for writer in 0..WRITERS {
        store.put("c", &format!("alone/{writer}"), "value".into(), Ttl::Forever).await.unwrap();
    }
    let alone = log() - before;
    let before = log();
    for (_, outcome) in put_at_once(&store, "together").await {
        outcome.unwrap();
    }
    let together = log() - before;
    assert!(together * 3 < alone, "{together} bytes together, {alone} bytes one by one");
}

#[tokio::test]
async fn a_write_that_is_refused_does_not_touch_its_neighbors() {
    for how in ["ABORT", "FAIL", "ROLLBACK"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kv.sqlite");
        let store = Arc::new(Sqlite::open(&path).await.unwrap());
        let refuse = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON entries \
             WHEN new.key = CAST('{how}/7' AS BLOB) BEGIN SELECT RAISE({how}, 'refused'); END"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&mut raw(&path).await).await.unwrap();
        for (key, outcome) in put_at_once(&store, how).await {
            let found = store.get("c", &key).await.unwrap();
            if key == format!("{how}/7") {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
                assert_eq!(found, None, "nothing happened");
            } else {
                assert_eq!(found.unwrap().version, outcome.unwrap(), "{key}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_neither_undo_nor_double_anything() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Sqlite::open(directory.path().join("kv.sqlite")).await.unwrap());
    store.put("c", "count", "0".into(), Ttl::Forever).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let key = format!("hang/{writer}");
            let put = store.put_if_absent("c", &key, "value".into(), Ttl::Forever);
            let patience = Duration::from_micros(u64::try_from(writer % 16).unwrap() * 200);
            let outcome = time::timeout(patience, put).await;
            let version = outcome.ok().map(|done| done.unwrap().expect("nobody else writes it"));
            (key, version)
        });
    }
    for (key, version) in writers.join_all().await {
        // A write that comes after those that were given up finds each of them done, or not at
        // all from then on.
        store.put("c", "after", "value".into(), Ttl::Forever).await.unwrap();
        let found = store.get("c", &key).await.unwrap();
        if let Some(version) = version {
            assert_eq!(found.as_ref().map(|entry| entry.version), Some(version), "{key}");
        }
        store.put("c", "after", "again".into(), Ttl::Forever).await.unwrap();
        assert_eq!(store.get("c", &key).await.unwrap(), found, "{key}");
    }
}

#[tokio::test]
async fn writes_wait_for_those_of_others_and_then_all_happen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let store = Arc::new(Sqlite::open(&path).await.unwrap());
    let mut other = raw(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { put_at_once(&store, "waiting").await }
    });
    while store.get("c", "read").await.unwrap().is_none() {
        // Reads do not wait; this one's record is made by the other.
        sqlx::raw_sql("INSERT INTO entries VALUES ('c', CAST('read' AS BLOB), randomblob(16), NULL, x''); COMMIT")
            .execute(&mut other)
            .await
            .unwrap();
    }
    for (_, outcome) in waiting.await.unwrap() {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn closing_finishes_what_was_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let store = Arc::new(Sqlite::open(&path).await.unwrap());
    let (outcomes, ()) = tokio::join!(put_at_once(&store, "last"), async {
        tokio::task::yield_now().await;
        store.close().await;
    });
    let again = Sqlite::open(&path).await.unwrap();
    for (key, outcome) in outcomes {
        let found = again.get("c", &key).await.unwrap();
        match outcome {
            Ok(version) => assert_eq!(found.map(|entry| entry.version), Some(version)),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert_eq!(found, None);
            }
        }
    }
}
