//! The wrapper that seals values before a store sees them.

#[cfg(feature = "aes-gcm")]
mod aes_gcm;
mod canary;
mod cipher;
mod envelope;
#[cfg(feature = "fernet")]
mod fernet;
#[cfg(any(feature = "aes-gcm", feature = "fernet"))]
mod ring;

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(feature = "aes-gcm")]
pub use self::aes_gcm::Aes256Gcm;
use self::envelope::Payload;
#[cfg(feature = "fernet")]
pub use self::fernet::Fernet;
pub use self::{canary::SealedWith, cipher::Cipher};
use crate::{
    Clock, Cursor, Entry, Error, ErrorKind, KeyValue, Page, Protected, Result, Ttl, Version,
    clock::{system_clock, unix_millis},
    contract::sealed::Sealed,
    limits,
};

/// How often an operation that has to read before it writes starts over when others write in
/// between. Each failed round is a success of somebody else, so only a stampede of more writers
/// than this on one record gives up.
const ROUNDS: usize = 128;

/// Seals every value before `S` sees it, and binds it to its place.
///
/// A value opens only with the keys that sealed it, and only for the deployment, collection and
/// key that it was written for. One that was copied elsewhere, written by another deployment,
/// planted, cut or garbled is *absent*; it is also counted ([`refused`](Self::refused)) and
/// reported through `tracing` at level `warn`. The expiry lies inside as well: a record whose
/// outer expiry was lengthened is absent all the same.
///
/// It is always the outermost wrapper: [`Prefixed`](crate::Prefixed) and
/// [`Limited`](crate::Limited) go inside and refuse to be put around it.
///
/// Collections, keys, versions and the outer expiry rest in the clear. Who can write to the store
/// can delete records, and can put back an older value of the same record: that is not prevented.
///
/// # Cost
///
/// As many operations of the store as without it, except that [`Ttl::Keep`] and
/// [`expire`](KeyValue::expire) read the record first and write it by `compare_and_swap` (and
/// start over if somebody else wrote, ending in [`ErrorKind::Conflict`] at worst), and that
/// a [`put_if_absent`](KeyValue::put_if_absent) that finds something reads it.
/// [`compare_and_swap`](KeyValue::compare_and_swap) with another [`Ttl`] and
/// [`compare_and_delete`](KeyValue::compare_and_delete) go by the version and by the store's expiry
/// alone: who has the version has read and opened the record while it was live. Where the store
/// expires it later than this process would, because its clock is behind or somebody lengthened the
/// outer expiry, they still succeed meanwhile, as they would have a moment earlier; nobody gets at
/// the version of a record after its end.
///
/// # Stored form
///
/// Format 1. All numbers are big-endian and unsigned.
///
/// | part | bytes | content |
/// | --- | --- | --- |
/// | binding | 1 | format version, `0x01` |
/// | | 4 + n | length of the deployment, deployment (UTF-8) |
/// | | 4 + n | length of the collection, collection |
/// | | 4 + n | length of the key, key (UTF-8) |
/// | payload | 8 | Unix milliseconds from which on it is expired; `0xffff_ffff_ffff_ffff`: never |
/// | | rest | the value |
///
/// How binding and payload are sealed is the [`Cipher`]'s: `Fernet` puts one after the other
/// into one Fernet token, which is the stored value; `Aes256Gcm` takes the binding as associated
/// data. The collection is the one where the record rests, so that
/// [`Prefixed`](crate::Prefixed) stores with the same deployment and keys are apart as well.
///
/// The canary ([`check_keys`](Self::check_keys)) is such a record too, in collection `kv_canary`,
/// which is not for other use; its key is the deployment.
pub struct Encrypted<S, C> {
    store: S,
    cipher: C,
    deployment: Box<str>,
    clock: Clock,
    refused: AtomicU64,
    on_refused: Option<OnRefused>,
}

/// Told the collection of each stored value that is refused.
type OnRefused = Box<dyn Fn(&str) + Send + Sync>;

/// What a stored value held.
struct Opened {
    value: Bytes,
    expires_at: Option<i64>,
}

impl<S: KeyValue, C: Cipher> Encrypted<S, C> {
    /// Seals what goes into `store` with `cipher`, for `deployment` only.
    ///
    /// The deployment is the name of what owns the data, for an authorization server its issuer.
    pub fn new(store: S, cipher: C, deployment: &str) -> Self {
        Self {
            store,
            cipher: cipher.for_deployment(deployment),
            deployment: deployment.into(),
            clock: system_clock(),
            refused: AtomicU64::new(0),
            on_refused: None,
        }
    }

    /// Is told the collection of each stored value that does not open, or not for its place: for
    /// an audit log. Called while the operation waits.
    #[must_use]
    pub fn on_refused(mut self, told: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.on_refused = Some(Box::new(told));
        self
    }

    /// The clock that the expiry inside is judged by.
    ///
    /// Processes that share a store should agree on the time: a record is absent as soon as
    /// either the store or the reader finds it expired (under [Cost](Self#cost) are the two
    /// operations that only ask the store).
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many stored values did not open, or not for the place where they lay, so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn now(&self) -> i64 {
        unix_millis(&self.clock)
    }

    fn binding(&self, collection: &str, key: &str) -> Vec<u8> {
        let collection = self.store.physical_collection(collection);
        envelope::binding(&self.deployment, &collection, key)
    }

    fn seal(
        &self,
        collection: &str,
        key: &str,
        value: &[u8],
        expires_at: Option<i64>,
    ) -> Result<Bytes> {
        limits::check_collection(collection)?;
        limits::check_key(key)?;
        limits::check_length("a value", value.len(), limits::MAX_VALUE_BYTES, limits::ELSEWHERE)?;
        let binding = self.binding(collection, key);
        let payload = Payload { expires_at, value }.encode();
        self.cipher.seal(&binding, &payload).map(Bytes::from)
    }

