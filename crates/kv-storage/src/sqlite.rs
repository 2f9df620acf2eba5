//! The backend that keeps its records in one SQLite file.

mod change;
mod error;
mod file;
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
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

use self::{
    change::{COMPARE_AND_DELETE, COMPARE_AND_SWAP, Change, DELETE, EXPIRE, PUT, PUT_IF_ABSENT},
    file::FileId,
    writer::Writer,
};
use crate::{
    Clock, Cursor, Entry, KeyValue, Page, Result, Ttl, Version,
    clock::{system_clock, unix_millis},
    limits, page,
};

/// How long a write waits for one of another process: far longer than any write takes, so that
/// passing it means that something is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a read waits for a connection.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads are short and mostly served from memory: a few connections saturate the file.
const READERS: u32 = 4;

const GET: &str = "SELECT version, value FROM entries \
     WHERE collection = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)";

const SCAN: &str = "SELECT key FROM entries \
     WHERE collection = ?1 AND key >= ?2 AND key < ?3 \
     AND (expires_at IS NULL OR expires_at > ?4) ORDER BY key LIMIT ?5";

const HEALTH: &str = "SELECT key FROM entries LIMIT 1";

/// Keeps records in one SQLite file, which the processes of one machine may share.
///
/// Every acknowledged write is on disk (`synchronous = FULL`) and every operation is a single
/// statement, atomic among tasks, handles and processes; writers of other processes are waited
/// for up to ten seconds. Writes that wait at the same time share one transaction, and so one wait
/// for the disk, but each keeps an outcome of its own.
/// SQLite itself is compiled in. Not for network file systems.
///
/// A full disk is [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), and nothing happened;
/// a write that the disk fails in the middle of is
/// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown), and so are those that share its
/// transaction. Expiry is judged when a write gets its turn.
///
/// The file is made readable for its owner only; values rest in it as they are given, so wrap
/// the store in [`Encrypted`](crate::Encrypted). Next to it lie SQLite's own `-wal` and `-shm`
/// while it is open. Expired records are deleted a few at a time in the course of writing.
///
/// # Stored form
///
/// An SQLite database in WAL mode, its `application_id` is `0x4B565354` ("KVST") and its
/// `user_version` the format, 1: table `entries` with `collection` (text), `key` (UTF-8 in
/// a blob), `version` (16 bytes), `expires_at` (Unix milliseconds or null) and `value` (blob).
pub struct Sqlite {
    path: PathBuf,
    file: FileId,
    // Writes of this process take turns here, not in SQLite's busy loop, and share transactions.
    writer: Writer,
    readers: SqlitePool,
    clock: Clock,
}

impl Sqlite {
    /// Opens the file, making it if there is none; its directory must exist.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured), naming the path, if it
    /// cannot be opened or written, is no such file or was written by a later version;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is damaged;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if another process keeps it
    /// locked, or the disk is full or fails.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open().await
    }

    /// To open the file with a clock of your own.
    pub fn builder(path: impl AsRef<Path>) -> SqliteBuilder {
        SqliteBuilder { path: path.as_ref().to_owned(), clock: system_clock() }
    }

    /// Waits for the operations under way and closes the file; operations fail from here on.
    ///
    /// Afterwards the one file holds everything, unless other processes have it open.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn now(&self) -> i64 {
        unix_millis(&self.clock)
    }

    /// Runs a write; whether it changed something.
    async fn write(&self, change: Change) -> Result<bool> {
        Ok(self.writer.write(change).await?.changed)
    }
}

/// Shows the path.
impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A row of what reads or takes.
type EntryRow = (Vec<u8>, Vec<u8>);

fn entry((version, value): EntryRow) -> Result<Entry> {
    let version = version.try_into().map_err(|_| error::corrupt("a version"))?;
    Ok(Entry { value: value.into(), version: Version::from_bytes(version) })
}

