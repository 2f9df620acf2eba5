//! Records in collections: the typed face of [`KeyValue`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_storage::{Cursor, Entry, Error, ErrorKind, KeyValue, Page, Ttl, Version};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    audit::{self, AuditEvent, AuditSink},
    error::{ErrorCode, OAuthError, chain},
};

/// What can be stored, and where.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// The collection that holds these records and no others.
    const COLLECTION: &'static str;
    /// The version of the stored form, written with every record.
    const FORMAT: u8;
}

/// A record with the version that the store gave its last write.
#[derive(Debug)]
pub(crate) struct Stored<R> {
    pub(crate) record: R,
    pub(crate) version: Version,
}

/// One of many.
#[derive(Debug)]
pub(crate) enum Found<R> {
    Record(Stored<R>),
    Unreadable,
    Absent,
}

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("storage failed")]
    Storage(#[from] Error),
    #[error("a record in `{collection}` could not be {action}")]
    Form {
        collection: &'static str,
        action: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("a record in `{collection}` has format {found}; this version reads {known}")]
    Format { collection: &'static str, found: u8, known: u8 },
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

impl StoreError {
    /// Whether the write may have happened.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Storage(error) if error.kind() == ErrorKind::OutcomeUnknown)
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Storage(error) => error.into(),
            other => Self::new(ErrorCode::ServerError, "the server could not read its storage")
                .with_cause(other),
        }
    }
}

#[derive(Serialize)]
struct Writing<'a, R> {
    format: u8,
    record: &'a R,
}

#[derive(Deserialize)]
struct Reading<R> {
    format: u8,
    record: R,
}

/// What can be read of a record of any format.
#[derive(Deserialize)]
struct AnyFormat {
    format: u8,
}

/// All collections of one deployment.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    storage: Arc<dyn KeyValue>,
    audit: Option<Arc<dyn AuditSink>>,
}

impl Store {
    pub(crate) fn new(storage: Arc<dyn KeyValue>, audit: Option<Arc<dyn AuditSink>>) -> Self {
        Self { storage, audit }
    }

    pub(crate) async fn get<R: Record>(&self, key: &str) -> Result<Option<Stored<R>>> {
        let Some(entry) = self.storage.get(R::COLLECTION, key).await? else { return Ok(None) };
        Ok(Some(Stored { record: decode(&entry.value)?, version: entry.version }))
    }

    /// What stands under each of `keys`, in their order. One record that cannot be read does not
    /// spoil the others.
    pub(crate) async fn get_many<R: Record>(&self, keys: &[&str]) -> Result<Vec<Found<R>>> {
        let entries = self.entries(R::COLLECTION, keys).await?;
        let found = entries.into_iter().map(|entry| {
            let read = match entry {
                Ok(None) => return Found::Absent,
                Ok(Some(entry)) => decode(&entry.value)
                    .map(|record| Found::Record(Stored { record, version: entry.version })),
                Err(error) => Err(error.into()),
            };
            read.unwrap_or_else(|error: StoreError| {
                tracing::warn!(cause = %chain(&error), "a record was left out");
                let event = AuditEvent::record_unreadable(R::COLLECTION);
                audit::tell(self.audit.as_deref(), &event);
                Found::Unreadable
            })
        });
        Ok(found.collect())
    }

