use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use secrecy::SecretString;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ring::{self, KEY_BYTES};
use crate::{Cipher, Error, ErrorKind, Result};

/// First byte of what is sealed; a later format gets another one. No Fernet token begins with it.
const FORMAT: u8 = 1;

/// From a key string to the key's id.
const KEY_ID_INFO: &[u8] = b"kv-storage/aes-256-gcm/1 key id";

/// From a key string to a deployment's key; the deployment follows.
const VALUES_INFO: &[u8] = b"kv-storage/aes-256-gcm/1 values of ";

const KEY_ID_BYTES: usize = 8;

/// So many random bytes that no two values ever share a one-time key.
const SALT_BYTES: usize = 32;

const TAG_BYTES: usize = 16;

/// Where what is sealed holds the ciphertext.
const CIPHERTEXT_OFFSET: usize = 1 + KEY_ID_BYTES + SALT_BYTES;

/// AES-256-GCM (NIST SP 800-38D) under a key of its own for every value, derived with
/// HKDF-SHA256 (RFC 5869).
///
/// The binding is associated data. Key strings are those of Fernet, but no Fernet key is ever
/// used here: they are what keys are derived from, so that one string may serve both ciphers.
///
/// # No limit to count
///
/// Random 96-bit nonces are good for 2^32 messages per key, which a busy store passes. Enforcing
/// that takes a counter that outlives restarts, is shared by replicas and is not rolled back with
/// a snapshot. So each value gets 256 random bits instead, and from them a key that seals this
/// value and nothing else. Two values share a key with a probability below 2^-96 even after 2^80
/// of them (the birthday bound): there is nothing to count, and rotation is never urgent. A key
/// that is used once needs no nonce; it is zero.
///
/// That costs an HKDF expansion and an AES key schedule for every value, whatever its size: the
/// benchmarks have it beside the bare call.
///
/// # Stored form
///
/// | bytes | content |
/// | --- | --- |
/// | 1 | format, `0x01` |
/// | 8 | key id |
/// | 32 | salt |
/// | n | ciphertext, as long as the payload |
/// | 16 | tag |
///
/// All derivations are SHA-256's, with `key` the 32 bytes that the key string stands for:
///
/// | what | bytes | how |
/// | --- | --- | --- |
/// | root | 32 | HKDF-Extract(no salt, `key`) |
/// | key id | 8 | HKDF-Expand(root, `kv-storage/aes-256-gcm/1 key id`) |
/// | deployment's key | 32 | HKDF-Expand(root, `kv-storage/aes-256-gcm/1 values of ` and the deployment) |
/// | one-time key | 32 | HKDF-Expand(deployment's key, salt) |
///
/// The payload is sealed with the one-time key, twelve zero bytes as nonce and the binding as
/// associated data. Changing id or salt changes the key, so they need no more protection.
pub struct Aes256Gcm {
    /// Never empty, newest first.
    keys: Vec<RingKey>,
}

/// What is derived from one key string.
struct RingKey {
    id: [u8; KEY_ID_BYTES],
    root: Hkdf<Sha256>,
    deployment: Hkdf<Sha256>,
}

impl Aes256Gcm {
    /// A cipher with a ring of keys, newest first: the first seals, all open.
    ///
    /// A key is 32 bytes in url-safe base64, as [`generate_key`](Self::generate_key) makes it.
    ///
    /// To rotate: add the new key as the last one in every process, then make it the first in
    /// every process, and remove the old one when nothing that it sealed is needed any more.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if there is no key or one has another form; the message
    /// names its place in the ring, never its text.
    pub fn new(keys: &[SecretString]) -> Result<Self> {
        Ok(Self { keys: ring::read(keys, RingKey::read)? }.for_deployment(""))
    }

    /// A new random key.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness.
    pub fn generate_key() -> SecretString {
        ring::generate()
    }

    fn seal_with_salt(
        &self,
        salt: &[u8; SALT_BYTES],
        binding: &[u8],
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        let key = self.keys.first().expect("new refuses an empty ring");
        let mut sealed = Vec::with_capacity(CIPHERTEXT_OFFSET + payload.len() + TAG_BYTES);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(salt);
        sealed.extend_from_slice(payload);
        let tag = key
            .one_time(salt)
            .seal_in_place_separate_tag(
                nonce(),
                Aad::from(binding),
                &mut sealed[CIPHERTEXT_OFFSET..],
            )
            .map_err(|_| Error::new(ErrorKind::TooLarge, "seal a value: GCM's limit is 64 GiB"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }
}

impl RingKey {
    /// Reads what the Fernet library reads: the padding may be missing, all else is strict.
    fn read(text: &str) -> Option<Self> {
        let key = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?);
        if key.len() != KEY_BYTES {
            return None;
        }
        let root = Hkdf::new(None, &key);
        let mut id = [0; KEY_ID_BYTES];
        expand(&root, &[KEY_ID_INFO], &mut id);
        Some(Self { id, deployment: root.clone(), root })
    }

    fn for_deployment(self, deployment: &str) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        expand(&self.root, &[VALUES_INFO, deployment.as_bytes()], &mut *key);
        let deployment = Hkdf::from_prk(key.as_slice()).expect("the key is as long as a digest");
        Self { deployment, ..self }
    }

    /// The key of the one value that has this salt.
    fn one_time(&self, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        expand(&self.deployment, &[salt], &mut *key);
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
        LessSafeKey::new(key.expect("the key is as long as AES-256 wants it"))
    }
}

/// A key that is used once needs no nonce.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn expand(key: &Hkdf<Sha256>, info: &[&[u8]], output: &mut [u8]) {
    key.expand_multi_info(info, output).expect("the output is far shorter than 255 digests");
}

/// Shows the keys' ids, which reveal nothing, so that processes can be compared.
impl fmt::Debug for Aes256Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| format!("{:016x}", u64::from_be_bytes(key.id)));
        f.debug_struct("Aes256Gcm").field("keys", &ids.collect::<Vec<_>>()).finish()
    }
}

impl Cipher for Aes256Gcm {
    fn for_deployment(self, deployment: &str) -> Self {
        let keys = self.keys.into_iter().map(|key| key.for_deployment(deployment)).collect();
        Self { keys }
    }

    fn seal(&self, binding: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| {
            Error::new(ErrorKind::Unavailable, "draw a random salt").with_source(error)
        })?;
        self.seal_with_salt(&salt, binding, payload)
    }

    fn open(&self, binding: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&[FORMAT], rest) = sealed.split_first_chunk()? else {
            return None;
        };
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>()?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let key = self.keys.iter().find(|key| key.id == *id)?;
        let mut payload = Zeroizing::new(vec![0; ciphertext.len()]);
        key.one_time(salt)
            .open_separate_gather(nonce(), Aad::from(binding), ciphertext, tag, &mut payload)
            .ok()?;
        Some(payload)
    }
}

#[cfg(test)]
mod tests;