#[async_trait]
impl KeyValue for Sqlite {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let found = self.get_many(collection, &[key]).await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        limits::check_collection(collection)?;
        keys.iter().try_for_each(|key| limits::check_key(key))?;
        let mut connection = self.readers.acquire().await.map_err(error::read)?;
        let now = self.now();
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let query = sqlx::query_as(GET).bind(collection).bind(key.as_bytes()).bind(now);
            let row = query.fetch_optional(&mut *connection).await.map_err(error::read)?;
            found.push(row.map(entry).transpose()?);
        }
        Ok(found)
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        check(collection, key, &value)?;
        let version = Version::random()?;
        self.write(Change::new(PUT, collection, key).to(version, value, ttl)).await?;
        Ok(version)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        check(collection, key, &[])?;
        self.write(Change::new(DELETE, collection, key)).await
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        check(collection, key, &[])?;
        let done = self.writer.write(Change::take(collection, key)).await?;
        done.taken.map(entry).transpose()
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
        let change = Change::new(PUT_IF_ABSENT, collection, key).to(version, value, ttl);
        Ok(self.write(change).await?.then_some(version))
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
        let change = Change::new(COMPARE_AND_SWAP, collection, key).to(version, value, ttl);
        Ok(self.write(change.expecting(expected)).await?.then_some(version))
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        check(collection, key, &[])?;
        self.write(Change::new(COMPARE_AND_DELETE, collection, key).expecting(expected)).await
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        check(collection, key, &[])?;
        let version = Version::random()?;
        let change = Change::new(EXPIRE, collection, key).to(version, Bytes::new(), ttl);
        if self.write(change).await? {
            return Ok(Some(version));
        }
        // What is there and was left alone cannot be read.
        self.get(collection, key).await?;
        Ok(None)
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        check(collection, prefix, &[])?;
        let limit = limit.max(1);
        let (start, end) = page::range(prefix, cursor);
        let mut connection = self.readers.acquire().await.map_err(error::read)?;
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(SCAN)
            .bind(collection)
            .bind(start)
            .bind(end)
            .bind(self.now())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await
            .map_err(error::read)?;
        let full = rows.len() >= limit;
        let next = rows.last().filter(|_| full).map(|(key,)| Cursor::new(key.as_slice()));
        let text = |(key,)| String::from_utf8(key).map_err(|_| error::corrupt("a key"));
        let keys = rows.into_iter().map(text).collect::<Result<_>>()?;
        Ok(Page { keys, next })
    }

    /// Reads from the file, and fails if another one (or none) lies under its path by now:
    /// what is written from then on would be lost.
    async fn health(&self) -> Result<()> {
        sqlx::query(HEALTH).fetch_optional(&self.readers).await.map_err(error::read)?;
        self.file.check_still_at(&self.path).await
    }

    async fn close(&self) {
        Sqlite::close(self).await;
    }
}

fn check(collection: &str, key: &str, value: &[u8]) -> Result<()> {
    limits::check_collection(collection)?;
    limits::check_key(key)?;
    limits::check_value(value)
}

/// Opens a [`Sqlite`].
#[must_use]
pub struct SqliteBuilder {
    path: PathBuf,
    clock: Clock,
}

impl SqliteBuilder {
    /// The clock that expiry is judged by; processes that share a file should agree on it.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// As for [`Sqlite::open`].
    pub async fn open(self) -> Result<Sqlite> {
        let path = file::create(&self.path).await?;
        let options = options(&path);
        file::prepare(&options, &path).await?;
        let pool = SqlitePoolOptions::new()
            .acquire_timeout(TURN_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false);
        let writer = Writer::start(options.clone(), Arc::clone(&self.clock))?;
        let readers =
            pool.max_connections(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        let file = FileId::of(&path).await?;
        Ok(Sqlite { path, file, writer, readers, clock: self.clock })
    }
}

/// How connections are made, whatever they are for.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

impl fmt::Debug for SqliteBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBuilder").field("path", &self.path).finish_non_exhaustive()
    }
}
