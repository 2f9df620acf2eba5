//! A disk that fails on command between the engine and its file.

use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use redb::{
    Database, ReadableDatabase, ReadableTableMetadata, StorageBackend, backends::FileBackend,
};
use tempfile::TempDir;
use tokio::time;

use super::{
    Disk,
    engine::{ENTRIES, EXPIRING, Opener},
};
use crate::{ErrorKind, KeyValue, Result, Ttl, Version, limits, testing::TestClock};

#[derive(Debug, Default)]
struct Faults {
    /// There is no room beyond this offset; zero means that there is.
    full_from: AtomicU64,
    sync_fails: AtomicBool,
    syncs: AtomicUsize,
    /// Whoever holds it keeps the disk from finishing.
    sync: Mutex<()>,
    /// The engine panics when it reads, as on a damaged file.
    read_panics: AtomicBool,
    panics: AtomicUsize,
}

#[derive(Debug)]
struct FailingFile {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl StorageBackend for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.faults.read_panics.load(Ordering::SeqCst) {
            self.faults.panics.fetch_add(1, Ordering::SeqCst);
            panic!("a page that cannot be");
        }
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let _guard = self.faults.sync.lock().unwrap();
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        if self.faults.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let full_from = self.faults.full_from.load(Ordering::SeqCst);
        if full_from > 0 && offset >= full_from {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, data)
    }
}

/// Short, so that tests see what the thread does when it has nothing else to do.
const IDLE: Duration = Duration::from_millis(5);

struct Scene {
    directory: TempDir,
    faults: Arc<Faults>,
    clock: TestClock,
    store: Arc<Disk>,
}

async fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let clock = TestClock::new();
    let store = open(&directory, &faults, &clock).await;
    Scene { directory, faults, clock, store }
}

async fn open(directory: &TempDir, faults: &Arc<Faults>, clock: &TestClock) -> Arc<Disk> {
    let faults = Arc::clone(faults);
    let opener: Opener = Arc::new(move |file: File| {
        let file = FailingFile { file: FileBackend::new(file)?, faults: Arc::clone(&faults) };
        // Nothing is kept in memory, so that every read meets the disk.
        Database::builder().set_cache_size(0).create_with_backend(file)
    });
    let mut builder = Disk::builder(directory.path()).clock(clock.clock());
    builder.opener = opener;
    builder.idle = IDLE;
    Arc::new(builder.open().await.unwrap())
}

impl Scene {
    async fn put(&self, key: &str) -> Result<Version> {
        self.store.put("c", key, "value".into(), Ttl::Forever).await
    }

    async fn exists(&self, key: &str) -> bool {
        self.store.get("c", key).await.unwrap().is_some()
    }

    /// How many records there are, expired ones included, and how many expiries.
    fn rows(&self) -> (u64, u64) {
        let count = |database: &Database| {
            let look = database.begin_read().unwrap();
            let entries = look.open_table(ENTRIES).unwrap().len().unwrap();
            (entries, look.open_table(EXPIRING).unwrap().len().unwrap())
        };
        self.store.engine.with(count).unwrap()
    }

