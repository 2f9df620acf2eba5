//! The encrypted state.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use kv_storage::{Encrypted, ErrorKind, Fernet, KeyValue, Metered};
use oidc_proxy::{AuditEvent, AuditSink};

use crate::audit::AuditFile;

/// Tells the audit log of records that do not open (D8).
pub(crate) fn audited<S: KeyValue>(
    storage: Encrypted<S, Fernet>,
    audit: Option<Arc<AuditFile>>,
) -> Encrypted<S, Fernet> {
    storage.on_refused(move |collection| {
        let event = AuditEvent::record_unreadable(collection);
        event.announce();
        if let Some(audit) = &audit {
            audit.record(&event);
        }
    })
}

/// The encrypted database, after a look whether our keys are those that wrote it (D8).
pub(crate) async fn encrypted<S: KeyValue>(
    database: S,
    cipher: Fernet,
    issuer: &str,
    place: &str,
) -> anyhow::Result<Encrypted<Metered<S>, Fernet>> {
    let storage = Encrypted::new(Metered::new(database)?, cipher, issuer);
    match storage.check_keys().await {
        Ok(()) => Ok(storage),
        Err(error) if error.kind() == ErrorKind::Misconfigured => Err(anyhow!(
            "the state in {place} was encrypted with other storage keys; \
             put them back, or use another place"
        )),
        Err(error) => Err(error).context("could not use the database"),
    }
}
