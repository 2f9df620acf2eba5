use std::{
    hash::{BuildHasher, RandomState},
    mem,
    ops::Bound,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use bytes::Bytes;

use super::{
    Bounds,
    budget::{Budget, Short},
    shard::{Key, Record, Shard},
};
use crate::{Cursor, Entry, Error, ErrorKind, Page, Result, Ttl, Version, Wiped, limits};

/// Enough that 64 tasks seldom meet at one lock.
pub(super) const SHARDS: u8 = 16;

/// How many slots one operation looks at in passing for expired records: more than it can add, so
/// that sweeping keeps up, and few enough that nobody waits.
pub(super) const SWEEP: usize = 8;

/// Which present record an operation is meant for.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    Any,
    None,
    Version(Version),
}

impl Expected {
    fn is(self, present: Option<&Record>) -> bool {
        match (self, present) {
            (Self::Any, _) | (Self::None, None) => true,
            (Self::None, Some(_)) | (Self::Version(_), None) => false,
            (Self::Version(expected), Some(present)) => present.version == expected,
        }
    }
}

/// What is to be written.
pub(super) struct Write<'a> {
    pub(super) key: &'a str,
    value: Bytes,
    pub(super) version: Version,
    ttl: Ttl,
}

impl<'a> Write<'a> {
    /// Copies the value, so that nobody waits at a lock for that.
    pub(super) fn new(key: &'a str, value: &[u8], ttl: Ttl) -> Result<Self> {
        limits::check_value(value)?;
        let value = Bytes::from_owner(Wiped::new(value.to_vec()));
        Ok(Self { key, value, version: Version::random()?, ttl })
    }
}

/// The records of one collection and what they use of its bounds.
pub(super) struct Collection {
    name: Box<str>,
    bounds: Bounds,
    budget: Budget,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS as usize],
    /// Where the next scan begins, so that those who scan at once do not meet at one lock.
    next_scan: AtomicU8,
}

