//! Starting this test binary again, for a race of processes.

use std::{env, process::Command};

/// Tells what is started the storage URL.
pub(crate) const URL: &str = "KV_STORAGE_TEST_URL";

/// How often each race is run, unless `RACE_ROUNDS` says.
pub(crate) const ROUNDS: usize = 60;

/// This binary, to run that test with a storage URL.
pub(crate) fn again(test: &str, url: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(URL, url);
    command
}
