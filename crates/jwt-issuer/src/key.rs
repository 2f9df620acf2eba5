//! Master keys, rings of them, and the keys derived from them.

use std::{fmt, sync::Arc};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Error, random_bytes};

/// The shortest secret that is accepted as a master key: as strong as the derived keys are long.
pub const MIN_MASTER_KEY_BYTES: usize = 32;

/// First part of every `info`: a change of what is derived changes this label.
const DERIVATION: &[u8] = b"jwt-issuer/1";

/// Nine bytes are twelve characters, and no two keys of one deployment will share them.
const KEY_ID_BYTES: usize = 9;

/// Operators paste keys with and without padding.
const LENIENT_BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Names a key in tokens and sealed texts: twelve characters of `[A-Za-z0-9_-]`.
///
/// It is derived from the key and reveals nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret from which all keys of a deployment are derived.
///
/// It is wiped from memory when the last copy is dropped, and its `Debug` shows the id only.
#[derive(Clone)]
pub struct MasterKey {
    secret: Arc<Zeroizing<Vec<u8>>>,
    id: KeyId,
}

impl MasterKey {
    /// A master key from `secret`, which must be random: a password is not.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooShort`] below [`MIN_MASTER_KEY_BYTES`].
    pub fn new(secret: &[u8]) -> Result<Self, Error> {
        if secret.len() < MIN_MASTER_KEY_BYTES {
            return Err(Error::KeyTooShort { bytes: secret.len() });
        }
        let mut id = [0; KEY_ID_BYTES];
        hkdf_sha256(secret, &info(Usage::KeyId, "", ""), &mut id);
        let id = KeyId(URL_SAFE_NO_PAD.encode(id).into());
        Ok(Self { secret: Arc::new(Zeroizing::new(secret.to_vec())), id })
    }

    /// A master key from base64url text, padded or not, as [`to_base64url`](Self::to_base64url)
    /// writes it. White space around it does not matter.
    ///
    /// # Errors
    ///
    /// [`Error::KeyEncoding`] if it is not base64url, [`Error::KeyTooShort`] as in
    /// [`new`](Self::new).
    pub fn from_base64url(text: &SecretString) -> Result<Self, Error> {
        let bytes = LENIENT_BASE64URL
            .decode(text.expose_secret().trim())
            .map_err(|_| Error::KeyEncoding)?;
        Self::new(&Zeroizing::new(bytes))
    }

    /// A new random master key of 32 bytes.
    ///
    /// # Panics
    ///
    /// As [`random_bytes`].
    pub fn generate() -> Self {
        let secret = random_bytes::<MIN_MASTER_KEY_BYTES>();
        Self::new(secret.as_slice()).expect("the length is the smallest that is accepted")
    }

    /// The key as base64url without padding, for the operator's safe.
    pub fn to_base64url(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.secret.as_slice()).into()
    }

    /// The id by which tokens and sealed texts name this key.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key for one usage, purpose and issuer.
    pub(crate) fn derive(&self, usage: Usage, purpose: &str, issuer: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        hkdf_sha256(&self.secret, &info(usage, purpose, issuer), key.as_mut_slice());
        key
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A deployment's master keys: the current one signs and seals, all verify and open.
///
/// To rotate: add the new key as an older one everywhere, then make it current everywhere, and
/// remove the old one after the longest lifetime of anything signed or sealed under it.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// Never empty; the current key is the first.
    keys: Vec<MasterKey>,
}

impl KeyRing {
    /// A ring of one key.
    pub fn new(current: MasterKey) -> Self {
        Self { keys: vec![current] }
    }

    /// Adds a key that verifies and opens only. A key that is in the ring already stays where it is.
    #[must_use]
    pub fn with_older(mut self, key: MasterKey) -> Self {
        if self.keys.iter().all(|known| known.id != key.id) {
            self.keys.push(key);
        }
        self
    }

    /// The key that signs and seals.
    pub fn current(&self) -> &MasterKey {
        &self.keys[0]
    }

    /// All keys, the current one first.
    pub(crate) fn masters(&self) -> impl Iterator<Item = &MasterKey> {
        self.keys.iter()
    }

    /// The ids of all keys, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().map(MasterKey::id)
    }

    /// The keys that are derived from all keys of the ring, the current one first.
    pub(crate) fn derive(&self, usage: Usage, purpose: &str, issuer: &str) -> Vec<DerivedKey> {
        self.keys
            .iter()
            .map(|key| DerivedKey { id: key.id.clone(), key: key.derive(usage, purpose, issuer) })
            .collect()
    }
}

/// A key for one usage, purpose and issuer, under the id of the master key that it came from.
#[derive(Clone)]
pub(crate) struct DerivedKey {
    pub(crate) id: KeyId,
    pub(crate) key: Zeroizing<[u8; 32]>,
}

/// Shows the ids of `keys`, and nothing else.
pub(crate) fn debug_ids(keys: &[DerivedKey]) -> impl fmt::Debug {
    keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>()
}

/// What a derived key is for. Callers' purposes live below it, so that no purpose that a caller
/// names can meet a key of another kind.
#[derive(Clone, Copy)]
pub(crate) enum Usage {
    KeyId,
    AccessToken,
    Assertion,
    Seal,
    Mac,
}

impl Usage {
    fn label(self) -> &'static [u8] {
        match self {
            Self::KeyId => b"key-id",
            Self::AccessToken => b"access-token",
            Self::Assertion => b"assertion",
            Self::Seal => b"seal",
            Self::Mac => b"mac",
        }
    }
}

/// HKDF's `info`: unambiguous, because every part carries its length.
fn info(usage: Usage, purpose: &str, issuer: &str) -> Vec<u8> {
    length_prefixed(&[DERIVATION, usage.label(), purpose.as_bytes(), issuer.as_bytes()])
}

/// The parts one after another, each behind its length as eight bytes, most significant first.
pub(crate) fn length_prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// RFC 5869 without salt: the input is uniformly random already (§3.1).
fn hkdf_sha256(secret: &[u8], info: &[u8], output: &mut [u8]) {
    Hkdf::<Sha256>::new(None, secret)
        .expand(info, output)
        .expect("the output is far shorter than 255 digests");
}

#[cfg(test)]
mod tests;
