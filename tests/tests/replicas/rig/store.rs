//! The server that keeps the state.

use test_servers::{Postgres, Redis};

/// Who keeps the state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {
    Redis,
    Postgres,
}

/// A real one; killed when dropped.
pub(crate) enum StoreServer {
    Redis(Redis),
    Postgres(Postgres),
}

impl StoreServer {
    pub(super) fn start(store: Store) -> anyhow::Result<Self> {
        Ok(match store {
            Store::Redis => Self::Redis(Redis::start()?),
            Store::Postgres => Self::Postgres(Postgres::start_new()?),
        })
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Redis(server) => server.url(),
            Self::Postgres(server) => server.url(),
        }
    }

    /// As if the power went.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Redis(server) => {
                server.kill();
                Ok(())
            }
            Self::Postgres(server) => server.kill(),
        }
    }

    /// With what it has on its disk.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Redis(server) => server.restart(),
            Self::Postgres(server) => server.start(),
        }
    }
}
