//! Python packages, in the versions and with the hashes of a lock file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Brought, Machine, debian::Apt, place};
use crate::process::Invocation;

/// Names the Python with the packages to the tests.
const PYTHON: &str = "TEST_PYTHON";

/// What is installed.
const LOCK: &str = "tests/clients/requirements.lock";

/// The Debian package with which Python can make virtual environments.
const VENV: &str = "python3-venv";

/// A virtual environment with the locked packages.
pub(super) fn bring(machine: &Machine, apt: &mut Apt<'_>) -> anyhow::Result<Brought> {
    if let Some(told) = Machine::told(PYTHON) {
        let told = PathBuf::from(told);
        version(machine, &told).with_context(|| format!("{PYTHON} does not name it"))?;
        return Ok(Brought { variable: None, now: false });
    }
    let lock = machine.root.join(LOCK);
    let text =
        fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let python = python(machine, apt)?;
    // An environment is bound to the Python that made it.
    let texts = [text, python.display().to_string(), version(machine, &python)?];
    let home = machine.place.join(place::named_after("python", &texts));
    let now = place::once(&home, |unfinished| {
        let create = Invocation::program(&python).arg("-m").arg("venv").path(unfinished);
        machine.run("venv", &create)?;
        // Wheels only: building a package runs what it brings.
        let install = Invocation::program(&unfinished.join("bin/python"))
            .arg("-m")
            .arg("pip")
            .arg("install")
            .arg("--no-input")
            .arg("--disable-pip-version-check")
            .arg("--require-hashes")
            .arg("--only-binary=:all:")
            .arg("--requirement")
            .path(&lock);
        machine.run("pip", &install).map(drop)
    })?;
    let python = home.join("bin/python");
    version(machine, &python)?;
    Ok(Brought { variable: Some((PYTHON, python.display().to_string())), now })
}

/// A Python that can make virtual environments.
fn python(machine: &Machine, apt: &mut Apt<'_>) -> anyhow::Result<PathBuf> {
    let able = |machine: &Machine| {
        let python = machine.find("python3")?;
        let try_it = Invocation::program(&python).arg("-c").arg("import ensurepip, venv");
        machine.run("python", &try_it).is_ok().then_some(python)
    };
    if let Some(python) = able(machine) {
        return Ok(python);
    }
    let lacks = "there is no Python that can make virtual environments";
    apt.bring_tool(VENV).context(lacks)?;
    able(machine).context(lacks)
}

fn version(machine: &Machine, python: &Path) -> anyhow::Result<String> {
    machine.run("python-version", &Invocation::program(python).arg("--version"))
}
