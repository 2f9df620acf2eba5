//! The backend that keeps its records in PostgreSQL.

mod error;
mod pool;
mod schema;
mod statement;
mod url;

use std::{
    collections::HashMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{Row, postgres::PgRow};

use self::{
    pool::{Access, Pool},
    statement::{Argument, Statement, Statements},
    url::Target,
};
use crate::{
    Cursor, Entry, Error, ErrorKind, KeyValue, Page, Result, Ttl, Version, contract::whole_millis,
    limits, page,
};

/// One write in so many sweeps expired records...
const SWEEP_EVERY: u64 = 32;

/// ...and this many of them: more than were written since, so that sweeping keeps up, and few
/// enough that nobody waits.
const SWEEP: i64 = 256;

/// The longest time to live that is counted, 1000 years: PostgreSQL's calendar ends, and what is
/// meant is "never".
const MAX_TTL_MILLIS: i64 = 1000 * 365 * 24 * 60 * 60 * 1000;

/// Keeps records in PostgreSQL, which any number of processes may share.
///
/// Every operation is a single statement, atomic among tasks and processes. An acknowledged write
/// is on disk: sessions run with `synchronous_commit = on`, whatever the server's default is, and
/// where there are synchronous standbys, they have it too. A server that is a standby or otherwise
/// only reads is refused; replicas are never read. Expiry is judged by the server's clock.
///
/// # URL
///
/// `postgres://user:password@host:port/database`, or `postgresql://…`. User, host and database
/// must be there; what a URL cannot hold is percent-encoded. For a Unix socket, leave the host out
/// and give its directory: `postgres://user@/database?host=/run/postgresql`. Options:
///
/// | option | default | what |
/// | --- | --- | --- |
/// | `schema` | `kv_storage` | the schema for the tables; made if there is none |
/// | `sslmode` | `verify-full`; `disable` on loopback and sockets | `disable`, `require` (encrypted, to whomever), `verify-ca`, `verify-full` |
/// | `sslrootcert` | | file with certificates to trust besides the platform's |
/// | `sslcert`, `sslkey` | | files with the certificate and key to log in with |
/// | `connections` | 10 | how many connections this process makes at most |
/// | `prepared` | `true` | `false` behind a pooler in transaction mode, see below |
///
/// Of libpq's environment variables, `PGOPTIONS` and the ones for certificates are obeyed by the
/// driver; the others are not, nor is a password file.
///
/// # Rights
///
/// The user needs to own the schema (`CREATE SCHEMA kv_storage AUTHORIZATION the_user`), or may
/// make it (`CREATE` on the database). Where somebody else made the tables, `USAGE` on the schema
/// and to select, insert, update and delete in `kv_entries` and select in `kv_format` is enough.
/// Processes that start at the same time make the tables once.
///
/// # Restarts and losses
///
/// Connections are made when they are needed, so a server that comes back is used again. An
/// operation that finds no server is [`Unavailable`](ErrorKind::Unavailable) at once; a write whose
/// connection breaks before its answer is [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) and never
/// repeated. Reads are tried once more. The server waits for locks for up to 5 seconds, the client
/// for an answer for up to 15.
///
/// # Poolers
///
/// Behind a pooler that gives each session a connection (session mode), nothing is to
/// be done. In transaction mode, `prepared=false` makes each operation one self-contained request
/// without prepared statements and session settings; it costs the server more work. Without it,
/// such a pooler is refused as soon as it has two connections use one session, which is tried when
/// the store is opened.
///
/// # Stored form
///
/// Table `kv_entries` with `collection` (text), `key` (UTF-8 in `bytea`, for PostgreSQL's text
/// cannot hold every character), `version` (16 bytes), `expires_at` (time or null) and `value`
/// (`bytea`); table `kv_format` with one row, the `format`, 1. Values rest as they are given, so
/// wrap the store in [`Encrypted`](crate::Encrypted). Expired records are deleted a few at a time
/// in the course of writing.
pub struct Postgres {
    pool: Pool,
    statements: Statements,
    writes: AtomicU64,
}

impl Postgres {
    /// Connects to the server that the URL names, and makes the tables if there are none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the URL is wrong, if user, password, database, certificates
    /// or rights are not accepted, or if the tables are not ours or of a later version;
    /// [`ErrorKind::Unavailable`] if the server cannot be reached or only reads. No message holds
    /// the password.
    pub async fn open(url: &str) -> Result<Self> {
        let target = Target::parse(url)?;
        for (option, path) in &target.files {
            tokio::fs::read(path).await.map_err(|error| {
                let message = format!("read {}, the {option} of the storage URL", path.display());
                Error::new(ErrorKind::Misconfigured, message).with_source(error)
            })?;
        }
        let statements = Statements::new(&schema::entries(&target.schema));
        let pool = Pool::new(target);
        let mut lease = pool.lease().await?;
        schema::prepare(lease.connection(), &pool.target().schema).await?;
        lease.give_back();
        pool.check_sessions().await?;
        let store = Self { pool, statements, writes: AtomicU64::new(0) };
        store.health().await?;
        Ok(store)
    }

    /// Waits for the operations under way and closes the connections; operations fail from here on.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn read(&self, statement: Statement<'_>) -> Result<Vec<PgRow>> {
        self.pool.run(Access::Read, statement).await
    }

    async fn write(&self, statement: Statement<'_>) -> Result<Vec<PgRow>> {
        let rows = self.pool.run(Access::Write, statement).await?;
        self.sweep().await;
        Ok(rows)
    }

    /// Deletes some expired records now and then. What was asked is done by now, so trouble here
    /// is left for the next operation to find.
    async fn sweep(&self) {
        if !self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(SWEEP_EVERY) {
            return;
        }
        let sweep = self.statements.sweep.with([Argument::Count(SWEEP)]);
        if let Err(error) = self.pool.run(Access::Write, sweep).await {
            tracing::debug!(%error, "expired records were not swept");
        }
    }
}