    /// The storage's answer for each key: an entry or that it is corrupt.
    async fn entries(
        &self,
        collection: &str,
        keys: &[&str],
    ) -> Result<Vec<kv_storage::Result<Option<Entry>>>> {
        let is_corrupt = |error: &Error| error.kind() == ErrorKind::Corrupt;
        match self.storage.get_many(collection, keys).await {
            Ok(entries) => return Ok(entries.into_iter().map(Ok).collect()),
            Err(error) if is_corrupt(&error) => {}
            Err(error) => return Err(error.into()),
        }
        // One spoils the call; which one it is shows when each is read alone.
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            let entry = self.storage.get(collection, key).await;
            match entry {
                Err(error) if !is_corrupt(&error) => return Err(error.into()),
                entry => entries.push(entry),
            }
        }
        Ok(entries)
    }

    pub(crate) async fn put<R: Record>(&self, key: &str, record: &R, ttl: Duration) -> Result<()> {
        self.storage.put(R::COLLECTION, key, encode(record)?, Ttl::After(ttl)).await?;
        Ok(())
    }

    /// `false` if the key was taken already.
    pub(crate) async fn put_if_absent<R: Record>(
        &self,
        key: &str,
        record: &R,
        ttl: Duration,
    ) -> Result<bool> {
        let value = encode(record)?;
        Ok(self.storage.put_if_absent(R::COLLECTION, key, value, Ttl::After(ttl)).await?.is_some())
    }

    /// The new version; `None` if the record is gone or was written by somebody else meanwhile.
    pub(crate) async fn compare_and_swap<R: Record>(
        &self,
        key: &str,
        expected: Version,
        record: &R,
        ttl: Duration,
    ) -> Result<Option<Version>> {
        let value = encode(record)?;
        Ok(self
            .storage
            .compare_and_swap(R::COLLECTION, key, expected, value, Ttl::After(ttl))
            .await?)
    }

    /// As [`compare_and_swap`](Self::compare_and_swap), without a longer life.
    pub(crate) async fn replace<R: Record>(
        &self,
        key: &str,
        expected: Version,
        record: &R,
    ) -> Result<Option<Version>> {
        let value = encode(record)?;
        Ok(self.storage.compare_and_swap(R::COLLECTION, key, expected, value, Ttl::Keep).await?)
    }

    pub(crate) async fn take<R: Record>(&self, key: &str) -> Result<Option<R>> {
        self.storage.take(R::COLLECTION, key).await?.map(|entry| decode(&entry.value)).transpose()
    }

    /// `true` if something live was there.
    pub(crate) async fn delete<R: Record>(&self, key: &str) -> Result<bool> {
        Ok(self.storage.delete(R::COLLECTION, key).await?)
    }

    /// `true` if this very version was there.
    pub(crate) async fn compare_and_delete<R: Record>(
        &self,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        Ok(self.storage.compare_and_delete(R::COLLECTION, key, expected).await?)
    }

    /// Every key that begins with `prefix`.
    pub(crate) async fn keys<R: Record>(&self, prefix: &str) -> Result<Vec<String>> {
        /// Keys per page: one round trip for everybody but the keenest users.
        const PAGE: usize = 100;
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.page::<R>(prefix, cursor, PAGE).await?;
            keys.extend(page.keys);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }

    /// About `limit` keys that begin with `prefix`, and where to go on.
    pub(crate) async fn page<R: Record>(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        Ok(self.storage.scan(R::COLLECTION, prefix, cursor, limit).await?)
    }

    /// Whether the storage answers.
    pub(crate) async fn health(&self) -> Result<()> {
        Ok(self.storage.health().await?)
    }
}

fn encode<R: Record>(record: &R) -> Result<Bytes> {
    serde_json::to_vec(&Writing { format: R::FORMAT, record })
        .map(Bytes::from)
        .map_err(|source| StoreError::Form { collection: R::COLLECTION, action: "written", source })
}

fn decode<R: Record>(bytes: &[u8]) -> Result<R> {
    let collection = R::COLLECTION;
    let foreign = |found| StoreError::Format { collection, found, known: R::FORMAT };
    match serde_json::from_slice::<Reading<R>>(bytes) {
        Ok(reading) if reading.format == R::FORMAT => Ok(reading.record),
        Ok(reading) => Err(foreign(reading.format)),
        Err(source) => match serde_json::from_slice::<AnyFormat>(bytes) {
            Ok(any) if any.format != R::FORMAT => Err(foreign(any.format)),
            _ => Err(StoreError::Form { collection, action: "read", source }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Note {
        text: String,
    }

    impl Record for Note {
        const COLLECTION: &'static str = "notes";
        const FORMAT: u8 = 2;
    }

    #[test]
    fn a_record_carries_its_format() {
        let note = Note { text: "hello".to_owned() };
        let bytes = encode(&note).unwrap();
        assert_eq!(bytes, r#"{"format":2,"record":{"text":"hello"}}"#);
        assert_eq!(decode::<Note>(&bytes).unwrap(), note);
    }

    #[test]
    fn another_format_is_named_not_guessed() {
        let error = decode::<Note>(br#"{"format":3,"record":{"words":[]}}"#).unwrap_err();
        assert!(matches!(error, StoreError::Format { found: 3, known: 2, .. }));
        let error = decode::<Note>(br#"{"format":1,"record":{"text":"old"}}"#).unwrap_err();
        assert!(matches!(error, StoreError::Format { found: 1, .. }));
        assert!(matches!(decode::<Note>(b"nonsense").unwrap_err(), StoreError::Form { .. }));
    }
}
