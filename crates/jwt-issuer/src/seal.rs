//! Sealing: texts that leave the process, come back, and may neither be read nor altered.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload, consts::U12},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    Error, KeyRing,
    key::{DerivedKey, Usage, debug_ids, length_prefixed},
    random_bytes,
};

/// First part of a sealed text; another format gets another one.
const FORMAT: &str = "1";

const NONCE_BYTES: usize = 12;

/// AES-256-GCM (NIST SP 800-38D) under keys of its own, with random nonces.
///
/// A sealed text is `1.<key id>.<base64url of nonce, ciphertext and tag>`, safe in URLs, forms and
/// headers. Format and key id are authenticated with the caller's context.
///
/// Random 96-bit nonces are good for 2^32 texts per key; rotate before that.
#[derive(Clone)]
pub struct Sealer {
    /// Never empty; the current key is the first.
    keys: Vec<DerivedKey>,
}

impl Sealer {
    /// For one purpose of one issuer. What another purpose or issuer sealed does not open.
    pub fn new(keys: &KeyRing, purpose: &'static str, issuer: &str) -> Self {
        Self { keys: keys.derive(Usage::Seal, purpose, issuer) }
    }

    /// Seals `plaintext` under the current key.
    ///
    /// `context` is not part of the result; the same one is needed to open it. It says to whom or
    /// what the text belongs, so that it cannot be used elsewhere.
    ///
    /// # Panics
    ///
    /// As [`random_bytes`].
    pub fn seal(&self, plaintext: &[u8], context: &[u8]) -> String {
        let key = &self.keys[0];
        let nonce = random_bytes::<NONCE_BYTES>();
        let mut sealed = nonce.to_vec();
        sealed.append(&mut encrypt(&key.key, &nonce, plaintext, &aad(key.id.as_str(), context)));
        format!("{FORMAT}.{}.{}", key.id, URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what [`seal`](Self::seal) made with the same `context`, under any key of the ring.
    ///
    /// It allocates in proportion to `sealed`: a limit on its length is the caller's.
    ///
    /// # Errors
    ///
    /// [`Error::Sealed`], whatever the reason.
    pub fn open(&self, sealed: &str, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.try_open(sealed, context).ok_or(Error::Sealed)
    }

    fn try_open(&self, sealed: &str, context: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (format, rest) = sealed.split_once('.')?;
        let (kid, body) = rest.split_once('.')?;
        if format != FORMAT {
            return None;
        }
        let key = self.keys.iter().find(|key| key.id.as_str() == kid)?;
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        let (nonce, ciphertext) = body.split_first_chunk::<NONCE_BYTES>()?;
        decrypt(&key.key, nonce, ciphertext, &aad(kid, context))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("keys", &debug_ids(&self.keys)).finish()
    }
}

fn aad(kid: &str, context: &[u8]) -> Vec<u8> {
    length_prefixed(&[FORMAT.as_bytes(), kid.as_bytes(), context])
}

fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], msg: &[u8], aad: &[u8]) -> Vec<u8> {
    Aes256Gcm::new(key.into())
        .encrypt(&Nonce::<U12>::from(*nonce), Payload { msg, aad })
        .expect("a text in memory is shorter than the 64 GiB that GCM takes")
}

fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    msg: &[u8],
    aad: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    Aes256Gcm::new(key.into())
        .decrypt(&Nonce::<U12>::from(*nonce), Payload { msg, aad })
        .ok()
        .map(Zeroizing::new)
}

#[cfg(test)]
mod tests;