/// Shows where the records are, not the password.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.pool.target();
        f.debug_struct("Postgres")
            .field("place", &target.place)
            .field("schema", &target.schema)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyValue for Postgres {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        check(collection, key, &[])?;
        let statement = self.statements.get.with(keyed(collection, key));
        first_entry(&self.read(statement).await?)
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        limits::check_collection(collection)?;
        keys.iter().try_for_each(|key| limits::check_key(key))?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let bytes: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        let arguments = [Argument::Collection(collection), Argument::Keys(&bytes)];
        let rows = self.read(self.statements.get_many.with(arguments)).await?;
        let found: HashMap<Vec<u8>, Entry> = rows
            .iter()
            .map(|row| Ok((column(row, 0, "a key")?, entry(row, 1)?)))
            .collect::<Result<_>>()?;
        Ok(bytes.iter().map(|&key| found.get(key).cloned()).collect())
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        check(collection, key, &value)?;
        let version = Version::random()?;
        self.write(self.statements.put.with([
            Argument::Collection(collection),
            Argument::Bytes(key.as_bytes()),
            Argument::Bytes(version.as_bytes()),
            Argument::Bytes(&value),
            Argument::Millis(millis(ttl)),
            Argument::Flag(ttl == Ttl::Keep),
        ]))
        .await?;
        Ok(version)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        check(collection, key, &[])?;
        let statement = self.statements.delete.with(keyed(collection, key));
        Ok(!self.write(statement).await?.is_empty())
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        check(collection, key, &[])?;
        let statement = self.statements.take.with(keyed(collection, key));
        first_entry(&self.write(statement).await?)
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
        let statement = self.statements.put_if_absent.with([
            Argument::Collection(collection),
            Argument::Bytes(key.as_bytes()),
            Argument::Bytes(version.as_bytes()),
            Argument::Bytes(&value),
            Argument::Millis(millis(ttl)),
        ]);
        let written = self.write(statement).await?;
        Ok((!written.is_empty()).then_some(version))
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
        let statement = self.statements.compare_and_swap.with([
            Argument::Collection(collection),
            Argument::Bytes(key.as_bytes()),
            Argument::Bytes(version.as_bytes()),
            Argument::Bytes(&value),
            Argument::Millis(millis(ttl)),
            Argument::Flag(ttl == Ttl::Keep),
            Argument::Bytes(expected.as_bytes()),
        ]);
        let written = self.write(statement).await?;
        Ok((!written.is_empty()).then_some(version))
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        check(collection, key, &[])?;
        let statement = self.statements.compare_and_delete.with([
            Argument::Collection(collection),
            Argument::Bytes(key.as_bytes()),
            Argument::Bytes(expected.as_bytes()),
        ]);
        Ok(!self.write(statement).await?.is_empty())
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        check(collection, key, &[])?;
        let version = Version::random()?;
        let statement = self.statements.expire.with([
            Argument::Collection(collection),
            Argument::Bytes(key.as_bytes()),
            Argument::Bytes(version.as_bytes()),
            Argument::Millis(millis(ttl)),
            Argument::Flag(ttl == Ttl::Keep),
        ]);
        if !self.write(statement).await?.is_empty() {
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
        let rows = self
            .read(self.statements.scan.with([
                Argument::Collection(collection),
                Argument::Bytes(&start),
                Argument::Bytes(&end),
                Argument::Count(i64::try_from(limit).unwrap_or(i64::MAX)),
            ]))
            .await?;
        let text =
            |row| String::from_utf8(column(row, 0, "a key")?).map_err(|_| error::corrupt("a key"));
        let keys: Vec<_> = rows.iter().map(text).collect::<Result<_>>()?;
        let full = keys.len() >= limit;
        let next = keys.last().filter(|_| full).map(|key| Cursor::new(key.as_bytes()));
        Ok(Page { keys, next })
    }

    /// Reads from the table, and fails if the server would not take a write.
    async fn health(&self) -> Result<()> {
        let rows = self.read(self.statements.health.with([])).await?;
        match rows.first().map(|row| row.try_get(0)) {
            Some(Ok(false)) => Ok(()),
            _ => Err(error::read_only()),
        }
    }

    async fn close(&self) {
        Postgres::close(self).await;
    }
}