impl Collection {
    pub(super) fn new(name: &str, bounds: Bounds) -> Self {
        Self {
            name: name.into(),
            bounds,
            budget: Budget::new(bounds),
            hasher: RandomState::new(),
            shards: Default::default(),
            next_scan: AtomicU8::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn get(&self, key: &str, now: i64) -> Option<Entry> {
        let (key, shard) = self.swept(key, now);
        let record = shard.record(shard.find(key)?);
        let entry = || Entry { value: record.value.clone(), version: record.version };
        record.is_live(now).then(entry)
    }

    /// Writes if what is present is what was expected; `false` otherwise.
    pub(super) fn write(&self, mut write: Write<'_>, expected: Expected, now: i64) -> Result<bool> {
        let written = self.try_write(&mut write, expected, now).or_else(|_| {
            // Neither expired records nor spare room elsewhere must keep a new one out.
            self.sweep_all(now);
            self.try_write(&mut write, expected, now)
        });
        written.map_err(|short| self.full(short))
    }

    fn try_write(
        &self,
        write: &mut Write<'_>,
        expected: Expected,
        now: i64,
    ) -> std::result::Result<bool, Short> {
        // Wiped when the lock is free again.
        let _replaced;
        let (key, mut shard) = self.swept(write.key, now);
        let place = shard.find(key);
        let old = place.map(|place| shard.record(place));
        let present = old.filter(|record| record.is_live(now));
        if !expected.is(present) {
            return Ok(false);
        }
        let expires_at = write.ttl.expires_at(now, present.and_then(|record| record.expires_at));
        // What lies there goes, live or expired: only the difference must fit.
        let (entries, old_size) = (usize::from(old.is_none()), old.map_or(0, Record::size));
        let size = key.text.len() + write.value.len();
        self.budget.take(&mut shard.share, entries, size.saturating_sub(old_size))?;
        self.budget.free(&mut shard.share, 0, old_size.saturating_sub(size));
        let value = mem::take(&mut write.value);
        _replaced = shard.write(place, key, value, write.version, expires_at);
        Ok(true)
    }

    pub(super) fn expire(&self, key: &str, version: Version, ttl: Ttl, now: i64) -> bool {
        let (key, mut shard) = self.swept(key, now);
        let Some(place) = shard.find(key) else {
            return false;
        };
        let present = shard.record(place);
        if !present.is_live(now) {
            return false;
        }
        let expires_at = ttl.expires_at(now, present.expires_at);
        shard.change(place, version, expires_at);
        true
    }

    /// Removes the record that is expected.
    pub(super) fn take(&self, key: &str, expected: Expected, now: i64) -> Option<Entry> {
        let (key, mut shard) = self.swept(key, now);
        let place = shard.find(key)?;
        let present = shard.record(place);
        if !present.is_live(now) || !expected.is(Some(present)) {
            return None;
        }
        let record = shard.remove(place);
        self.budget.free(&mut shard.share, 1, record.size());
        drop(shard);
        Some(Entry { value: record.value, version: record.version })
    }

    /// About `limit` live keys with `prefix`: shard by shard, each in order, so that a page touches
    /// hardly more than what it returns.
    pub(super) fn page(
        &self,
        prefix: &str,
        cursor: Option<&Cursor>,
        limit: usize,
        now: i64,
    ) -> Page {
        let position = cursor.and_then(Position::read);
        let mut position = position.unwrap_or_else(|| {
            let first = self.next_scan.fetch_add(1, Ordering::Relaxed);
            Position { first, done: 0, after: None }
        });
        let mut keys = Vec::new();
        while position.done < SHARDS {
            let shard = &self.shards[position.shard()];
            let start = match position.after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let wanted = limit - keys.len();
            keys.extend(lock(shard).keys(start, prefix, now).take(wanted).map(String::from));
            if keys.len() == limit {
                position.after = keys.last().map(String::as_str);
                let next = Some(position.write());
                return Page { keys, next };
            }
            position = Position { done: position.done + 1, after: None, ..position };
        }
        Page { keys, next: None }
    }

    fn full(&self, short: Short) -> Error {
        let (bound, unit, setting) = match short {
            Short::Entries => (self.bounds.entries, "entries", "max_entries"),
            Short::Bytes => (self.bounds.bytes, "bytes", "max_bytes"),
        };
        Error::new(
            ErrorKind::TooLarge,
            format!(
                "collection {} is full: {bound} {unit}; raise {setting}, as in \
                 memory:?{setting}={}",
                self.name,
                bound.saturating_mul(2)
            ),
        )
    }

    /// Locks the key's shard and drops a few of its expired records.
    fn swept<'a>(&self, text: &'a str, now: i64) -> (Key<'a>, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(text);
        // The shard's table goes by the highest and the lowest bits.
        let shard = &self.shards[((hash >> 32) % u64::from(SHARDS)) as usize];
        let mut shard = lock(shard);
        self.sweep(&mut shard, now, SWEEP);
        (Key { text, hash }, shard)
    }

    /// Drops every expired record, and leaves no shard anything spare.
    fn sweep_all(&self, now: i64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            self.sweep(&mut shard, now, usize::MAX);
            self.budget.reclaim(&mut shard.share);
        }
    }

    fn sweep(&self, shard: &mut Shard, now: i64, mut looks: usize) {
        while let Some(record) = shard.expired(now, &mut looks) {
            self.budget.free(&mut shard.share, 1, record.size());
        }
    }

    /// How many entries and bytes are in use.
    #[cfg(test)]
    pub(super) fn usage(&self) -> (usize, usize) {
        for shard in &self.shards {
            self.budget.reclaim(&mut lock(shard).share);
        }
        let (entries, bytes) = self.budget.left();
        (self.bounds.entries - entries, self.bounds.bytes - bytes)
    }

    /// How many times are kept to look for expired records at.
    #[cfg(test)]
    pub(super) fn due(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).due()).sum()
    }
}

/// How far a scan has come.
struct Position<'a> {
    /// The shard that it began with, round and round.
    first: u8,
    /// How many shards were listed to their end.
    done: u8,
    /// The last key of the shard that was listed.
    after: Option<&'a str>,
}

impl<'a> Position<'a> {
    fn shard(&self) -> usize {
        usize::from(self.first.wrapping_add(self.done) % SHARDS)
    }

    /// `None` for what is no cursor of ours: such a scan begins anew.
    fn read(Cursor(bytes): &'a Cursor) -> Option<Self> {
        let (&[first, done], after) = bytes.split_first_chunk()?;
        Some(Self { first, done, after: Some(std::str::from_utf8(after).ok()?) })
    }

    fn write(&self) -> Cursor {
        let after = self.after.unwrap_or_default();
        Cursor::new([&[self.first, self.done], after.as_bytes()].concat())
    }
}

/// A panic elsewhere leaves no record half written: every change here is complete or not begun.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
