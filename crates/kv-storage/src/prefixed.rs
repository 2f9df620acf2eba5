use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Cursor, Entry, Error, ErrorKind, KeyValue, Page, Result, Ttl, Version, contract, limits,
};

/// Gives a part of a shared store of its own: every collection `c` rests in `prefix_c`.
///
/// The collections are renamed, and not the keys, so that keys may still be as long as
/// everywhere, scans and cursors are the inner store's own, and bounds that a store sets for
/// each collection hold for each prefix.
///
/// A prefix is letters only, so that the first `_` ends it: two stores of different prefixes
/// never meet, whatever their collections are called. What uses the inner store without a prefix
/// may meet all of them; give everything in a shared store one.
///
/// Several of them may be nested; the inner prefix comes first.
/// [`Encrypted`](crate::Encrypted) goes around it, never inside: this store is not
/// [`Protected`](crate::Protected), whatever it wraps.
///
/// ```
/// # use kv_storage::{KeyValue, Memory, Prefixed, Ttl};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kv_storage::Result<()> {
/// let shared = std::sync::Arc::new(Memory::new());
/// let staging = Prefixed::new(std::sync::Arc::clone(&shared), "staging")?;
/// staging.put("codes", "a", "value".into(), Ttl::Forever).await?;
/// assert!(shared.get("staging_codes", "a").await?.is_some());
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use kv_storage::{Memory, Prefixed, Protected};
/// fn storage(store: impl Protected) {}
/// storage(Prefixed::new(Memory::new(), "staging").unwrap());
/// ```
#[derive(Debug)]
pub struct Prefixed<S> {
    store: S,
    prefix: Box<str>,
}

impl<S: KeyValue> Prefixed<S> {
    /// The longest prefix: it leaves collections half of
    /// [`MAX_COLLECTION_BYTES`](limits::MAX_COLLECTION_BYTES).
    pub const MAX_PREFIX_BYTES: usize = limits::MAX_COLLECTION_BYTES / 2 - 1;

    /// The part of `store` that has this prefix, 1 to
    /// [`MAX_PREFIX_BYTES`](Self::MAX_PREFIX_BYTES) of `a`–`z`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] for another prefix, or if `store` is encrypted already.
    pub fn new(store: S, prefix: &str) -> Result<Self> {
        contract::check_not_sealed("Prefixed", &store)?;
        let letters = prefix.bytes().all(|byte| byte.is_ascii_lowercase());
        if !letters || !(1..=Self::MAX_PREFIX_BYTES).contains(&prefix.len()) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!("a prefix must be 1 to {} of a-z", Self::MAX_PREFIX_BYTES),
            ));
        }
        Ok(Self { store, prefix: prefix.into() })
    }

    /// The collection's name in the inner store.
    fn renamed(&self, collection: &str) -> Result<String> {
        // By itself, for an empty name would pass behind the prefix.
        limits::check_collection(collection)?;
        let renamed = self.join(collection);
        if renamed.len() > limits::MAX_COLLECTION_BYTES {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the name of collection {collection} is over the limit of {} bytes with \
                     prefix {}: give a shorter prefix",
                    limits::MAX_COLLECTION_BYTES,
                    self.prefix
                ),
            ));
        }
        Ok(renamed)
    }

    fn join(&self, collection: &str) -> String {
        format!("{}_{collection}", self.prefix)
    }
}

#[async_trait]
impl<S: KeyValue> KeyValue for Prefixed<S> {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.store.get(&self.renamed(collection)?, key).await
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        self.store.get_many(&self.renamed(collection)?, keys).await
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        self.store.put(&self.renamed(collection)?, key, value, ttl).await
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        self.store.delete(&self.renamed(collection)?, key).await
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.store.take(&self.renamed(collection)?, key).await
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        self.store.put_if_absent(&self.renamed(collection)?, key, value, ttl).await
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let renamed = self.renamed(collection)?;
        self.store.compare_and_swap(&renamed, key, expected, value, ttl).await
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        self.store.compare_and_delete(&self.renamed(collection)?, key, expected).await
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        self.store.expire(&self.renamed(collection)?, key, ttl).await
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.store.scan(&self.renamed(collection)?, prefix, cursor, limit).await
    }

    async fn health(&self) -> Result<()> {
        self.store.health().await
    }

    async fn close(&self) {
        self.store.close().await;
    }

    fn physical_collection<'a>(&self, collection: &'a str) -> Cow<'a, str> {
        Cow::Owned(self.store.physical_collection(&self.join(collection)).into_owned())
    }
}
