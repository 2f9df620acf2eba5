//! The encrypted state.

use std::{fmt, sync::Arc};

use anyhow::{Context, anyhow, bail};
use kv_storage::{
    Aes256Gcm, Cipher, Encrypted, ErrorKind, Fernet, KeyValue, Metered, SealedWith, Wiped,
};
use oidc_proxy::{AuditEvent, AuditSink};
use secrecy::SecretString;

use crate::{audit::AuditFile, config::setting::STORAGE_CIPHER};

/// What a new storage is encrypted with.
const DEFAULT: SealedWith = SealedWith::Aes256Gcm;

/// The cipher that an operator chose, or that a storage was written with.
pub(crate) enum StorageCipher {
    Aes256Gcm(Aes256Gcm),
    Fernet(Fernet),
}

impl StorageCipher {
    /// The same key strings serve both (D8).
    fn new(kind: SealedWith, keys: &[SecretString]) -> kv_storage::Result<Self> {
        match kind {
            SealedWith::Aes256Gcm => Aes256Gcm::new(keys).map(Self::Aes256Gcm),
            SealedWith::Fernet => Fernet::new(keys).map(Self::Fernet),
        }
    }
}

impl fmt::Debug for StorageCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aes256Gcm(cipher) => cipher.fmt(f),
            Self::Fernet(cipher) => cipher.fmt(f),
        }
    }
}

impl Cipher for StorageCipher {
    fn for_deployment(self, deployment: &str) -> Self {
        match self {
            Self::Aes256Gcm(cipher) => Self::Aes256Gcm(cipher.for_deployment(deployment)),
            Self::Fernet(cipher) => Self::Fernet(cipher.for_deployment(deployment)),
        }
    }

    fn seal(&self, binding: &[u8], payload: &[u8]) -> kv_storage::Result<Vec<u8>> {
        match self {
            Self::Aes256Gcm(cipher) => cipher.seal(binding, payload),
            Self::Fernet(cipher) => cipher.seal(binding, payload),
        }
    }

    fn open(&self, binding: &[u8], sealed: &[u8]) -> Option<Wiped> {
        match self {
            Self::Aes256Gcm(cipher) => cipher.open(binding, sealed),
            Self::Fernet(cipher) => cipher.open(binding, sealed),
        }
    }
}

/// Tells the audit log of records that do not open (D8).
pub(crate) fn audited<S: KeyValue>(
    storage: Encrypted<S, StorageCipher>,
    audit: Option<Arc<AuditFile>>,
) -> Encrypted<S, StorageCipher> {
    storage.on_refused(move |collection| {
        let event = AuditEvent::record_unreadable(collection);
        event.announce();
        if let Some(audit) = &audit {
            audit.record(&event);
        }
    })
}

/// The encrypted database, after a look whether our keys are those that wrote it (D8).
///
/// Without a choice it is the cipher that the database was written with; an earlier version wrote
/// Fernet.
pub(crate) async fn encrypted<S: KeyValue>(
    database: S,
    keys: &[SecretString],
    chosen: Option<SealedWith>,
    issuer: &str,
    place: &str,
) -> anyhow::Result<Encrypted<Metered<S>, StorageCipher>> {
    let found = SealedWith::detect(&database, issuer).await.context("could not use the storage")?;
    let kind = match (chosen, found) {
        (Some(chosen), Some(found)) if chosen != found => bail!(
            "the state in {place} is encrypted with {found}, not with {chosen}; say {} {found}, \
             or use another place",
            STORAGE_CIPHER.own_name().flag()
        ),
        (None, Some(found)) if found != DEFAULT => {
            tracing::info!("the state stays encrypted with {found}, as it was written");
            found
        }
        (chosen, _) => chosen.unwrap_or(DEFAULT),
    };
    encrypted_with(kind, database, keys, issuer, place).await
}

/// Fails if another process has written meanwhile with another cipher or other keys: replicas may
/// begin at the same time.
async fn encrypted_with<S: KeyValue>(
    kind: SealedWith,
    database: S,
    keys: &[SecretString],
    issuer: &str,
    place: &str,
) -> anyhow::Result<Encrypted<Metered<S>, StorageCipher>> {
    let cipher = StorageCipher::new(kind, keys).context("the storage keys are not usable")?;
    let storage = Encrypted::new(Metered::new(database)?, cipher, issuer);
    match storage.check_keys().await {
        Ok(()) => Ok(storage),
        Err(error) if error.kind() == ErrorKind::Misconfigured => {
            match storage.sealed_with().await.context("could not use the storage")? {
                Some(found) if found != kind => Err(anyhow!(
                    "another process has begun to encrypt the state in {place} with {found} while \
                     this one was about to with {kind}; give all of them the same {}",
                    STORAGE_CIPHER.own_name().flag()
                )),
                _ => Err(anyhow!(
                    "the state in {place} was encrypted with other storage keys; \
                     put them back, or use another place"
                )),
            }
        }
        Err(error) => Err(error).context("could not use the storage"),
    }
}

#[cfg(test)]
mod tests;