fn check(collection: &str, key: &str, value: &[u8]) -> Result<()> {
    limits::check_collection(collection)?;
    limits::check_key(key)?;
    limits::check_value(value)
}

fn keyed<'a>(collection: &'a str, key: &'a str) -> [Argument<'a>; 2] {
    [Argument::Collection(collection), Argument::Bytes(key.as_bytes())]
}

/// How long the record is to live from now; `None` for ever, and where it is to be kept.
fn millis(ttl: Ttl) -> Option<i64> {
    match ttl {
        Ttl::Keep | Ttl::Forever => None,
        Ttl::After(duration) => {
            i64::try_from(whole_millis(duration)).ok().filter(|&millis| millis <= MAX_TTL_MILLIS)
        }
    }
}

fn first_entry(rows: &[PgRow]) -> Result<Option<Entry>> {
    rows.first().map(|row| entry(row, 0)).transpose()
}

/// The record whose version is in the given column, and the value in the next.
fn entry(row: &PgRow, version: usize) -> Result<Entry> {
    let value = column(row, version + 1, "a value")?;
    let version = column(row, version, "a version")?;
    let version = version.try_into().map_err(|_| error::corrupt("a version"))?;
    Ok(Entry { value: value.into(), version: Version::from_bytes(version) })
}

fn column(row: &PgRow, index: usize, what: &str) -> Result<Vec<u8>> {
    row.try_get(index).map_err(|error| error::corrupt(what).with_source(error))
}
