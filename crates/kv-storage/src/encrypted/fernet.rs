use std::{fmt, time::SystemTime};

use secrecy::SecretString;

use super::ring;
use crate::{Cipher, Clock, Result, Wiped, clock::system_clock};

/// The time at which tokens are opened: beyond every timestamp, so that a token sealed by
/// a machine whose clock runs ahead still opens. Expiry is the envelope's business.
/// The library adds a minute's skew to it.
const AFTER_EVERY_TIMESTAMP: u64 = u64::MAX - 60;

/// [Fernet](https://github.com/fernet/spec/blob/master/Spec.md): AES-128-CBC and HMAC-SHA-256
/// in a token that every language's Fernet library reads.
///
/// Binding and payload go into the token one after the other.
pub struct Fernet {
    keys: Vec<fernet::Fernet>,
    clock: Clock,
}

impl Fernet {
    /// A cipher with a ring of keys, newest first: the first seals, all open.
    ///
    /// A key is 32 bytes in url-safe base64, as [`generate_key`](Self::generate_key) and every
    /// other Fernet implementation make it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`](crate::ErrorKind::Misconfigured) if there is no key or one has another form; the message
    /// names its place in the ring, never its text.
    pub fn new(keys: &[SecretString]) -> Result<Self> {
        let keys = ring::read(keys, fernet::Fernet::new)?;
        Ok(Self { keys, clock: system_clock() })
    }

    /// The clock for the timestamp in each token, which is for the eye only: nothing is judged
    /// by it.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A new random key.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness.
    pub fn generate_key() -> SecretString {
        ring::generate()
    }
}

/// Shows how many keys there are.
impl fmt::Debug for Fernet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fernet").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Cipher for Fernet {
    fn seal(&self, binding: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
        let first = self.keys.first().expect("new refuses an empty ring");
        let envelope = Wiped::new([binding, payload].concat());
        let now = (self.clock)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(first.encrypt_at_time(&envelope, now.as_secs()).into_bytes())
    }

    fn open(&self, binding: &[u8], sealed: &[u8]) -> Option<Wiped> {
        let token = std::str::from_utf8(sealed).ok()?;
        let open = |key: &fernet::Fernet| {
            key.decrypt_at_time(token, None, AFTER_EVERY_TIMESTAMP).ok().map(Wiped::new)
        };
        let envelope = self.keys.iter().find_map(open)?;
        Some(Wiped::new(envelope.strip_prefix(binding)?.to_vec()))
    }
}

#[cfg(test)]
mod tests;
