//! What every route shares.

use std::sync::Arc;

use jwt_issuer::{JwtIssuer, KeyRing, Mac, Sealer, SigningAlgorithm};
use serde_json::Value;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::AuditSink, cimd::Documents, clock::UnixClock, config::Config, outbox::Outbox,
    provider::Provider, renewal::ahead::Renewals, routes::register::UnusedQuota, store::Store,
};

/// One authorization server: configuration, keys, storage, provider.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: UnixClock,
    pub(crate) store: Store,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) keys: Keys,
    /// Who keeps what an auditor may ask for.
    pub(crate) audit: Option<Arc<dyn AuditSink>>,
    /// What this process has registered today.
    pub(crate) registrations: UnusedQuota,
    /// The metadata documents of clients that have one.
    pub(crate) documents: Documents,
    /// Revocations that the provider is to hear of.
    pub(crate) outbox: Outbox,
    /// What is asked of the provider before anybody needs it.
    pub(crate) renewals: Renewals,
    /// Work that no client's hang-up cancels and that shutdown awaits (D6).
    pub(crate) tasks: TaskTracker,
    /// Ends the watching of streams.
    pub(crate) stopping: CancellationToken,
}

/// One key per purpose, all derived from one ring (D8).
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) access: JwtIssuer,
    /// Seals the authorization request into the consent form.
    pub(crate) consent: Sealer,
    pub(crate) refresh: Mac,
    pub(crate) by_subject: Mac,
    /// All of them, for the comparison with what the storage knows.
    pub(crate) ring: KeyRing,
    /// The JWK set: with what others verify what we sign.
    pub(crate) public: Value,
}

impl Keys {
    pub(crate) fn new(ring: &KeyRing, issuer: &str, algorithm: SigningAlgorithm) -> Self {
        Self {
            access: JwtIssuer::with_algorithm(ring, issuer, algorithm),
            consent: Sealer::new(ring, "consent-request", issuer),
            refresh: Mac::new(ring, "refresh-token", issuer),
            by_subject: Mac::new(ring, "by-subject", issuer),
            ring: ring.clone(),
            public: ring.public_keys(algorithm, issuer),
        }
    }
}
