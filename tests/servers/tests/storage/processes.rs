//! Starting this test binary again, for a race of processes.

use std::{env, process::Command};

/// Tells what is started the storage URL.
pub(crate) const URL: &str = "KV_STORAGE_TEST_URL";

/// How often each race is run, unless `RACE_ROUNDS` says.
const ROUNDS: usize = 60;

pub(crate) fn rounds() -> usize {
    env::var("RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// This binary, to run that test with a storage URL.
pub(crate) fn again(test: &str, url: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(URL, url);
    command
}
