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
    Take,
    Delete,
    CompareAndDelete { expected: Version },
}

/// What a change did.
pub(super) enum Done {
    /// It does not apply to what is there.
    Nothing,
    Changed,
    Took(Entry),
    /// What was to be taken cannot be read, and was removed.
    RemovedMalformed,
}

impl Done {
    /// Whether what was asked for has happened.
    pub(super) fn changed(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// What lies under a key.
enum Stored {
    Nothing,
    Record(Record),
    Malformed,
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
    /// Makes a change, if it applies.
    pub(super) fn apply(&mut self, key: &[u8], change: Change, now: i64) -> Result<Done, Refusal> {
        let stored = match self.read(key)? {
            Stored::Nothing => None,
            Stored::Record(record) => Some(record),
            Stored::Malformed => return self.apply_to_malformed(key, change, now),
        };
        let live = stored.as_ref().filter(|record| record.is_live(now));
        let present = live.and_then(|record| record.expires_at);
        let is = |expected| live.is_some_and(|record| record.entry.version == expected);
        let (entry, ttl) = match change {
            Change::Put { value, version, ttl } => (Entry { value, version }, ttl),
            Change::PutIfAbsent { value, version, ttl } if live.is_none() => {
                (Entry { value, version }, ttl)
            }
            Change::Swap { expected, value, version, ttl } if is(expected) => {
                (Entry { value, version }, ttl)
            }
            Change::Expire { version, ttl } => match live {
                Some(record) => (Entry { value: record.entry.value.clone(), version }, ttl),
                None => return Ok(Done::Nothing),
            },
            Change::Take => {
                let Some(taken) = live.map(|record| record.entry.clone()) else {
                    return Ok(Done::Nothing);
                };
                self.remove(key, stored.as_ref())?;
                return Ok(Done::Took(taken));
            }
            Change::Delete if live.is_some() => return self.remove(key, stored.as_ref()),
            Change::CompareAndDelete { expected } if is(expected) => {
                return self.remove(key, stored.as_ref());
            }
            Change::PutIfAbsent { .. }
            | Change::Swap { .. }
            | Change::Delete
            | Change::CompareAndDelete { .. } => return Ok(Done::Nothing),
        };
        self.unlist(key, stored.as_ref())?;
        self.write(key, &Record { entry, expires_at: ttl.expires_at(now, present) })
    }

    /// Only what overwrites or removes whatever is there touches what cannot be read.
    fn apply_to_malformed(
        &mut self,
        key: &[u8],
        change: Change,
        now: i64,
    ) -> Result<Done, Refusal> {
        match change {
            Change::Put { value, version, ttl } => {
                let expires_at = ttl.expires_at(now, None);
                self.write(key, &Record { entry: Entry { value, version }, expires_at })
            }
            Change::Delete => self.remove(key, None),
            Change::Take => {
                self.remove(key, None)?;
                Ok(Done::RemovedMalformed)
            }
            _ => Err(Refusal::Change(error::corrupt("a record"))),
        }
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

    fn read(&self, key: &[u8]) -> Result<Stored, Refusal> {
        let Some(stored) = self.entries.get(key)? else {
            return Ok(Stored::Nothing);
        };
        Ok(Record::decode(stored.value()).map_or(Stored::Malformed, Stored::Record))
    }

    fn write(&mut self, key: &[u8], record: &Record) -> Result<Done, Refusal> {
        self.entries.insert(key, record.encode().as_slice())?;
        if let Some(at) = record.expires_at {
            self.expiring.insert((at, key), ())?;
        }
        self.changed = true;
        Ok(Done::Changed)
    }

    fn remove(&mut self, key: &[u8], stored: Option<&Record>) -> Result<Done, Refusal> {
        self.unlist(key, stored)?;
        self.entries.remove(key)?;
        self.changed = true;
        Ok(Done::Changed)
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
