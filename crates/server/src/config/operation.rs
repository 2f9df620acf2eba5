//! How the server is watched, and what it can bear.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::Listen;

/// Settings of the group "Operation" that `serve` needs.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Off unless it was asked for.
    pub(crate) admin: Option<AdminListen>,
    pub(crate) audit_log: AuditLog,
    /// How many proxies of the operator add to `X-Forwarded-For`.
    pub(crate) trusted_proxies: usize,
    /// On each listener.
    pub(crate) max_connections: usize,
    /// For requests and streams that are under way when the server stops.
    pub(crate) drain: Duration,
}

/// Where health, metrics and administration are served, and under which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminListen {
    pub(crate) listen: Listen,
    /// In lower case; besides `localhost` and IP addresses.
    pub(crate) hosts: Vec<String>,
    /// Without one there is no administration.
    pub(crate) token: Option<TokenFile>,
}

/// Where the token of the administration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenFile {
    /// Beside the database, made at each start.
    Made(PathBuf),
    /// The operator's own.
    Given(PathBuf),
}

impl TokenFile {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Made(path) | Self::Given(path) => path,
        }
    }
}

/// How another process finds the administration of a server with the same settings.
#[derive(Clone, Debug)]
pub(crate) struct AdminPlace {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<TokenFile>,
}

/// Where audit events go besides the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuditLog {
    Off,
    /// Standard output.
    Stdout,
    File(PathBuf),
}

impl AuditLog {
    /// Understands the setting.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "off" => Self::Off,
            "-" => Self::Stdout,
            path => Self::File(path.into()),
        }
    }
}
