//! The backend that keeps its records in one directory, without a server.

mod change;
mod engine;
mod error;
mod place;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{task, time};

use self::{
    change::{Change, Done},
    engine::{Engine, Opener},
    writer::Writer,
};
use crate::{
    Clock, Cursor, Entry, Error, ErrorKind, KeyValue, Page, Result, Ttl, Version,
    clock::system_clock, limits,
};

/// How long a read or the answer to a write is waited for: far longer than any disk takes that
/// works.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the writing thread looks for expired records, and whether a failed disk is back, while
/// there is nothing to write.
const IDLE: Duration = Duration::from_secs(10);

/// Keeps records in one directory, for one process at a time.
///
/// The engine is redb, a copy-on-write B-tree with checksums. Every acknowledged write is on disk;
/// a process may be killed at any instant. Writes that wait together share one transaction, each
/// with an answer of its own: one synchronization of the disk serves them all. Each operation is
/// atomic.
///
/// A second process, or a second handle, is refused with
/// [`ErrorKind::Misconfigured`], which names the process that has the directory; links to the
/// directory change nothing. `Sqlite` is the backend for several processes of one machine. Not
/// for network file systems.
///
/// The directory is made for its owner only (mode 0700, files 0600) and may be moved while nothing
/// has it open. Values rest as they are given, so wrap the store in
/// [`Encrypted`](crate::Encrypted). Expired records are deleted in the course of writing and about
/// every ten seconds; the file shrinks once most of it is empty, during which operations wait.
///
/// After a failure of the disk, such as a full one, the directory is opened anew by itself.
///
/// # Stored form
///
/// - `lock`: held by whoever has the directory open, with the number of that process.
/// - `entries.redb`: a redb database (file format 3) with the tables
///   - `kv-storage`: from text to bytes. `format` is the byte 1, `batch` 16 random bytes that
///     every transaction changes.
///   - `entries`: from bytes to bytes. The key is the collection, a zero byte and the key; the
///     value is the version (16 bytes), when it expires (Unix milliseconds, 8 bytes, big-endian;
///     `0x7fff_ffff_ffff_ffff`: never) and the value.
///   - `expiring`: from (`i64`, bytes), when a record expires and its key in `entries`, to nothing.
pub struct Disk {
    engine: Arc<Engine>,
    writer: Writer,
    clock: Clock,
}

impl Disk {
    /// Opens the directory, making it if there is none; what it is in must exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`], naming the path, if the directory cannot be made or written,
    /// is in use by another process, holds something else or was written by a later version;
    /// [`ErrorKind::Corrupt`] if it is damaged; [`ErrorKind::Unavailable`] if the disk is full or
    /// fails.
    pub async fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Self::builder(directory).open().await
    }

    /// To open the directory with a clock of your own.
    pub fn builder(directory: impl AsRef<Path>) -> DiskBuilder {
        DiskBuilder {
            directory: directory.as_ref().to_owned(),
            clock: system_clock(),
            opener: Arc::new(engine::open_file),
            idle: IDLE,
        }
    }

    /// Waits for the writes under way and closes the directory; operations fail from here on.
    ///
    /// Afterwards another process may open it, and it may be moved.
    pub async fn close(&self) {
        self.writer.close().await;
        let engine = Arc::clone(&self.engine);
        // Nothing is lost if this task is cut off: all that was acknowledged is on disk.
        let _ = task::spawn_blocking(move || engine.close()).await;
    }

    fn now(&self) -> i64 {
        crate::clock::unix_millis(&self.clock)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = Arc::clone(&self.engine);
        match time::timeout(PATIENCE, task::spawn_blocking(move || work(&engine))).await {
            Ok(Ok(read)) => read,
            // The engine panics on a damaged file; what else ends a read is the process's end.
            Ok(Err(ended)) if ended.is_panic() => {
                Err(error::corrupt("the database").with_source(ended))
            }
            Ok(Err(ended)) => {
                Err(Error::new(ErrorKind::Unavailable, "read from the disk").with_source(ended))
            }
            Err(late) => {
                let message = "read from the disk: it does not answer";
                Err(Error::new(ErrorKind::Unavailable, message).with_source(late))
            }
        }
    }

    async fn write(&self, collection: &str, key: &str, change: Change) -> Result<Done> {
        self.writer.write(record::key(collection, key), change).await
    }
}

