//! The database: opening it, reading from it, and opening it anew when the disk has failed.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use redb::{
    Database, ReadTransaction, ReadableDatabase, TableDefinition, TableHandle,
    backends::FileBackend,
};

use super::{
    error,
    place::{FileId, Place},
    record::{Record, caller_s_key},
};
use crate::{Entry, Error, ErrorKind, Result};

pub(super) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
pub(super) const EXPIRING: TableDefinition<'_, (i64, &[u8]), ()> = TableDefinition::new("expiring");
pub(super) const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kv-storage");

/// What every transaction changes in [`ABOUT`], so that it can be told afterwards which was the
/// last one that was kept.
pub(super) const BATCH: &str = "batch";

/// The format in [`ABOUT`], and the one that we write.
const FORMAT: &str = "format";
const PRESENT_FORMAT: u8 = 1;

/// So much of the file is kept in memory; the system keeps more of it if it has room.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// How the database's file becomes a database; tests put a disk in between that fails.
pub(super) type Opener = Arc<dyn Fn(File) -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// The opener for real disks.
pub(super) fn open_file(file: File) -> Result<Database, redb::DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)
}

/// The directory and its database.
pub(super) struct Engine {
    // Closed before the lock of the place goes.
    state: RwLock<State>,
    opener: Opener,
    place: Place,
}

struct State {
    // None between a failure of the disk and success in opening anew, and after closing.
    database: Option<Database>,
    file: FileId,
    closed: bool,
}

impl Engine {
    pub(super) fn open(place: Place, opener: Opener) -> Result<Self> {
        let (database, file) = open_database(&place, &opener)?;
        let state = State { database: Some(database), file, closed: false };
        Ok(Self { state: RwLock::new(state), opener, place })
    }

    pub(super) fn directory(&self) -> &Path {
        self.place.directory()
    }

    pub(super) fn close(&self) {
        let mut state = self.state_mut();
        state.closed = true;
        state.database = None;
        self.place.release();
    }

    pub(super) fn get(&self, key: &[u8], now: i64) -> Result<Option<Entry>> {
        self.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let Some(stored) = entries.get(key)? else {
                return Ok(Ok(None));
            };
            let record = Record::decode(stored.value()).ok_or_else(|| error::corrupt("a record"));
            Ok(record.map(|record| record.is_live(now).then_some(record.entry)))
        })?
    }

    /// Up to `limit` live keys of a range, in order.
    pub(super) fn keys(
        &self,
        [start, end]: [Vec<u8>; 2],
        limit: usize,
        now: i64,
    ) -> Result<Vec<String>> {
        self.read(|transaction| {
            let entries = transaction.open_table(ENTRIES)?;
            let mut keys = Vec::new();
            for stored in entries.range(start.as_slice()..end.as_slice())? {
                let (key, record) = stored?;
                let Some(record) = Record::decode(record.value()) else {
                    return Ok(Err(error::corrupt("a record")));
                };
                if !record.is_live(now) {
                    continue;
                }
                let Some(key) = caller_s_key(key.value()) else {
                    return Ok(Err(error::corrupt("a key")));
                };
                keys.push(key.to_owned());
                if keys.len() >= limit {
                    break;
                }
            }
            Ok(Ok(keys))
        })?
    }

    pub(super) fn health(&self) -> Result<()> {
        self.read(|transaction| Ok(transaction.open_table(ENTRIES).map(drop)?))?;
        self.place.check_still_there(&self.state().file)
    }

    /// Whether a record has expired that was not deleted yet.
    pub(super) fn has_expired(&self, now: i64) -> Result<bool> {
        self.read(|transaction| {
            let first = transaction.open_table(EXPIRING)?.range(..=(now, &[0xff][..]))?.next();
            Ok(first.transpose()?.is_some())
        })
    }

    /// The last transaction that was kept.
    pub(super) fn last_batch(&self) -> Result<Option<Vec<u8>>> {
        self.read(|transaction| {
            let last = transaction.open_table(ABOUT)?.get(BATCH)?;
            Ok(last.map(|last| last.value().to_vec()))
        })
    }

    /// Runs `work` with the database; it must not last, for compacting waits for it.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Database) -> T) -> Result<T> {
        let state = self.state();
        state.database.as_ref().map(work).ok_or_else(error::closed)
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T> {
        let read = self.with(|database| work(&database.begin_read()?))?;
        read.map_err(error::read)
    }

    /// How long the file is.
    pub(super) fn file_length(&self) -> u64 {
        self.place.entries_length().unwrap_or(0)
    }

    /// Makes the file as small as it can be; everybody waits meanwhile.
    pub(super) fn compact(&self) -> Result<(), redb::Error> {
        let mut state = self.state_mut();
        if let Some(database) = &mut state.database {
            database.compact()?;
        }
        Ok(())
    }

    /// Closes the database and opens it again, which repairs it.
    ///
    /// The directory stays ours meanwhile.
    pub(super) fn reopen(&self) -> Result<()> {
        let mut state = self.state_mut();
        if state.closed {
            return Err(error::closed());
        }
        state.database = None;
        let (database, file) = open_database(&self.place, &self.opener)?;
        state.database = Some(database);
        state.file = file;
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_database(place: &Place, opener: &Opener) -> Result<(Database, FileId)> {
    let directory = place.directory();
    let file = place.open_entries()?;
    let metadata = file.metadata();
    let metadata =
        metadata.map_err(|error| error::place(directory, "cannot look at its database", error))?;
    let database = opener(file).map_err(|error| error::open(directory, error.into()))?;
    match prepare(&database) {
        Ok(Known::Ours) => Ok((database, FileId::of(&metadata))),
        Ok(Known::Foreign) => Err(error::foreign(directory)),
        Ok(Known::Later(format)) => Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "open {}: its database has format {format} and was written by a later version; \
                 this one knows formats up to {PRESENT_FORMAT}",
                directory.display()
            ),
        )),
        Err(error) => Err(error::open(directory, error)),
    }
}

enum Known {
    Ours,
    Foreign,
    Later(u8),
}

/// Recognizes the database, and makes the tables of a new one.
fn prepare(database: &Database) -> Result<Known, redb::Error> {
    // Look first: a database of somebody else's must stay as it is.
    let look = database.begin_read()?;
    if look.list_tables()?.next().is_some() {
        if look.list_tables()?.all(|table| table.name() != ABOUT.name()) {
            return Ok(Known::Foreign);
        }
        let format = look.open_table(ABOUT)?.get(FORMAT)?;
        return Ok(match format.as_ref().map(redb::AccessGuard::value) {
            Some([PRESENT_FORMAT]) => Known::Ours,
            Some([later, ..]) => Known::Later(*later),
            _ => Known::Foreign,
        });
    }
    drop(look);
    let new = database.begin_write()?;
    new.open_table(ENTRIES)?;
    new.open_table(EXPIRING)?;
    new.open_table(ABOUT)?.insert(FORMAT, [PRESENT_FORMAT].as_slice())?;
    new.commit()?;
    Ok(Known::Ours)
}
