use std::borrow::Cow;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Cursor, Entry, KeyValue, Page, Result, Ttl, Version, contract, limits};

/// Refuses to write values beyond a size, below what the inner store would take.
///
/// A write of a larger value fails with [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge)
/// before the inner store sees it and changes nothing. What is larger already stays readable and
/// removable.
///
/// The size is that of what rests. [`Encrypted`](crate::Encrypted) goes around this store, never
/// inside, and adds to each value: with `Aes256Gcm` 57 bytes, with `Fernet` a third and
/// a hundred bytes or two, more for long keys. This store is not
/// [`Protected`](crate::Protected), whatever it wraps.
///
/// ```
/// # use kv_storage::{KeyValue, Limited, Memory, Ttl};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kv_storage::Result<()> {
/// let store = Limited::new(Memory::new(), 4096)?;
/// store.put("codes", "a", vec![0; 4096].into(), Ttl::Forever).await?;
/// assert!(store.put("codes", "a", vec![0; 4097].into(), Ttl::Forever).await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # use kv_storage::{Limited, Memory, Protected};
/// fn storage(store: impl Protected) {}
/// storage(Limited::new(Memory::new(), 4096).unwrap());
/// ```
#[derive(Debug)]
pub struct Limited<S> {
    store: S,
    max_value_bytes: usize,
}

impl<S: KeyValue> Limited<S> {
    /// Lets values of at most `max_value_bytes` through to `store`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if `store` is encrypted
    /// already.
    pub fn new(store: S, max_value_bytes: usize) -> Result<Self> {
        contract::check_not_sealed("Limited", &store)?;
        Ok(Self { store, max_value_bytes })
    }

    fn check(&self, value: &[u8]) -> Result<()> {
        let way_out = "write less, or give Limited more";
        limits::check_length("a value", value.len(), self.max_value_bytes, way_out)
    }
}

#[async_trait]
impl<S: KeyValue> KeyValue for Limited<S> {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.store.get(collection, key).await
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        self.store.get_many(collection, keys).await
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        self.check(&value)?;
        self.store.put(collection, key, value, ttl).await
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        self.store.delete(collection, key).await
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.store.take(collection, key).await
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        self.check(&value)?;
        self.store.put_if_absent(collection, key, value, ttl).await
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        self.check(&value)?;
        self.store.compare_and_swap(collection, key, expected, value, ttl).await
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        self.store.compare_and_delete(collection, key, expected).await
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        self.store.expire(collection, key, ttl).await
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.store.scan(collection, prefix, cursor, limit).await
    }

    async fn health(&self) -> Result<()> {
        self.store.health().await
    }

    async fn close(&self) {
        self.store.close().await;
    }

    fn physical_collection<'a>(&self, collection: &'a str) -> Cow<'a, str> {
        self.store.physical_collection(collection)
    }
}
