//! The encrypted state.

use anyhow::{Context, anyhow};
use kv_storage::{Encrypted, ErrorKind, Fernet, KeyValue};

/// The encrypted database, after a look whether our keys are those that wrote it (D8).
pub(crate) async fn encrypted<S: KeyValue>(
    database: S,
    cipher: Fernet,
    issuer: &str,
    place: &str,
) -> anyhow::Result<Encrypted<S, Fernet>> {
    let storage = Encrypted::new(database, cipher, issuer);
    match storage.check_keys().await {
        Ok(()) => Ok(storage),
        Err(error) if error.kind() == ErrorKind::Misconfigured => Err(anyhow!(
            "the state in {place} was encrypted with other storage keys; \
             put them back, or use another place"
        )),
        Err(error) => Err(error).context("could not use the database"),
    }
}
