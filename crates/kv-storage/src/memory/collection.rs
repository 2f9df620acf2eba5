use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::Bounds;
use crate::{Entry, Error, ErrorKind, Result, Ttl, Version};

/// Enough that 64 tasks seldom meet at one lock; a scan visits them all.
const SHARDS: usize = 16;

/// How many expired records one operation drops in passing: more than it can add, so that
/// sweeping keeps up, and few enough that nobody waits.
const SWEEP: usize = 8;

/// Which record a removal is meant for.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    Any,
    Version(Version),
}

/// The records of one collection and what they use of its bounds.
pub(super) struct Collection {
    name: Box<str>,
    bounds: Bounds,
    entries: AtomicUsize,
    bytes: AtomicUsize,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// A part of the records, and the orders in which they are scanned and expire.
#[derive(Default)]
struct Shard {
    records: HashMap<Arc<str>, Record>,
    keys: BTreeSet<Arc<str>>,
    expiring: BTreeSet<(i64, Arc<str>)>,
}

#[derive(Clone)]
struct Record {
    entry: Entry,
    expires_at: Option<i64>,
}

impl Record {
    fn new(value: &[u8], version: Version, expires_at: Option<i64>) -> Self {
        let value = Bytes::from_owner(Zeroizing::new(value.to_vec()));
        Self { entry: Entry { value, version }, expires_at }
    }

    fn is_live(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

impl Collection {
    pub(super) fn new(name: &str, bounds: Bounds) -> Self {
        Self {
            name: name.into(),
            bounds,
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    pub(super) fn get(&self, key: &str, now: i64) -> Option<Entry> {
        self.swept(key, now).live(key, now).map(|record| record.entry.clone())
    }

    pub(super) fn put(
        &self,
        key: &str,
        value: &[u8],
        version: Version,
        ttl: Ttl,
        now: i64,
    ) -> Result<()> {
        self.write(key, value.len(), now, |present| {
            let present = present.and_then(|record| record.expires_at);
            Some(Record::new(value, version, ttl.expires_at(now, present)))
        })
        .map(drop)
    }

    pub(super) fn put_if_absent(
        &self,
        key: &str,
        value: &[u8],
        version: Version,
        ttl: Ttl,
        now: i64,
    ) -> Result<bool> {
        self.write(key, value.len(), now, |present| match present {
            Some(_) => None,
            None => Some(Record::new(value, version, ttl.expires_at(now, None))),
        })
    }

    pub(super) fn swap(
        &self,
        key: &str,
        expected: Version,
        value: &[u8],
        version: Version,
        ttl: Ttl,
        now: i64,
    ) -> Result<bool> {
        self.write(key, value.len(), now, |present| {
            let present = present.filter(|record| record.entry.version == expected)?;
            Some(Record::new(value, version, ttl.expires_at(now, present.expires_at)))
        })
    }

    pub(super) fn expire(&self, key: &str, version: Version, ttl: Ttl, now: i64) -> bool {
        let mut shard = self.swept(key, now);
        let Some(present) = shard.live(key, now) else {
            return false;
        };
        let expires_at = ttl.expires_at(now, present.expires_at);
        let entry = Entry { value: present.entry.value.clone(), version };
        shard.insert(key, Record { entry, expires_at });
        true
    }

    pub(super) fn take(&self, key: &str, expected: Expected, now: i64) -> Option<Entry> {
        let mut shard = self.swept(key, now);
        let present = shard.live(key, now)?;
        if let Expected::Version(expected) = expected
            && present.entry.version != expected
        {
            return None;
        }
        let record = shard.remove(key)?;
        self.release(key, &record);
        Some(record.entry)
    }

    /// Up to `limit` live keys with `prefix` in order, beginning after `after`.
    pub(super) fn keys(
        &self,
        prefix: &str,
        after: Option<&[u8]>,
        limit: usize,
        now: i64,
    ) -> Vec<String> {
        // A cursor that is not UTF-8 is none of ours: such a scan begins anew.
        let after = after.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let keys = shard.keys.range::<str, _>((start, Bound::Unbounded));
            let wanted = keys
                .take_while(|key| key.starts_with(prefix))
                .filter(|key| shard.live(key, now).is_some());
            found.extend(wanted.take(limit).map(|key| String::from(&**key)));
        }
        found.sort_unstable();
        found.truncate(limit);
        found
    }

    /// Replaces what lies under `key` by what `decide` makes of it; `false` if that is nothing.
    fn write(
        &self,
        key: &str,
        length: usize,
        now: i64,
        decide: impl Fn(Option<&Record>) -> Option<Record>,
    ) -> Result<bool> {
        match self.try_write(key, length, now, &decide) {
            Err(full) => {
                // Expired records elsewhere in the collection must not keep a new one out.
                if !self.sweep_all(now) {
                    return Err(full);
                }
                self.try_write(key, length, now, &decide)
            }
            done => done,
        }
    }

    fn try_write(
        &self,
        key: &str,
        length: usize,
        now: i64,
        decide: impl Fn(Option<&Record>) -> Option<Record>,
    ) -> Result<bool> {
        let mut shard = self.swept(key, now);
        let Some(record) = decide(shard.live(key, now)) else {
            return Ok(false);
        };
        // What lies there goes, live or expired: only the difference must fit.
        let (old_entries, old_bytes) = match shard.records.get(key) {
            Some(old) => (1, key.len() + old.entry.value.len()),
            None => (0, 0),
        };
        self.reserve(1 - old_entries, (key.len() + length).saturating_sub(old_bytes))?;
        let freed = old_bytes.saturating_sub(key.len() + length);
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        shard.insert(key, record);
        Ok(true)
    }

    fn reserve(&self, entries: usize, bytes: usize) -> Result<()> {
        if !add_within(&self.entries, entries, self.bounds.entries) {
            return Err(self.full(self.bounds.entries, "entries", "max_entries"));
        }
        if !add_within(&self.bytes, bytes, self.bounds.bytes) {
            self.entries.fetch_sub(entries, Ordering::Relaxed);
            return Err(self.full(self.bounds.bytes, "bytes", "max_bytes"));
        }
        Ok(())
    }

    fn release(&self, key: &str, record: &Record) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(key.len() + record.entry.value.len(), Ordering::Relaxed);
    }

    fn full(&self, bound: usize, unit: &str, setting: &str) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!("collection {} is full: {bound} {unit}; raise {setting}", self.name),
        )
    }

