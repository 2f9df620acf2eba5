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

use redb::{Database, StorageBackend, backends::FileBackend};
use tempfile::TempDir;
use tokio::time;

use super::{Disk, engine::Opener};
use crate::{ErrorKind, KeyValue, Result, Ttl, Version, limits};

#[derive(Debug, Default)]
struct Faults {
    /// There is no room beyond this offset; zero means that there is.
    full_from: AtomicU64,
    sync_fails: AtomicBool,
    syncs: AtomicUsize,
    /// Whoever holds it keeps the disk from finishing.
    sync: Mutex<()>,
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

struct Scene {
    directory: TempDir,
    faults: Arc<Faults>,
    store: Arc<Disk>,
}

async fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = open(&directory, &faults).await;
    Scene { directory, faults, store }
}

async fn open(directory: &TempDir, faults: &Arc<Faults>) -> Arc<Disk> {
    let faults = Arc::clone(faults);
    let opener: Opener = Arc::new(move |file: File| {
        let file = FailingFile { file: FileBackend::new(file)?, faults: Arc::clone(&faults) };
        Database::builder().create_with_backend(file)
    });
    let mut builder = Disk::builder(directory.path());
    builder.opener = opener;
    Arc::new(builder.open().await.unwrap())
}

impl Scene {
    async fn put(&self, key: &str) -> Result<Version> {
        self.store.put("c", key, "value".into(), Ttl::Forever).await
    }

    async fn exists(&self, key: &str) -> bool {
        self.store.get("c", key).await.unwrap().is_some()
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
    let Scene { directory, faults, store } = scene;
    store.close().await;
    let store = open(&directory, &faults).await;
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