    fn open(&self, collection: &str, key: &str, sealed: &[u8]) -> Option<Opened> {
        let binding = self.binding(collection, key);
        let opened = self.cipher.open(&binding, sealed)?;
        let expires_at = Payload::decode(&opened)?.expires_at;
        let value = Bytes::from_owner(opened).slice(envelope::VALUE_OFFSET..);
        Some(Opened { value, expires_at })
    }

    /// What the stored value holds, unless it is refused or expired.
    fn open_live(&self, collection: &str, key: &str, entry: &Entry) -> Option<Opened> {
        let Some(opened) = self.open(collection, key, &entry.value) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                collection,
                "a stored value does not belong where it lies or was sealed with other keys: \
                 it counts as absent"
            );
            if let Some(told) = &self.on_refused {
                told(collection);
            }
            return None;
        };
        let now = self.now();
        opened.expires_at.is_none_or(|at| at > now).then_some(opened)
    }

    fn open_entry(&self, collection: &str, key: &str, entry: &Entry) -> Option<Entry> {
        let opened = self.open_live(collection, key, entry)?;
        Some(Entry { value: opened.value, version: entry.version })
    }

    /// Writes by reading first; needed where the present expiry or value goes into the new one.
    ///
    /// `decide` makes value and expiry of the new record from the present one, or refuses.
    async fn rewrite(
        &self,
        collection: &str,
        key: &str,
        ttl: Ttl,
        decide: impl Fn(Option<Opened>) -> Option<(Bytes, Option<i64>)> + Send,
    ) -> Result<Option<Version>> {
        for _ in 0..ROUNDS {
            let found = self.store.get(collection, key).await?;
            let opened = found.as_ref().and_then(|entry| self.open_live(collection, key, entry));
            // What is refused or expired inside has no expiry that could be kept.
            let outer = if opened.is_none() && ttl == Ttl::Keep { Ttl::Forever } else { ttl };
            let Some((value, expires_at)) = decide(opened) else {
                return Ok(None);
            };
            let sealed = self.seal(collection, key, &value, expires_at)?;
            let written = match found {
                Some(found) => {
                    self.store
                        .compare_and_swap(collection, key, found.version, sealed, outer)
                        .await?
                }
                None => self.store.put_if_absent(collection, key, sealed, outer).await?,
            };
            if written.is_some() {
                return Ok(written);
            }
        }
        Err(conflict("rewrite an encrypted record"))
    }
}

/// Shows neither keys nor what is stored.
impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for Encrypted<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted")
            .field("store", &self.store)
            .field("cipher", &self.cipher)
            .field("deployment", &self.deployment)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

impl<S: KeyValue, C: Cipher> Sealed for Encrypted<S, C> {}

impl<S: KeyValue, C: Cipher> Protected for Encrypted<S, C> {}

#[async_trait]
impl<S: KeyValue, C: Cipher> KeyValue for Encrypted<S, C> {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let found = self.store.get(collection, key).await?;
        Ok(found.and_then(|entry| self.open_entry(collection, key, &entry)))
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        let found = self.store.get_many(collection, keys).await?;
        let open = |(entry, key): (Option<Entry>, &&str)| {
            entry.and_then(|entry| self.open_entry(collection, key, &entry))
        };
        Ok(found.into_iter().zip(keys).map(open).collect())
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        if ttl == Ttl::Keep {
            let keep = |present: Option<Opened>| {
                Some((value.clone(), present.and_then(|present| present.expires_at)))
            };
            let written = self.rewrite(collection, key, ttl, keep).await?;
            return written.ok_or_else(|| conflict("write an encrypted record"));
        }
        let sealed = self.seal(collection, key, &value, ttl.expires_at(self.now(), None))?;
        self.store.put(collection, key, sealed, ttl).await
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        // Only the value tells whether something live was there.
        Ok(self.take(collection, key).await?.is_some())
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let taken = self.store.take(collection, key).await?;
        Ok(taken.and_then(|entry| self.open_entry(collection, key, &entry)))
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let sealed = self.seal(collection, key, &value, ttl.expires_at(self.now(), None))?;
        let written = self.store.put_if_absent(collection, key, sealed, ttl).await?;
        if written.is_some() {
            return Ok(written);
        }
        // What lies there may be refused or expired inside, and then counts as absent.
        let unless_present = |present: Option<Opened>| match present {
            Some(_) => None,
            None => Some((value.clone(), ttl.expires_at(self.now(), None))),
        };
        self.rewrite(collection, key, ttl, unless_present).await
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let expires_at = if ttl == Ttl::Keep {
            let found = self.store.get(collection, key).await?;
            let opened = found
                .filter(|entry| entry.version == expected)
                .and_then(|entry| self.open_live(collection, key, &entry));
            let Some(opened) = opened else {
                return Ok(None);
            };
            opened.expires_at
        } else {
            ttl.expires_at(self.now(), None)
        };
        let sealed = self.seal(collection, key, &value, expires_at)?;
        self.store.compare_and_swap(collection, key, expected, sealed, ttl).await
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
        let with_new_expiry = |present: Option<Opened>| {
            let Opened { value, expires_at } = present?;
            Some((value, ttl.expires_at(self.now(), expires_at)))
        };
        self.rewrite(collection, key, ttl, with_new_expiry).await
    }

    /// May list keys whose records `get` calls absent: those that are refused.
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

    fn seals_values(&self) -> bool {
        true
    }
}

fn conflict(action: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{action}: other writers kept getting in between"))
}
