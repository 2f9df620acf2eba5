//! Logging to standard error.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// One line for each step of OAuth; the libraries below speak up only if something is wrong.
const DEFAULT_FILTER: &str = "warn,audit=info,\
    dev_idp=info,dev_mcp=info,forwarder=info,kv_storage=info,oauth_proxy=info,oidc_discovery=info,\
    oidc_proxy=info,outbound_http=info,token_verifier=info";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl Format {
    /// Understands the setting.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither text nor json")),
        }
    }

    /// Text if a person is watching.
    pub(crate) fn by_terminal() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Starts logging as `RUST_LOG` says.
pub(crate) fn init(format: Format) -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).context("RUST_LOG is not a filter")?
        }
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
