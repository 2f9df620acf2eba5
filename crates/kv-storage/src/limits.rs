//! The sizes and names that every store accepts, and the checks for them.
//!
//! A backend of your own calls the checks first thing in each operation.

use crate::{Error, ErrorKind, Result};

/// The longest name of a collection: collections are few and named by the program.
pub const MAX_COLLECTION_BYTES: usize = 64;

/// The longest key in bytes of UTF-8: a generous URL, and still short enough for every index
/// (PostgreSQL's B-tree stops at 2704 bytes).
pub const MAX_KEY_BYTES: usize = 2048;

/// The largest value that every backend and [`Encrypted`](crate::Encrypted) accept, unless a bound
/// of your own is smaller ([`Limited`](crate::Limited), `Memory` with `max_bytes`): records are
/// small, files belong elsewhere.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// The largest value that a backend accepts: [`MAX_VALUE_BYTES`] and more than
/// [`Encrypted`](crate::Encrypted) adds to it (a Fernet token is a third longer than what it holds).
pub const MAX_STORED_BYTES: usize = 2 * MAX_VALUE_BYTES;

/// Checks the name of a collection: 1 to [`MAX_COLLECTION_BYTES`] of `a`–`z` and `_`.
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`]: names come from the program, so a bad one is a mistake in it.
pub fn check_collection(collection: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if (1..=MAX_COLLECTION_BYTES).contains(&collection.len()) && collection.bytes().all(good) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!("a collection's name must be 1 to {MAX_COLLECTION_BYTES} of a-z and _"),
    ))
}

/// Checks the length of a key; any UTF-8 will do, the empty key included.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] beyond [`MAX_KEY_BYTES`].
pub fn check_key(key: &str) -> Result<()> {
    check_length("a key", key.len(), MAX_KEY_BYTES, "hash what is longer")
}

/// Checks the length of a value that a backend is to store.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] beyond [`MAX_STORED_BYTES`].
pub fn check_value(value: &[u8]) -> Result<()> {
    check_length("a value", value.len(), MAX_STORED_BYTES, ELSEWHERE)
}

/// The way out for a value that no store takes.
pub(crate) const ELSEWHERE: &str = "keep what is larger elsewhere, or in parts";

pub(crate) fn check_length(what: &str, length: usize, limit: usize, way_out: &str) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("{what} of {length} bytes is over the limit of {limit}: {way_out}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::{MAX_KEY_BYTES, MAX_STORED_BYTES, check_key, check_value};

    #[test]
    fn what_is_too_large_is_told_the_limit_and_the_way_out() {
        check_key(&"k".repeat(MAX_KEY_BYTES)).unwrap();
        check_value(&vec![0; MAX_STORED_BYTES]).unwrap();
        assert_eq!(
            check_key(&"k".repeat(MAX_KEY_BYTES + 1)).unwrap_err().to_string(),
            "a key of 2049 bytes is over the limit of 2048: hash what is longer"
        );
        assert_eq!(
            check_value(&vec![0; MAX_STORED_BYTES + 1]).unwrap_err().to_string(),
            "a value of 2097153 bytes is over the limit of 2097152: keep what is larger \
             elsewhere, or in parts"
        );
    }
}
