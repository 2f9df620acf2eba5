//! Logging to standard error.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// One line for each step of OAuth; the libraries below speak up only if something is wrong.
const DEFAULT_FILTER: &str = "warn,audit=info,\
    dev_idp=info,dev_mcp=info,forwarder=info,kv_storage=info,oauth_proxy=info,oidc_discovery=info,\
    oidc_proxy=info,outbound_http=info,token_verifier=info";

/// Starts logging as `RUST_LOG` says.
pub(crate) fn init() -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).context("RUST_LOG is not a filter")?
        }
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}
