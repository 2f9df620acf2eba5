//! Finding the programs of the servers.

use std::{env, path::PathBuf};

use anyhow::Context;

/// The program `name`, from the environment variable `variable` or from `PATH`.
///
/// # Errors
///
/// If it is in neither place, with what to do about it.
pub fn find(name: &str, variable: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return Ok(path.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .with_context(|| {
            format!(
                "the program `{name}` is not installed: run these tests by `cargo xtask \
                 integration`, which brings it, or name it in {variable}"
            )
        })
}
