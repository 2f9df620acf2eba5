//! Rings of keys as operators give them, the same strings for every cipher.

use base64::{Engine, engine::general_purpose::URL_SAFE};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Result};

/// How many bytes a key string stands for.
pub(super) const KEY_BYTES: usize = 32;

/// Reads every key of a ring, newest first; `read` knows what a cipher makes of a string.
pub(super) fn read<K>(keys: &[SecretString], read: impl Fn(&str) -> Option<K>) -> Result<Vec<K>> {
    if keys.is_empty() {
        return Err(Error::new(ErrorKind::Misconfigured, "no storage key was given"));
    }
    let parse = |(index, key): (usize, &SecretString)| {
        read(key.expose_secret()).ok_or_else(|| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("storage key {} is not 32 bytes in url-safe base64", index + 1),
            )
        })
    };
    keys.iter().enumerate().map(parse).collect()
}

/// A new random key string.
pub(super) fn generate() -> SecretString {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *key).expect("the operating system has randomness");
    SecretString::from(URL_SAFE.encode(key.as_slice()))
}
