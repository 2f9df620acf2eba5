//! The sizes and names that every store accepts, and the checks for them.
//!
//! A backend of your own calls the checks first thing in each operation.

use crate::{Error, ErrorKind, Result};

/// The longest name of a collection: collections are few and named by the program.
pub const MAX_COLLECTION_BYTES: usize = 64;

/// The longest key in bytes of UTF-8: a generous URL, and still short enough for every index
/// (PostgreSQL's B-tree stops at 2704 bytes).
pub const MAX_KEY_BYTES: usize = 2048;

/// The largest value that *every* store and wrapper accepts: records are small, files belong
/// elsewhere.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// The largest value that a backend accepts: [`MAX_VALUE_BYTES`] and what wrappers add to it
/// (a Fernet token is a third longer than what it holds).
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
    check_length("a key", key.len(), MAX_KEY_BYTES)
}

/// Checks the length of a value that a backend is to store.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`] beyond [`MAX_STORED_BYTES`].
pub fn check_value(value: &[u8]) -> Result<()> {
    check_length("a value", value.len(), MAX_STORED_BYTES)
}

pub(crate) fn check_length(what: &str, length: usize, limit: usize) -> Result<()> {
    if length <= limit {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("{what} of {length} bytes is over the limit of {limit}"),
    ))
}