/// Shows the path.
impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("directory", &self.engine.directory()).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyValue for Disk {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        check(collection, key, &[])?;
        let (key, now) = (record::key(collection, key), self.now());
        self.read(move |engine| engine.get(&key, now)).await
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        limits::check_collection(collection)?;
        keys.iter().try_for_each(|key| limits::check_key(key))?;
        let keys: Vec<_> = keys.iter().map(|key| record::key(collection, key)).collect();
        let now = self.now();
        self.read(move |engine| keys.iter().map(|key| engine.get(key, now)).collect()).await
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        check(collection, key, &value)?;
        let version = Version::random()?;
        self.write(collection, key, Change::Put { value, version, ttl }).await?;
        Ok(version)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        check(collection, key, &[])?;
        Ok(self.write(collection, key, Change::Delete).await?.changed())
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        check(collection, key, &[])?;
        match self.write(collection, key, Change::Take).await? {
            Done::Took(entry) => Ok(Some(entry)),
            Done::RemovedMalformed => Err(error::corrupt("a record, which was removed,")),
            Done::Nothing | Done::Changed => Ok(None),
        }
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        check(collection, key, &value)?;
        let version = Version::random()?;
        let change = Change::PutIfAbsent { value, version, ttl };
        Ok(self.write(collection, key, change).await?.changed().then_some(version))
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        check(collection, key, &value)?;
        let version = Version::random()?;
        let change = Change::Swap { expected, value, version, ttl };
        Ok(self.write(collection, key, change).await?.changed().then_some(version))
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        check(collection, key, &[])?;
        let change = Change::CompareAndDelete { expected };
        Ok(self.write(collection, key, change).await?.changed())
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        check(collection, key, &[])?;
        let version = Version::random()?;
        let change = Change::Expire { version, ttl };
        Ok(self.write(collection, key, change).await?.changed().then_some(version))
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        check(collection, prefix, &[])?;
        let range = record::range(collection, prefix, cursor);
        let (limit, now) = (limit.max(1), self.now());
        let keys = self.read(move |engine| engine.keys(range, limit, now)).await?;
        let next =
            keys.last().filter(|_| keys.len() >= limit).map(|last| Cursor::new(last.as_str()));
        Ok(Page { keys, next })
    }

    /// Reads from the directory, and fails if another one (or none) lies under its path by now.
    async fn health(&self) -> Result<()> {
        self.read(Engine::health).await
    }

    async fn close(&self) {
        Disk::close(self).await;
    }
}

fn check(collection: &str, key: &str, value: &[u8]) -> Result<()> {
    limits::check_collection(collection)?;
    limits::check_key(key)?;
    limits::check_value(value)
}

/// Opens a [`Disk`].
#[must_use]
pub struct DiskBuilder {
    directory: PathBuf,
    clock: Clock,
    opener: Opener,
    idle: Duration,
}

impl DiskBuilder {
    /// The clock that expiry is judged by.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// As for [`Disk::open`].
    pub async fn open(self) -> Result<Disk> {
        let place = place::take(&self.directory).await?;
        let opener = self.opener;
        let opening = task::spawn_blocking(move || Engine::open(place, opener));
        let opened = opening.await.map_err(|panicked| {
            let message = format!("open {}", self.directory.display());
            Error::new(ErrorKind::Corrupt, message).with_source(panicked)
        })?;
        let engine = Arc::new(opened?);
        let writer = Writer::start(Arc::clone(&engine), Arc::clone(&self.clock), self.idle)?;
        Ok(Disk { engine, writer, clock: self.clock })
    }
}

impl fmt::Debug for DiskBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskBuilder").field("directory", &self.directory).finish_non_exhaustive()
    }
}
