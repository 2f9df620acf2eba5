//! What somebody else made and these tests run.

use std::{env, path::PathBuf};

use anyhow::Context as _;

/// The Node program, 22 or newer.
pub(crate) fn node() -> anyhow::Result<PathBuf> {
    find("TEST_NODE", "Node 22")
}

/// The directory `node_modules` with the packages of `tests/clients/package-lock.json`.
pub(crate) fn node_modules() -> anyhow::Result<PathBuf> {
    find("TEST_NODE_MODULES", "what tests/clients/package-lock.json names")
}

/// Python with the packages of `tests/clients/requirements.lock`.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    find("TEST_PYTHON", "Python with what tests/clients/requirements.lock names")
}

/// Chromium.
pub(crate) fn chromium() -> anyhow::Result<PathBuf> {
    find("TEST_CHROMIUM", "Chromium")
}

fn find(variable: &str, what: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os(variable).with_context(|| {
        format!(
            "{variable} is not set: run these tests by `cargo xtask integration --only clients`, \
             which installs {what}"
        )
    })?;
    std::path::absolute(path).with_context(|| format!("{variable} is no path"))
}