    async fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}");
            time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Begins a put of each key; returns once all of them are handed over.
    async fn begin(&self, keys: &[String]) -> Vec<tokio::task::JoinHandle<Result<Version>>> {
        let before = self.store.writer.waiting();
        let puts = keys.iter().cloned().map(|key| {
            let store = Arc::clone(&self.store);
            tokio::spawn(async move { store.put("c", &key, "value".into(), Ttl::Forever).await })
        });
        let puts = puts.collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.store.writer.waiting() < before + keys.len() {
            assert!(Instant::now() < deadline, "the writes are not handed over");
            time::sleep(Duration::from_millis(1)).await;
        }
        puts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_changes_nothing_and_is_tried_again() {
    let scene = scene().await;
    scene.put("before").await.unwrap();
    let file = scene.directory.path().join("entries.redb");
    let length = std::fs::metadata(file).unwrap().len();
    scene.faults.full_from.store(length, Ordering::SeqCst);
    for _ in 0..2 {
        let large = vec![1; limits::MAX_VALUE_BYTES].into();
        let error = scene.store.put("c", "during", large, Ttl::Forever).await.unwrap_err();
        assert!(error.to_string().contains("the disk is full; make room"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    scene.faults.full_from.store(0, Ordering::SeqCst);
    scene.put("after").await.unwrap();
    assert!(scene.exists("before").await && scene.exists("after").await);
    assert!(!scene.exists("during").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_in_the_middle_leaves_the_outcome_unknown() {
    let scene = scene().await;
    scene.put("before").await.unwrap();
    scene.faults.sync_fails.store(true, Ordering::SeqCst);
    let unknown = scene.put("during").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::OutcomeUnknown, "{unknown}");
    assert_eq!(scene.put("later").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(scene.store.get("c", "before").await.unwrap_err().kind(), ErrorKind::Unavailable);
    scene.faults.sync_fails.store(false, Ordering::SeqCst);
    scene.put("after").await.unwrap();
    assert!(scene.exists("before").await && scene.exists("after").await);
    assert!(!scene.exists("later").await);
    let Scene { directory, faults, clock, store } = scene;
    store.close().await;
    let store = open(&directory, &faults, &clock).await;
    assert!(store.get("c", "before").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::await_holding_lock, reason = "the writing thread waits for it, no task")]
async fn writes_that_wait_together_share_a_synchronization() {
    let scene = scene().await;
    scene.put("warm").await.unwrap();
    let guard = scene.faults.sync.lock().unwrap();
    let first = scene.begin(&["first".to_owned()]).await;
    let syncs = scene.faults.syncs.load(Ordering::SeqCst);
    let keys: Vec<_> = (0..64).map(|index| index.to_string()).collect();
    let rest = scene.begin(&keys).await;
    drop(guard);
    for put in first.into_iter().chain(rest) {
        put.await.unwrap().unwrap();
    }
    let syncs = scene.faults.syncs.load(Ordering::SeqCst) - syncs;
    assert!(syncs <= 6, "{syncs} synchronizations for 65 writes");
    for key in &keys {
        assert!(scene.exists(key).await, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::await_holding_lock, reason = "the writing thread waits for it, no task")]
async fn who_hangs_up_neither_undoes_nor_doubles_a_write() {
    let scene = scene().await;
    let version = scene.put("swapped").await.unwrap();
    let guard = scene.faults.sync.lock().unwrap();
    let put = scene.begin(&["abandoned".to_owned()]).await;
    let swap = {
        let store = Arc::clone(&scene.store);
        tokio::spawn(async move {
            let new = store.compare_and_swap("c", "swapped", version, "new".into(), Ttl::Keep);
            new.await
        })
    };
    while scene.store.writer.waiting() < 2 {
        time::sleep(Duration::from_millis(1)).await;
    }
    put.iter().for_each(tokio::task::JoinHandle::abort);
    swap.abort();
    drop(guard);
    scene.put("next").await.unwrap();
    assert!(scene.exists("abandoned").await);
    let swapped = scene.store.get("c", "swapped").await.unwrap().unwrap();
    assert_eq!(swapped.value, "new");
    assert!(swapped.version != version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_goes_while_nobody_writes() {
    let scene = scene().await;
    let ttl = Ttl::After(Duration::from_secs(1));
    // More than one transaction deletes.
    for index in 0..600 {
        scene.store.put("c", &index.to_string(), "value".into(), ttl).await.unwrap();
    }
    scene.put("stays").await.unwrap();
    assert_eq!(scene.rows(), (601, 600));
    scene.clock.advance(Duration::from_secs(1));
    scene.eventually("expired records are there", |scene| scene.rows() == (1, 0)).await;
    assert!(scene.exists("stays").await);
}

#[tokio::test]
async fn what_lives_longer_than_can_be_counted_has_no_expiry() {
    let scene = scene().await;
    for ttl in [Ttl::After(Duration::MAX), Ttl::Forever] {
        scene.store.put("c", "k", "value".into(), ttl).await.unwrap();
        assert_eq!(scene.rows(), (1, 0), "{ttl:?}");
    }
    scene.store.expire("c", "k", Ttl::After(Duration::from_secs(1))).await.unwrap();
    assert_eq!(scene.rows(), (1, 1));
    scene.store.expire("c", "k", Ttl::After(Duration::MAX)).await.unwrap();
    assert_eq!(scene.rows(), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_panics_is_corrupt_and_tried_again() {
    let scene = scene().await;
    scene.put("before").await.unwrap();
    scene.faults.read_panics.store(true, Ordering::SeqCst);
    let error = scene.store.get("c", "before").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let panics = scene.faults.panics.load(Ordering::SeqCst);
    let more = |scene: &Scene| scene.faults.panics.load(Ordering::SeqCst) > panics + 3;
    scene.eventually("the thread meets it while nobody writes, and lives", more).await;
    let refused = scene.put("during").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    scene.faults.read_panics.store(false, Ordering::SeqCst);
    scene.put("after").await.unwrap();
    assert!(scene.exists("before").await && scene.exists("after").await);
    assert!(!scene.exists("during").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::await_holding_lock, reason = "the writing thread waits for it, no task")]
async fn whoever_closes_waits_for_what_was_handed_over() {
    let scene = scene().await;
    let guard = scene.faults.sync.lock().unwrap();
    let puts = scene.begin(&["under way".to_owned()]).await;
    let soon = Duration::from_millis(10);
    assert!(time::timeout(soon, scene.store.close()).await.is_err(), "it gives up");
    let (mut first, mut second) = (Box::pin(scene.store.close()), Box::pin(scene.store.close()));
    for close in [&mut first, &mut second] {
        assert!(time::timeout(soon, close).await.is_err(), "a write is under way");
    }
    assert!(Disk::open(scene.directory.path()).await.is_err(), "nobody else has the directory");
    drop(guard);
    tokio::join!(first, second);
    for put in puts {
        put.await.unwrap().unwrap();
    }
    let store = open(&scene.directory, &scene.faults, &scene.clock).await;
    assert!(store.get("c", "under way").await.unwrap().is_some());
}
