#![doc = include_str!("../README.md")]

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

mod authorization_request;
mod client_authentication;
mod config;
mod error;
mod file;
#[cfg(feature = "misbehave")]
mod misbehave;
mod page;
mod params;
mod routes;
mod sealed_form;
mod signing_key;
mod stats;
mod store;
mod token;
mod token_error;

#[cfg(feature = "misbehave")]
pub use crate::misbehave::{
    ExpiresInFault, IdTokenFault, IssParameterFault, Misbehave, RefreshTokenFault, Switches,
    TokenEndpointFault,
};
pub use crate::{
    config::{Builder, ClientConfig, Lifetimes, User},
    error::Error,
    signing_key::SigningKey,
    stats::Stats,
};

use crate::{config::Config, routes::Endpoints, stats::Counters, store::Store};

/// The source of the present time: given in, so that tests can move it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A small OpenID provider: clone it freely, all clones share one state.
///
/// It binds no port: [`DevIdp::into_router`] gives the routes to whoever does.
#[derive(Clone)]
pub struct DevIdp {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    endpoints: Endpoints,
    signing_key: SigningKey,
    store: Mutex<Store>,
    counters: Counters,
    clock: Clock,
    #[cfg(feature = "misbehave")]
    misbehave: Misbehave,
}

impl DevIdp {
    /// Starts a configuration; only [`Builder::issuer`] and a client are needed.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The routes of this provider, below the path of its issuer.
    pub fn into_router(self) -> axum::Router {
        routes::router(self)
    }

    /// The issuer, byte for byte as configured.
    pub fn issuer(&self) -> &str {
        &self.inner.config.issuer
    }

    /// The people who can log in, passwords included, so that `demo` can print them.
    pub fn users(&self) -> &[User] {
        &self.inner.config.users
    }

    /// What has been asked of this provider so far.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// The switches that make this provider answer wrongly; they can be set at any time.
    #[cfg(feature = "misbehave")]
    pub fn misbehave(&self) -> &Misbehave {
        &self.inner.misbehave
    }

    fn config(&self) -> &Config {
        &self.inner.config
    }

    fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Seconds since the Unix epoch by the given clock; 0 before it.
    fn now(&self) -> u64 {
        (self.inner.clock)().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
    }

    /// A panic elsewhere leaves the records whole (every change is one insert or removal), so a
    /// poisoned lock is taken over.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DevIdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevIdp").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
