//! What writes do to the tables, within a transaction.

use bytes::Bytes;
use redb::{ReadableTable, Table};

use super::{error, record::Record};
use crate::{Entry, Result, Ttl, Version};

/// What one operation asks for.
pub(super) enum Change {
    Put { value: Bytes, version: Version, ttl: Ttl },
    PutIfAbsent { value: Bytes, version: Version, ttl: Ttl },
    Swap { expected: Version, value: Bytes, version: Version, ttl: Ttl },
    Expire { version: Version, ttl: Ttl },
    Remove { expected: Option<Version> },
}

/// Why a change was not made.
pub(super) enum Refusal {
    /// This change alone cannot be made.
    Change(crate::Error),
    /// The engine is in trouble, and the transaction with it.
    Engine(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

/// The tables of a transaction, and what it did.
pub(super) struct Tables<'t> {
    pub(super) entries: Table<'t, &'static [u8], &'static [u8]>,
    pub(super) expiring: Table<'t, (i64, &'static [u8]), ()>,
    /// Whether anything was written at all.
    pub(super) changed: bool,
    /// How many bytes were removed or replaced.
    pub(super) freed: u64,
}

impl Tables<'_> {
    /// Makes a change; what was written or removed, or `None` if the change does not apply.
    pub(super) fn apply(
        &mut self,
        key: &[u8],
        change: Change,
        now: i64,
    ) -> Result<Option<Entry>, Refusal> {
        let stored = self.read(key)?;
        let live = stored.as_ref().filter(|record| record.is_live(now));
        let present = live.and_then(|record| record.expires_at);
        let (entry, ttl) = match change {
            Change::Put { value, version, ttl } => (Entry { value, version }, ttl),
            Change::PutIfAbsent { value, version, ttl } if live.is_none() => {
                (Entry { value, version }, ttl)
            }
            Change::Swap { expected, value, version, ttl }
                if live.is_some_and(|record| record.entry.version == expected) =>
            {
                (Entry { value, version }, ttl)
            }
            Change::Expire { version, ttl } => match live {
                Some(record) => (Entry { value: record.entry.value.clone(), version }, ttl),
                None => return Ok(None),
            },
            Change::Remove { expected } => {
                let meant = live.filter(|record| {
                    expected.is_none_or(|expected| record.entry.version == expected)
                });
                let removed = meant.map(|record| record.entry.clone());
                if removed.is_some() {
                    self.remove(key, stored.as_ref())?;
                }
                return Ok(removed);
            }
            Change::PutIfAbsent { .. } | Change::Swap { .. } => return Ok(None),
        };
        let expires_at = ttl.expires_at(now, present);
        self.unlist(key, stored.as_ref())?;
        let record = Record { entry, expires_at };
        self.entries.insert(key, record.encode().as_slice())?;
        if let Some(at) = expires_at {
            self.expiring.insert((at, key), ())?;
        }
        self.changed = true;
        Ok(Some(record.entry))
    }

    /// Deletes up to `limit` records that have expired, soonest first; how many it were.
    pub(super) fn sweep(&mut self, limit: usize, now: i64) -> Result<usize, redb::Error> {
        let mut expired = Vec::new();
        for listed in self.expiring.range(..=(now, &[0xff][..]))?.take(limit) {
            let (at, key) = {
                let (listed, ()) = listed.map(|(key, _)| (key, ()))?;
                let (at, key) = listed.value();
                (at, key.to_vec())
            };
            expired.push((at, key));
        }
        for (at, key) in &expired {
            self.expiring.remove((*at, key.as_slice()))?;
            // A record in a wrong form is left for whoever asks for it.
            let stored = self.entries.get(key.as_slice())?;
            let length = stored.and_then(|stored| {
                let record = Record::decode(stored.value())?;
                (record.expires_at == Some(*at)).then(|| stored.value().len())
            });
            if let Some(length) = length {
                self.entries.remove(key.as_slice())?;
                self.count_freed(key.len() + length);
            }
            self.changed = true;
        }
        Ok(expired.len())
    }

    fn read(&self, key: &[u8]) -> Result<Option<Record>, Refusal> {
        let Some(stored) = self.entries.get(key)? else {
            return Ok(None);
        };
        let record = Record::decode(stored.value());
        record.ok_or_else(|| Refusal::Change(error::corrupt("a record"))).map(Some)
    }

    fn remove(&mut self, key: &[u8], stored: Option<&Record>) -> Result<(), Refusal> {
        self.unlist(key, stored)?;
        self.entries.remove(key)?;
        self.changed = true;
        Ok(())
    }

    /// Forgets when the record that goes would have expired, and counts what it held.
    fn unlist(&mut self, key: &[u8], stored: Option<&Record>) -> Result<(), Refusal> {
        let Some(record) = stored else { return Ok(()) };
        if let Some(at) = record.expires_at {
            self.expiring.remove((at, key))?;
        }
        self.count_freed(key.len() + record.entry.value.len());
        Ok(())
    }

    fn count_freed(&mut self, bytes: usize) {
        self.freed = self.freed.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}
