//! The backend that keeps its records in this process.

mod budget;
mod collection;
mod collections;
mod shard;
#[cfg(test)]
mod tests;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use self::{
    collection::{Collection, Expected, Write},
    collections::Collections,
};
use crate::{
    Clock, Cursor, Entry, KeyValue, Page, Protected, Result, Ttl, Version,
    clock::{system_clock, unix_millis},
    contract::sealed::Sealed,
    limits,
    open::{MemoryBounds, memory_bounds},
};

/// Keeps records in this process: fast, bounded, gone when it ends.
///
/// Each collection is bounded in entries and in bytes (keys and values). A full one refuses new
/// records with [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) and never evicts; expired
/// records do not count. Values are copied in and overwritten with zeros once neither the store
/// nor a reader holds them.
///
/// Expired records are dropped a few at a time by the operations that come by, soonest first,
/// without looking at the others.
pub struct Memory {
    collections: Collections,
    bounds: Bounds,
    clock: Clock,
}

/// How much one collection may hold.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    entries: usize,
    bytes: usize,
}

impl Memory {
    /// How many entries a collection holds by default: far above what one process serves, and
    /// still well within a small machine.
    pub const DEFAULT_MAX_ENTRIES: usize = 100_000;

    /// How many bytes of keys and values a collection holds by default.
    pub const DEFAULT_MAX_BYTES: usize = 128 * 1024 * 1024;

    /// An empty store with the default bounds and the system's clock.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An empty store with the bounds that a URL states: `memory:`, with the options `max_entries`
    /// and `max_bytes` for what is not to be the default.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if it says anything else.
    pub fn open(url: &str) -> Result<Self> {
        memory_bounds(url).map(Self::bounded)
    }

    pub(crate) fn bounded(bounds: MemoryBounds) -> Self {
        let mut builder = Self::builder();
        let MemoryBounds { max_entries, max_bytes } = bounds;
        builder.bounds.entries = max_entries.unwrap_or(builder.bounds.entries);
        builder.bounds.bytes = max_bytes.unwrap_or(builder.bounds.bytes);
        builder.build()
    }

    /// An empty store with bounds or a clock of your own.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder {
            bounds: Bounds { entries: Self::DEFAULT_MAX_ENTRIES, bytes: Self::DEFAULT_MAX_BYTES },
            clock: system_clock(),
        }
    }

    fn now(&self) -> i64 {
        unix_millis(&self.clock)
    }

    /// The collection if anything was ever written to it.
    fn existing(&self, collection: &str) -> Result<Option<&Collection>> {
        let found = self.collections.find(collection);
        if found.is_none() {
            limits::check_collection(collection)?;
        }
        Ok(found)
    }

    fn existing_for(&self, collection: &str, key: &str) -> Result<Option<&Collection>> {
        limits::check_key(key)?;
        self.existing(collection)
    }

    /// Whether what was present was what was expected, and so was written over.
    fn write(&self, collection: &str, write: Write<'_>, expected: Expected) -> Result<bool> {
        let records = match (self.existing_for(collection, write.key)?, expected) {
            (Some(records), _) => records,
            (None, Expected::Version(_)) => return Ok(false),
            (None, _) => self.collections.find_or_make(collection, self.bounds),
        };
        records.write(write, expected, self.now())
    }

    /// The record, removed if it is the expected one.
    fn removed(&self, collection: &str, key: &str, expected: Expected) -> Result<Option<Entry>> {
        let found = self.existing_for(collection, key)?;
        Ok(found.and_then(|records| records.take(key, expected, self.now())))
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the bounds, not what is stored.
impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Sealed for Memory {}

impl Protected for Memory {}

#[async_trait]
impl KeyValue for Memory {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let found = self.existing_for(collection, key)?;
        Ok(found.and_then(|records| records.get(key, self.now())))
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        keys.iter().try_for_each(|key| limits::check_key(key))?;
        let Some(records) = self.existing(collection)? else {
            return Ok(vec![None; keys.len()]);
        };
        let now = self.now();
        Ok(keys.iter().map(|key| records.get(key, now)).collect())
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        let write = Write::new(key, &value, ttl)?;
        let version = write.version;
        self.write(collection, write, Expected::Any)?;
        Ok(version)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        Ok(self.removed(collection, key, Expected::Any)?.is_some())
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.removed(collection, key, Expected::Any)
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let write = Write::new(key, &value, ttl)?;
        let version = write.version;
        Ok(self.write(collection, write, Expected::None)?.then_some(version))
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let write = Write::new(key, &value, ttl)?;
        let version = write.version;
        let written = self.write(collection, write, Expected::Version(expected))?;
        Ok(written.then_some(version))
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        Ok(self.removed(collection, key, Expected::Version(expected))?.is_some())
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        let Some(records) = self.existing_for(collection, key)? else {
            return Ok(None);
        };
        let version = Version::random()?;
        Ok(records.expire(key, version, ttl, self.now()).then_some(version))
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let Some(records) = self.existing_for(collection, prefix)? else {
            return Ok(Page::default());
        };
        Ok(records.page(prefix, cursor.as_ref(), limit.max(1), self.now()))
    }

    async fn health(&self) -> Result<()> {
        Ok(())
    }
}

/// Makes a [`Memory`].
#[derive(Clone)]
#[must_use]
pub struct MemoryBuilder {
    bounds: Bounds,
    clock: Clock,
}

impl MemoryBuilder {
    /// How many entries each collection holds at most.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.bounds.entries = entries;
        self
    }

    /// How many bytes of keys and values each collection holds at most.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// The clock that expiry is judged by.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The store.
    #[must_use]
    pub fn build(self) -> Memory {
        Memory { collections: Collections::new(), bounds: self.bounds, clock: self.clock }
    }
}

impl fmt::Debug for MemoryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBuilder").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
