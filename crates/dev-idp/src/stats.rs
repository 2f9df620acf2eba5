//! Counters by which a test sees what a relying party really asked.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has been asked of a provider since it was built: a snapshot.
///
/// Calls are counted when they arrive, whatever becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Fetches of the metadata, under any of its addresses.
    pub discovery_calls: u64,
    /// Fetches of the key set.
    pub key_set_calls: u64,
    /// Authorization requests.
    pub authorization_calls: u64,
    /// Logins that succeeded, single sign-on included.
    pub logins: u64,
    /// Submitted login pages with a wrong user name or password.
    pub failed_logins: u64,
    /// Login pages answered with “Deny”.
    pub denials: u64,
    /// Token calls with grant type `authorization_code`.
    pub code_calls: u64,
    /// Token calls with grant type `refresh_token`.
    pub refresh_calls: u64,
    /// Token calls with another grant type, or none.
    pub other_token_calls: u64,
    /// Token calls of any kind that were answered with an error.
    pub token_failures: u64,
    /// Codes that came a second time.
    pub code_reuses: u64,
    /// Refresh tokens that came again after their rotation.
    pub refresh_token_reuses: u64,
    /// Revocation calls.
    pub revocation_calls: u64,
    /// Grants that a revocation call really ended.
    pub revoked_grants: u64,
    /// Userinfo calls.
    pub userinfo_calls: u64,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters!(
    discovery_calls,
    key_set_calls,
    authorization_calls,
    logins,
    failed_logins,
    denials,
    code_calls,
    refresh_calls,
    other_token_calls,
    token_failures,
    code_reuses,
    refresh_token_reuses,
    revocation_calls,
    revoked_grants,
    userinfo_calls,
);

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
