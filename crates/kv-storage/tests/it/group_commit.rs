//! Writes that wait together share a transaction of `Sqlite`, and nothing else.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use kv_storage::{Clock, ErrorKind, KeyValue, Result, Sqlite, Ttl, Version, testing::TestClock};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{task::JoinSet, time};

use crate::processes::again_with_short_files;

const WRITERS: usize = 64;

/// So many bytes in as many records as there are writers are more than a limited file takes.
const VALUE: usize = 8000;

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

/// What the process does whose files may not grow: writes each of which fits into the log, but not
/// all of them together.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) async fn commit_beyond_a_limit(directory: &Path) {
    // The writer asks for the time in each transaction, and is kept there in the first one.
    let (clock, (go_on, gate)) = (TestClock::new(), mpsc::channel::<()>());
    let (tell, asked) = counting(&clock);
    let gate = Mutex::new(gate);
    let tell: Clock = Arc::new(move || {
        let now = tell();
        // Fails once the other end is gone.
        let _ = gate.lock().unwrap().recv();
        now
    });
    let store = Sqlite::builder(directory.join("kv.sqlite")).clock(tell).open().await.unwrap();
    let first = store.put("c", "first", "value".into(), Ttl::Forever);
    let rest = async {
        while asked.load(Ordering::SeqCst) == 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
        let puts = (0..WRITERS).map(async |writer| {
            store.put("c", &writer.to_string(), vec![7; VALUE].into(), Ttl::Forever).await
        });
        let (outcomes, ()) = tokio::join!(futures_util::future::join_all(puts), async {
            for _ in 0..WRITERS {
                // So many futures are not all polled at once.
                tokio::task::yield_now().await;
            }
            drop(go_on);
        });
        outcomes
    };
    let (first, outcomes) = tokio::join!(first, rest);
    first.unwrap();
    for (writer, outcome) in outcomes.into_iter().enumerate() {
        let kind = outcome.map_or_else(|error| format!("{:?}", error.kind()), |_| "Ok".to_owned());
        println!("answer {writer} {kind}");
    }
    store.put("c", "after", "value".into(), Ttl::Forever).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_commit_that_fails_in_the_middle_is_unknown_to_all_and_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    // A block has 512 bytes, in some shells 1024.
    let mut child = again_with_short_files("commit", directory.path(), 300);
    let child = child.output().unwrap();
    let output = String::from_utf8(child.stdout).unwrap();
    assert!(child.status.success(), "{output}");
    let answers: Vec<_> =
        output.lines().filter_map(|line| line.strip_prefix("answer ")?.split_once(' ')).collect();
    assert_eq!(answers.len(), WRITERS);
    let store = Sqlite::open(directory.path().join("kv.sqlite")).await.unwrap();
    let mut found = 0;
    for (writer, answer) in &answers {
        // Done again by itself, any of them would have been acknowledged.
        assert_eq!(*answer, "OutcomeUnknown", "{writer}");
        let entry = store.get("c", writer).await.unwrap();
        found += usize::from(entry.is_some_and(|entry| entry.value == vec![7; VALUE]));
    }
    assert!([0, WRITERS].contains(&found), "{found} of one transaction");
    assert!(store.get("c", "first").await.unwrap().is_some());
    assert!(store.get("c", "after").await.unwrap().is_some(), "it writes on");
}

/// Has another connection keep the file locked while `waiting` begins, and lets go of it once a
/// minute is over.
async fn a_minute_locked<T>(
    path: &Path,
    clock: &TestClock,
    asked: &AtomicUsize,
    waiting: impl Future<Output = T>,
) -> T {
    let mut other = raw(path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let before = asked.load(Ordering::SeqCst);
    let (outcome, ()) = tokio::join!(waiting, async {
        // The writes are handed over by now. Whoever were to ask for the time too early would do
        // so soon.
        for _ in 0..50 {
            if asked.load(Ordering::SeqCst) > before {
                break;
            }
            time::sleep(Duration::from_millis(2)).await;
        }
        clock.advance(Duration::from_mins(1));
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    });
    outcome
}

/// A clock that counts how often it is asked.
fn counting(clock: &TestClock) -> (Clock, Arc<AtomicUsize>) {
    let (tell, asked) = (clock.clock(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let tell = move || {
        count.fetch_add(1, Ordering::SeqCst);
        tell()
    };
    (Arc::new(tell), asked)
}

#[tokio::test]
async fn what_expires_while_a_write_waits_for_another_process_is_absent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let clock = TestClock::new();
    let (tell, asked) = counting(&clock);
    let store = Sqlite::builder(&path).clock(tell).open().await.unwrap();
    store.put("c", "k", "value".into(), Ttl::After(Duration::from_mins(1))).await.unwrap();
    let taken = a_minute_locked(&path, &clock, &asked, store.take("c", "k")).await;
    assert_eq!(taken.unwrap(), None);
}

#[tokio::test]
async fn what_expires_while_writes_wait_together_is_absent_to_each() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let clock = TestClock::new();
    let (tell, asked) = counting(&clock);
    let store = Sqlite::builder(&path).clock(tell).open().await.unwrap();
    let minute = Ttl::After(Duration::from_mins(1));
    let mut versions = Vec::new();
    for key in ["take", "swap", "remove", "expire", "delete", "absent", "keep"] {
        versions.push(store.put("c", key, "value".into(), minute).await.unwrap());
    }
    let new = || "new".into();
    let waiting = async {
        tokio::join!(
            store.take("c", "take"),
            store.compare_and_swap("c", "swap", versions[1], new(), Ttl::Forever),
            store.compare_and_delete("c", "remove", versions[2]),
            store.expire("c", "expire", Ttl::Forever),
            store.delete("c", "delete"),
            store.put_if_absent("c", "absent", new(), minute),
            store.put("c", "keep", new(), Ttl::Keep),
        )
    };
    let (taken, swapped, removed, expired, deleted, absent, kept) =
        a_minute_locked(&path, &clock, &asked, waiting).await;
    assert_eq!((taken.unwrap(), swapped.unwrap(), expired.unwrap()), (None, None, None));
    assert!(!removed.unwrap() && !deleted.unwrap());
    let (absent, kept) = (absent.unwrap(), kept.unwrap());
    assert!(absent.is_some(), "the record had expired");
    // From the write on, not from the call on.
    clock.advance(Duration::from_secs(59));
    let found = store.get("c", "absent").await.unwrap().map(|entry| entry.version);
    assert_eq!(found, absent);
    assert_eq!(store.get("c", "keep").await.unwrap().unwrap().version, kept);
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.scan("c", "", None, 10).await.unwrap().keys, ["keep"]);
}

#[tokio::test]
async fn whoever_closes_waits_for_what_was_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let store = Sqlite::open(&path).await.unwrap();
    let mut other = raw(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let put = store.put("c", "k", "value".into(), Ttl::Forever);
    let closing = async {
        tokio::task::yield_now().await;
        // One gives up, and two more ask.
        assert!(time::timeout(Duration::from_millis(10), store.close()).await.is_err());
        let (mut first, mut second) = (Box::pin(store.close()), Box::pin(store.close()));
        for close in [&mut first, &mut second] {
            let closed = time::timeout(Duration::from_millis(10), close).await;
            assert!(closed.is_err(), "a write is under way");
        }
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
        tokio::join!(first, second);
    };
    let (written, ()) = tokio::join!(put, closing);
    written.unwrap();
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
