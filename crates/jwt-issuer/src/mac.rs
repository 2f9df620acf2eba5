//! Message authentication: computed tokens and keyed hashes.

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    KeyId, KeyRing,
    key::{DerivedKey, Usage, debug_ids, length_prefixed},
};

/// HMAC-SHA256 (RFC 2104) over a list of parts, under keys of its own.
///
/// Every part goes in behind its length: `["ab", "c"]` and `["a", "bc"]` have different tags.
#[derive(Clone)]
pub struct Mac {
    /// Never empty; the current key is the first.
    keys: Vec<DerivedKey>,
}

impl Mac {
    /// For one purpose of one issuer. Tags of another purpose or issuer never match.
    pub fn new(keys: &KeyRing, purpose: &'static str, issuer: &str) -> Self {
        Self { keys: keys.derive(Usage::Mac, purpose, issuer) }
    }

    /// The id of the key that [`tag`](Self::tag) uses.
    pub fn current(&self) -> &KeyId {
        &self.keys[0].id
    }

    /// The tag of `parts` under the current key.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac(&self.keys[0].key, parts)
    }

    /// The tags of `parts` under each key, the current one first: for looking up what was stored
    /// under a key that is no longer current.
    pub fn tags_all(&self, parts: &[&[u8]]) -> impl Iterator<Item = (KeyId, [u8; 32])> {
        self.keys.iter().map(move |key| (key.id.clone(), hmac(&key.key, parts)))
    }

    /// Whether `tag` is the tag of `parts` under the key named `kid`.
    ///
    /// Compares in constant time. An unknown `kid` is `false`.
    pub fn verify(&self, kid: &str, parts: &[&[u8]], tag: &[u8]) -> bool {
        let Some(key) = self.keys.iter().find(|key| key.id.as_str() == kid) else { return false };
        hmac(&key.key, parts).ct_eq(tag).into()
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mac").field("keys", &debug_ids(&self.keys)).finish()
    }
}

fn hmac(key: &Zeroizing<[u8; 32]>, parts: &[&[u8]]) -> [u8; 32] {
    use hmac::Mac as _;

    let mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).expect("HMAC takes any key length");
    mac.chain_update(length_prefixed(parts)).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
