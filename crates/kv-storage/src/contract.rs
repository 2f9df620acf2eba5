use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, ErrorKind, Result, random};

/// Names one write of one record: sixteen random bytes, drawn anew by every write.
///
/// A version is never used again for a key, not even after the record was deleted and made
/// anew, so a [`compare_and_swap`](KeyValue::compare_and_swap) that succeeds proves that nothing
/// was written since the read. Versions are no secrets.
// Aligned, so that results that hold one are moved as words.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
#[repr(align(8))]
pub struct Version([u8; Self::LENGTH]);

impl Version {
    /// How many bytes a version has.
    pub const LENGTH: usize = 16;

    /// A new version; backends draw one for every write.
    ///
    /// Its bytes are a cryptographic generator's, of which each thread draws a page at a time: see
    /// that a process that uses this crate is not continued twice, by `fork` without `exec` or from
    /// a snapshot of its memory, or the two have the same versions for a while.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the operating system has no randomness.
    pub fn random() -> Result<Self> {
        random::bytes("draw a random version").map(Self)
    }

    /// A version that a backend has stored.
    pub const fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The form to store.
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({:032x})", u128::from_be_bytes(self.0))
    }
}

/// A record as it was read.
#[derive(Clone, Eq, PartialEq)]
pub struct Entry {
    /// What was written.
    pub value: Bytes,
    /// Which write it was.
    pub version: Version,
}

/// Shows the value's length only: values are secrets.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("value", &format_args!("{} bytes", self.value.len()))
            .field("version", &self.version)
            .finish()
    }
}

/// How long a record is to live, stated by every write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ttl {
    /// The record keeps the expiry that it has; a new record never expires.
    Keep,
    /// The record is absent from this duration after the write on.
    ///
    /// The stores of this crate round up to whole milliseconds; another store may be exact to a
    /// second only. A duration of zero writes a record that is absent at once; one that is longer
    /// than a store can count never ends.
    After(Duration),
    /// The record never expires.
    Forever,
}

impl Ttl {
    /// When a record written at `now` expires, in Unix milliseconds; `present` is what it had.
    pub(crate) fn expires_at(self, now: i64, present: Option<i64>) -> Option<i64> {
        match self {
            Self::Keep => present,
            Self::After(duration) => {
                let millis = i64::try_from(whole_millis(duration)).ok()?;
                // The last number stands for "never" itself.
                now.checked_add(millis).filter(|&at| at < i64::MAX)
            }
            Self::Forever => None,
        }
    }
}

/// So many milliseconds, rounded up: what was to live at all is not absent at once.
pub(crate) fn whole_millis(duration: Duration) -> u128 {
    duration.as_nanos().div_ceil(1_000_000)
}

/// Where a [`scan`](KeyValue::scan) goes on. Only the store that made it can read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor(pub(crate) Vec<u8>);

impl Cursor {
    /// A cursor that the backend will recognize.
    pub fn new(position: impl Into<Vec<u8>>) -> Self {
        Self(position.into())
    }

    /// What the backend put in.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Some of the keys that a [`scan`](KeyValue::scan) found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// Keys in no particular order; there may be none although more follow.
    pub keys: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// An async key-value store for small, possibly secret records, the same on every backend.
///
/// Records live in a *collection* (`[a-z_]+`, see [`limits`](crate::limits)) under a *key* (any
/// UTF-8 up to a limit) and hold an opaque value. Keys rest in the clear: hash what is secret.
///
/// - **Each operation is atomic**, among tasks, processes and replicas; of several that race
///   for one record, [`take`](Self::take), [`put_if_absent`](Self::put_if_absent),
///   [`compare_and_swap`](Self::compare_and_swap) and
///   [`compare_and_delete`](Self::compare_and_delete) have one winner.
/// - **An expired record is absent**, at once and to every operation, whether or not its space
///   was given back. The clock is the one of who judges: of the server with Redis and PostgreSQL,
///   else of the process ([`Clock`](crate::Clock)). Where it is set back, records live longer by as
///   much, and one that had expired may be there again, if its space was not given back yet; where
///   it is set forward, they end sooner.
/// - **A write that was acknowledged is kept**, as far as the backend's documentation says.
/// - **Errors say what happened**: see [`ErrorKind`]. A write that failed with anything but
///   [`ErrorKind::OutcomeUnknown`] changed nothing, except for a [`take`](Self::take) of a
///   record that cannot be read.
///
/// Every operation fails with [`ErrorKind::Misconfigured`] for a bad collection name, with
/// [`ErrorKind::TooLarge`] for a key or value over its limit, and with
/// [`ErrorKind::Unavailable`] while the store cannot be reached.
///
/// # Cancel safety
///
/// Dropping the future of a write leaves its outcome unknown, but never half a record.
#[async_trait]
pub trait KeyValue: Send + Sync + fmt::Debug + 'static {
    /// The record under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] if what lies there was not written by this crate.
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>>;

    /// The records under `keys`, in their order; atomic for each key, not among them.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get); one failing key fails the call.
    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>>;

    /// Writes the record, whether or not there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutcomeUnknown`] if the store was lost between asking and its answer.
    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version>;

    /// Removes the record; `true` if there was one.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put).
    async fn delete(&self, collection: &str, key: &str) -> Result<bool>;

    /// Reads and removes the record in one step: of several callers one gets it.
    ///
    /// What cannot be read can never be redeemed: it is removed as well, and the error says so.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put), and [`ErrorKind::Corrupt`] if what lay there, and is removed,
    /// was not written by this crate.
    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>>;

