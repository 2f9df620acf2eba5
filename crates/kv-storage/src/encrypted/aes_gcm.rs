mod xaes;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use secrecy::SecretString;
use sha2::Sha256;
use zeroize::Zeroizing;

use self::xaes::Xaes;
use super::ring::{self, KEY_BYTES};
use crate::{Cipher, Error, ErrorKind, Result, Wiped, random};

/// First byte of what is sealed. No Fernet token begins with one of these.
const FORMAT: u8 = 2;

/// The format of development versions before the first release: it still opens.
const FORMAT_1: u8 = 1;

/// From a key string to the key's id.
const KEY_ID_INFO: &[u8] = b"kv-storage/aes-256-gcm/1 key id";

/// From a key string to a deployment's key; the deployment follows.
const VALUES_INFO: &[u8] = b"kv-storage/aes-256-gcm/2 values of ";

/// The same in format 1.
const VALUES_INFO_1: &[u8] = b"kv-storage/aes-256-gcm/1 values of ";

const KEY_ID_BYTES: usize = 8;

/// The random bytes that a value of format 1 has.
const SALT_BYTES: usize = 32;

const TAG_BYTES: usize = 16;

/// Where what is sealed holds the ciphertext.
const CIPHERTEXT_OFFSET: usize = 1 + KEY_ID_BYTES + xaes::NONCE_BYTES;

/// AES-256-GCM (NIST SP 800-38D) with 192-bit nonces:
/// [XAES-256-GCM](https://c2sp.org/XAES-256-GCM), under keys derived with HKDF-SHA256 (RFC 5869).
///
/// The binding is associated data. Key strings are those of Fernet, but no Fernet key is ever
/// used here: they are what keys are derived from, so that one string may serve both ciphers.
///
/// # No limit to count
///
/// Random 96-bit nonces are good for 2^32 messages per key, which a busy store passes. Enforcing
/// that takes a counter that outlives restarts, is shared by replicas and is not rolled back with
/// a snapshot. So each value gets 192 random bits instead: half of them make a key for AES-GCM,
/// the others are its nonce. Two of 2^80 values share both with a probability of 2^-32, which is
/// what is accepted of AES-GCM: there is nothing to count, and rotation is never urgent.
///
/// That costs two AES blocks and a key schedule for every value, whatever its size: the
/// benchmarks have it beside the bare call.
///
/// # Stored form
///
/// | bytes | content |
/// | --- | --- |
/// | 1 | format, `0x02` |
/// | 8 | key id |
/// | 24 | nonce |
/// | n | ciphertext, as long as the payload |
/// | 16 | tag |
///
/// All derivations are SHA-256's, with `key` the 32 bytes that the key string stands for:
///
/// | what | bytes | how |
/// | --- | --- | --- |
/// | root | 32 | HKDF-Extract(no salt, `key`) |
/// | key id | 8 | HKDF-Expand(root, `kv-storage/aes-256-gcm/1 key id`) |
/// | deployment's key | 32 | HKDF-Expand(root, `kv-storage/aes-256-gcm/2 values of ` and the deployment) |
///
/// Nonce, ciphertext and tag are XAES-256-GCM's, with the deployment's key and the binding as
/// associated data. Changing id or nonce changes the key, so they need no more protection.
///
/// Format 1 (`0x01`) is opened and no longer written. It had a salt of 32 bytes for a nonce, and
/// HKDF-Expand(deployment's key, salt) made the key of the value, used once, with twelve zero
/// bytes for a nonce; its deployment's key is expanded from `kv-storage/aes-256-gcm/1 values of `.
pub struct Aes256Gcm {
    /// Never empty, newest first.
    keys: Vec<RingKey>,
}

/// What is derived from one key string.
struct RingKey {
    id: [u8; KEY_ID_BYTES],
    root: Hkdf<Sha256>,
    values: Xaes,
    values_1: Hkdf<Sha256>,
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

    fn seal_with_nonce(
        &self,
        nonce: &[u8; xaes::NONCE_BYTES],
        binding: &[u8],
        payload: &[u8],
    ) -> Result<Vec<u8>> {
        let key = self.keys.first().expect("new refuses an empty ring");
        let mut sealed = Vec::with_capacity(CIPHERTEXT_OFFSET + payload.len() + TAG_BYTES);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(nonce);
        sealed.extend_from_slice(payload);
        let (one_time, nonce) = key.values.one_time(nonce);
        let tag = one_time
            .seal_in_place_separate_tag(nonce, Aad::from(binding), &mut sealed[CIPHERTEXT_OFFSET..])
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
        Some(Self::new(Hkdf::new(None, &key), ""))
    }

    fn new(root: Hkdf<Sha256>, deployment: &str) -> Self {
        let mut id = [0; KEY_ID_BYTES];
        expand(&root, &[KEY_ID_INFO], &mut id);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        expand(&root, &[VALUES_INFO, deployment.as_bytes()], &mut *key);
        let values = Xaes::new(&key);
        expand(&root, &[VALUES_INFO_1, deployment.as_bytes()], &mut *key);
        let values_1 = Hkdf::from_prk(key.as_slice()).expect("the key is as long as a digest");
        Self { id, root, values, values_1 }
    }

    /// The key and nonce of a value that was sealed in format 1.
    fn one_time_1(&self, salt: &[u8; SALT_BYTES]) -> (LessSafeKey, Nonce) {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        expand(&self.values_1, &[salt], &mut *key);
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
        let key = LessSafeKey::new(key.expect("the key is as long as AES-256 wants it"));
        // A key that is used once needs no nonce.
        (key, Nonce::assume_unique_for_key([0; NONCE_LEN]))
    }
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
        let keys = self.keys.into_iter().map(|key| RingKey::new(key.root, deployment)).collect();
        Self { keys }
    }

    fn seal(&self, binding: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
        self.seal_with_nonce(&random::bytes("draw a random nonce")?, binding, payload)
    }

    fn open(&self, binding: &[u8], sealed: &[u8]) -> Option<Wiped> {
        let (format, rest) = sealed.split_first()?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_BYTES>()?;
        let key = self.keys.iter().find(|key| key.id == *id)?;
        let ((one_time, nonce), rest) = match *format {
            FORMAT => {
                let (nonce, rest) = rest.split_first_chunk()?;
                (key.values.one_time(nonce), rest)
            }
            FORMAT_1 => {
                let (salt, rest) = rest.split_first_chunk()?;
                (key.one_time_1(salt), rest)
            }
            _ => return None,
        };
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let mut payload = vec![0; ciphertext.len()];
        // The library overwrites what it decrypted when the tag is wrong.
        one_time
            .open_separate_gather(nonce, Aad::from(binding), ciphertext, tag, &mut payload)
            .ok()?;
        Some(Wiped::new(payload))
    }
}

#[cfg(test)]
mod tests;