    /// Locks the key's shard and drops a few of its expired records.
    fn swept(&self, key: &str, now: i64) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "the remainder is below SHARDS")]
        let shard = &self.shards[(hash % SHARDS as u64) as usize];
        let mut shard = lock(shard);
        self.sweep(&mut shard, now, SWEEP);
        shard
    }

    /// Drops every expired record; `false` if there was none.
    fn sweep_all(&self, now: i64) -> bool {
        let sweep = |shard| self.sweep(&mut lock(shard), now, usize::MAX);
        self.shards.iter().map(sweep).sum::<usize>() > 0
    }

    fn sweep(&self, shard: &mut Shard, now: i64, at_most: usize) -> usize {
        for swept in 0..at_most {
            match shard.expiring.first() {
                Some((at, key)) if *at <= now => {
                    let key = Arc::clone(key);
                    if let Some(record) = shard.remove(&key) {
                        self.release(&key, &record);
                    }
                }
                _ => return swept,
            }
        }
        at_most
    }

    #[cfg(test)]
    pub(super) fn usage(&self) -> (usize, usize) {
        (self.entries.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Shard {
    fn live(&self, key: &str, now: i64) -> Option<&Record> {
        self.records.get(key).filter(|record| record.is_live(now))
    }

    fn insert(&mut self, key: &str, record: Record) {
        let key = if let Some((key, old)) = self.records.get_key_value(key) {
            let key = Arc::clone(key);
            if let Some(at) = old.expires_at {
                self.expiring.remove(&(at, Arc::clone(&key)));
            }
            key
        } else {
            let key = Arc::from(key);
            self.keys.insert(Arc::clone(&key));
            key
        };
        if let Some(at) = record.expires_at {
            self.expiring.insert((at, Arc::clone(&key)));
        }
        self.records.insert(key, record);
    }

    fn remove(&mut self, key: &str) -> Option<Record> {
        let (key, record) = self.records.remove_entry(key)?;
        self.keys.remove(&key);
        if let Some(at) = record.expires_at {
            self.expiring.remove(&(at, key));
        }
        Some(record)
    }
}

/// A panic elsewhere leaves no record half written: every change here is complete or not begun.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add_within(counter: &AtomicUsize, amount: usize, limit: usize) -> bool {
    let add = |used: usize| used.checked_add(amount).filter(|sum| amount == 0 || *sum <= limit);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}