    /// Writes the record only if there is none; `None` if there is one.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put).
    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>>;

    /// Replaces the record only if it is the one of version `expected`.
    ///
    /// `None` if it is absent, expired or of another version; never makes a record.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put).
    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>>;

    /// Removes the record only if it is the one of version `expected`; `true` if it was.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put).
    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool>;

    /// Changes when the record expires, and its version; `None` if it is absent.
    ///
    /// # Errors
    ///
    /// As for [`put`](Self::put).
    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>>;

    /// Lists the keys that begin with `prefix`, about `limit` (at least one) a page.
    ///
    /// Begin with no cursor and go on with [`Page::next`] until there is none. Every key that is
    /// present from the first page to the last appears at least once; one that comes or goes
    /// meanwhile may appear or not.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page>;

    /// Asks the store whether it could serve now.
    ///
    /// # Errors
    ///
    /// The error that an operation would fail with.
    async fn health(&self) -> Result<()>;

    /// Ends the use of the store: waits for the operations under way and lets go of what it holds,
    /// such as files and connections. Operations fail from then on.
    ///
    /// Stores that hold nothing go on as if nothing had been said.
    async fn close(&self) {}

    /// The name under which the records of `collection` rest.
    ///
    /// For backends it is `collection` itself. A wrapper that renames collections answers the
    /// new name, and every other one what its inner store does: [`Encrypted`](crate::Encrypted)
    /// binds values to it.
    fn physical_collection<'a>(&self, collection: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(collection)
    }

    /// Whether values are sealed before they get to rest: true of
    /// [`Encrypted`](crate::Encrypted) and of what wraps it.
    ///
    /// Encrypting is always outermost, so this crate's wrappers refuse to be put around such
    /// a store.
    fn seals_values(&self) -> bool {
        false
    }
}

/// Marks stores whose values never rest in the clear: `Memory`, which keeps them in this process,
/// and [`Encrypted`](crate::Encrypted).
///
/// Sealed, so that "protected" means what this crate says.
pub trait Protected: KeyValue + sealed::Sealed {}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "what is sealed cannot be named")]
    pub trait Sealed {}
}

/// Refuses to put `wrapper` around what is encrypted already.
pub(crate) fn check_not_sealed(wrapper: &str, store: &impl KeyValue) -> Result<()> {
    if !store.seals_values() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!("{wrapper} goes inside Encrypted, not around it: encrypting is outermost"),
    ))
}

/// Implements the traits for a pointer to a store.
macro_rules! forward {
    ($pointer:ident) => {
        impl<T: sealed::Sealed + ?Sized> sealed::Sealed for $pointer<T> {}

        impl<T: Protected + ?Sized> Protected for $pointer<T> {}

        #[async_trait]
        impl<T: KeyValue + ?Sized> KeyValue for $pointer<T> {
            async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
                (**self).get(collection, key).await
            }

            async fn get_many(
                &self,
                collection: &str,
                keys: &[&str],
            ) -> Result<Vec<Option<Entry>>> {
                (**self).get_many(collection, keys).await
            }

            async fn put(
                &self,
                collection: &str,
                key: &str,
                value: Bytes,
                ttl: Ttl,
            ) -> Result<Version> {
                (**self).put(collection, key, value, ttl).await
            }

            async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
                (**self).delete(collection, key).await
            }

            async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
                (**self).take(collection, key).await
            }

            async fn put_if_absent(
                &self,
                collection: &str,
                key: &str,
                value: Bytes,
                ttl: Ttl,
            ) -> Result<Option<Version>> {
                (**self).put_if_absent(collection, key, value, ttl).await
            }

            async fn compare_and_swap(
                &self,
                collection: &str,
                key: &str,
                expected: Version,
                value: Bytes,
                ttl: Ttl,
            ) -> Result<Option<Version>> {
                (**self).compare_and_swap(collection, key, expected, value, ttl).await
            }

            async fn compare_and_delete(
                &self,
                collection: &str,
                key: &str,
                expected: Version,
            ) -> Result<bool> {
                (**self).compare_and_delete(collection, key, expected).await
            }

            async fn expire(
                &self,
                collection: &str,
                key: &str,
                ttl: Ttl,
            ) -> Result<Option<Version>> {
                (**self).expire(collection, key, ttl).await
            }

            async fn scan(
                &self,
                collection: &str,
                prefix: &str,
                cursor: Option<Cursor>,
                limit: usize,
            ) -> Result<Page> {
                (**self).scan(collection, prefix, cursor, limit).await
            }

            async fn health(&self) -> Result<()> {
                (**self).health().await
            }

            async fn close(&self) {
                (**self).close().await;
            }

            fn physical_collection<'a>(&self, collection: &'a str) -> Cow<'a, str> {
                (**self).physical_collection(collection)
            }

            fn seals_values(&self) -> bool {
                (**self).seals_values()
            }
        }
    };
}

forward!(Arc);
forward!(Box);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Ttl;

    #[test]
    fn lives_are_rounded_up_to_milliseconds() {
        let ends = |duration| Ttl::After(duration).expires_at(10, Some(5));
        assert_eq!(ends(Duration::ZERO), Some(10));
        assert_eq!(ends(Duration::from_nanos(1)), Some(11));
        assert_eq!(ends(Duration::from_millis(1)), Some(11));
        assert_eq!(ends(Duration::from_micros(1001)), Some(12));
        assert_eq!(ends(Duration::MAX), None);
        assert_eq!(Ttl::Keep.expires_at(10, Some(5)), Some(5));
        assert_eq!(Ttl::Forever.expires_at(10, Some(5)), None);
    }
}
