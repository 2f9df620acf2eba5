//! The unit, as systemd reads it.

use std::{fs, process::Command};

use test_servers::program;

use crate::front::{accepts, edited, shipped};

/// Of 100: what may be left open of what a service can give up.
const EXPOSURE: &str = "--threshold=15";

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let binary = end_to_end::process::binary()?.display().to_string();
    let unit = edited(&shipped("oidc-proxy.service")?, &[("/usr/local/bin/oidc-proxy", &binary)])?;
    let file = place.path().join("oidc-proxy.service");
    fs::write(&file, unit)?;
    let analyze = || program::find("systemd-analyze", "TEST_SYSTEMD_ANALYZE").map(Command::new);
    accepts(analyze()?.arg("verify").arg(&file))?;
    accepts(analyze()?.args(["security", "--offline=true", EXPOSURE]).arg(&file))
}
