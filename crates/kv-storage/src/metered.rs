use std::{borrow::Cow, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Cursor, Entry, ErrorKind, KeyValue, Page, Protected, Result, Ttl, Version,
    contract::{self, sealed::Sealed},
    limits,
    operation::Operation,
};

/// Counts and times the operations of a store, through the facade `metrics`.
///
/// | metric | kind | labels |
/// | --- | --- | --- |
/// | `kv_storage_operations_total` | counter | `operation`, `collection`, `outcome` |
/// | `kv_storage_operation_seconds` | histogram | `operation` |
///
/// - `operation` is the method's name.
/// - `collection` is the caller's name for it, one of the few that the program has; what is no
///   valid name is the empty text. `health` has none and says so in the same way.
/// - `outcome` is `done` (found, written, removed), `none` (nothing there, or somebody else was
///   faster: no error), the kind of the error (`unavailable`, `outcome_unknown`, `corrupt`,
///   `conflict`, `too_large`, `misconfigured`), or `abandoned`: the caller hung up first.
///
/// Labels never hold keys or values. Without an installed recorder nothing is recorded and next
/// to nothing is spent.
///
/// [`Encrypted`](crate::Encrypted) goes around it, never inside: it is the store that is measured.
/// Around a [`Protected`] store, which is then `Memory`, it is protected as well.
///
/// ```
/// # use kv_storage::{Aes256Gcm, Encrypted, KeyValue, Memory, Metered, Ttl};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kv_storage::Result<()> {
/// # let keys = [Aes256Gcm::generate_key()];
/// let store = Metered::new(Memory::new())?;
/// let store = Encrypted::new(store, Aes256Gcm::new(&keys)?, "https://issuer.example");
/// # store.put("codes", "a", "secret".into(), Ttl::Forever).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Metered<S> {
    store: S,
}

const OPERATIONS: &str = "kv_storage_operations_total";
const SECONDS: &str = "kv_storage_operation_seconds";

impl<S: KeyValue> Metered<S> {
    /// Measures `store`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if `store` is encrypted already.
    pub fn new(store: S) -> Result<Self> {
        contract::check_not_sealed("Metered", &store)?;
        metrics::describe_counter!(OPERATIONS, "Operations of the storage by outcome.");
        metrics::describe_histogram!(
            SECONDS,
            metrics::Unit::Seconds,
            "How long operations of the storage took."
        );
        Ok(Self { store })
    }
}

/// One operation under way; what it came to is recorded when it ends, by itself or by its caller.
struct Measured<'a> {
    operation: Operation,
    collection: &'a str,
    begun: Instant,
    outcome: &'static str,
}

impl<'a> Measured<'a> {
    fn begin(operation: Operation, collection: &'a str) -> Self {
        Self { operation, collection, begun: Instant::now(), outcome: "abandoned" }
    }

    fn end<T>(mut self, result: Result<T>, found: impl Fn(&T) -> bool) -> Result<T> {
        self.outcome = match &result {
            Ok(answer) if found(answer) => "done",
            Ok(_) => "none",
            Err(error) => match error.kind() {
                ErrorKind::Unavailable => "unavailable",
                ErrorKind::OutcomeUnknown => "outcome_unknown",
                ErrorKind::Corrupt => "corrupt",
                ErrorKind::Conflict => "conflict",
                ErrorKind::TooLarge => "too_large",
                ErrorKind::Misconfigured => "misconfigured",
            },
        };
        result
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        let operation = self.operation.as_str();
        // A name that is none may have come from anywhere; labels are a bounded set.
        let valid = limits::check_collection(self.collection).is_ok();
        let collection = if valid { self.collection.to_owned() } else { String::new() };
        metrics::counter!(
            OPERATIONS,
            "operation" => operation, "collection" => collection, "outcome" => self.outcome
        )
        .increment(1);
        metrics::histogram!(SECONDS, "operation" => operation).record(self.begun.elapsed());
    }
}

impl<S: Protected> Sealed for Metered<S> {}

impl<S: Protected> Protected for Metered<S> {}

#[async_trait]
impl<S: KeyValue> KeyValue for Metered<S> {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let measured = Measured::begin(Operation::Get, collection);
        measured.end(self.store.get(collection, key).await, Option::is_some)
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        let measured = Measured::begin(Operation::GetMany, collection);
        let found = self.store.get_many(collection, keys).await;
        measured.end(found, |found| found.iter().any(Option::is_some))
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        let measured = Measured::begin(Operation::Put, collection);
        measured.end(self.store.put(collection, key, value, ttl).await, |_| true)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        let measured = Measured::begin(Operation::Delete, collection);
        measured.end(self.store.delete(collection, key).await, |deleted| *deleted)
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let measured = Measured::begin(Operation::Take, collection);
        measured.end(self.store.take(collection, key).await, Option::is_some)
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let measured = Measured::begin(Operation::PutIfAbsent, collection);
        let written = self.store.put_if_absent(collection, key, value, ttl).await;
        measured.end(written, Option::is_some)
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let measured = Measured::begin(Operation::CompareAndSwap, collection);
        let written = self.store.compare_and_swap(collection, key, expected, value, ttl).await;
        measured.end(written, Option::is_some)
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        let measured = Measured::begin(Operation::CompareAndDelete, collection);
        let deleted = self.store.compare_and_delete(collection, key, expected).await;
        measured.end(deleted, |deleted| *deleted)
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        let measured = Measured::begin(Operation::Expire, collection);
        measured.end(self.store.expire(collection, key, ttl).await, Option::is_some)
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let measured = Measured::begin(Operation::Scan, collection);
        let page = self.store.scan(collection, prefix, cursor, limit).await;
        measured.end(page, |page| !page.keys.is_empty())
    }

    async fn health(&self) -> Result<()> {
        let measured = Measured::begin(Operation::Health, "");
        measured.end(self.store.health().await, |()| true)
    }

    async fn close(&self) {
        self.store.close().await;
    }

    fn physical_collection<'a>(&self, collection: &'a str) -> Cow<'a, str> {
        self.store.physical_collection(collection)
    }
}
