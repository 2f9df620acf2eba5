//! The record that tells at start-up whether the keys are the right ones.

use std::{fmt, str::FromStr};

use super::{Encrypted, ROUNDS, conflict};
use crate::{Cipher, Error, ErrorKind, KeyValue, Result, Ttl};

/// Where the canary lies; its key is the deployment.
const CANARY_COLLECTION: &str = "kv_canary";

/// What the canary says.
const CANARY: &[u8] = b"kv-storage canary 1";

/// A cipher of this crate, as it shows in what it sealed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SealedWith {
    /// `Aes256Gcm`, in text `aes-gcm`
    Aes256Gcm,
    /// `Fernet`, in text `fernet`
    Fernet,
}

impl fmt::Display for SealedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes256Gcm => "aes-gcm",
            Self::Fernet => "fernet",
        })
    }
}

impl FromStr for SealedWith {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = [Self::Aes256Gcm, Self::Fernet];
        known.into_iter().find(|cipher| cipher.to_string() == text).ok_or_else(|| {
            Error::new(ErrorKind::Misconfigured, format!("{text:?} is neither aes-gcm nor fernet"))
        })
    }
}

impl SealedWith {
    /// Which cipher the data of `deployment` in `store` was sealed with, by the form of its
    /// canary; `None` if there is no canary, or one of neither form.
    ///
    /// Nothing is decrypted and nothing is proved: ask before choosing a cipher, and then
    /// [`check_keys`](Encrypted::check_keys).
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn detect(store: &impl KeyValue, deployment: &str) -> Result<Option<Self>> {
        let found = store.get(CANARY_COLLECTION, deployment).await?;
        Ok(found.and_then(|canary| Self::of(&canary.value)))
    }

    fn of(sealed: &[u8]) -> Option<Self> {
        // The version byte of each: of a token, in base64, and of AES-GCM's forms.
        match sealed {
            [1 | 2, ..] => Some(Self::Aes256Gcm),
            [b'g', b'A', ..] => Some(Self::Fernet),
            _ => None,
        }
    }
}

impl<S: KeyValue, C: Cipher> Encrypted<S, C> {
    /// Which cipher the deployment's data was sealed with: [`SealedWith::detect`] in the store
    /// inside. Tells why [`check_keys`](Self::check_keys) failed.
    ///
    /// # Errors
    ///
    /// What the store fails with.
    pub async fn sealed_with(&self) -> Result<Option<SealedWith>> {
        SealedWith::detect(&self.store, &self.deployment).await
    }

    /// Checks that the cipher's keys are those that the deployment's data was sealed with.
    ///
    /// Call it at start-up, before serving. The first call leaves a canary record; later ones
    /// open it and seal it anew, so that it follows the first key of the ring. A key may
    /// therefore become the first only after every process has it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if none of the keys opens the canary, or another cipher sealed it, or what the store
    /// fails with.
    pub async fn check_keys(&self) -> Result<()> {
        for _ in 0..ROUNDS {
            let sealed = self.seal(CANARY_COLLECTION, &self.deployment, CANARY, None)?;
            let Some(found) = self.store.get(CANARY_COLLECTION, &self.deployment).await? else {
                let made = self
                    .store
                    .put_if_absent(CANARY_COLLECTION, &self.deployment, sealed, Ttl::Forever)
                    .await?;
                if made.is_some() {
                    return Ok(());
                }
                continue;
            };
            let opened = self.open(CANARY_COLLECTION, &self.deployment, &found.value);
            if opened.is_none_or(|opened| opened.value != CANARY) {
                return Err(Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "the storage of {} was encrypted with other keys or with another \
                         cipher: give what encrypted it, or an empty storage",
                        self.deployment
                    ),
                ));
            }
            // Losing this race is fine: the winner opened the canary as well.
            self.store
                .compare_and_swap(
                    CANARY_COLLECTION,
                    &self.deployment,
                    found.version,
                    sealed,
                    Ttl::Forever,
                )
                .await?;
            return Ok(());
        }
        Err(conflict("check the storage keys"))
    }
}
