//! Packages of Debian: installed by root, unpacked into our own place by everybody else.

mod unpack;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, anyhow};

use super::{Machine, program::Program};
use crate::process::Invocation;

/// Debian asks this before a package starts what it brings.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The answer: no.
const NOTHING_STARTS: &str = "\
#!/bin/sh
# Written by `cargo xtask integration` while it installs packages: nothing of theirs is started.
exit 101
";

/// How a package gets here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `apt-get install`, as root.
    Install,
    /// `apt-get download` and unpacking, as anybody.
    Unpack,
    /// This is no Debian.
    None,
}

impl Way {
    fn of(is_root: bool, has_apt: bool) -> Self {
        match (has_apt, is_root) {
            (false, _) => Self::None,
            (true, true) => Self::Install,
            (true, false) => Self::Unpack,
        }
    }
}

/// `apt-get` on this machine.
pub(super) struct Apt<'a> {
    machine: &'a Machine,
    way: Way,
    /// The lists of packages are fresh.
    updated: bool,
}

impl<'a> Apt<'a> {
    pub(super) fn new(machine: &'a Machine) -> Self {
        let has_apt = ["apt-get", "dpkg-deb"].iter().all(|name| machine.find(name).is_some());
        let way = Way::of(machine.is_root, has_apt);
        Self { machine, way, updated: false }
    }

    /// Installs or unpacks the package of `program`.
    pub(super) fn bring(&mut self, program: &Program) -> anyhow::Result<()> {
        let brought = match self.way {
            Way::Install => self.install(program.package, program.service),
            Way::Unpack => self.update().and_then(|()| unpack::bring(self.machine, program)),
            Way::None => Err(anyhow!("there is no apt-get")),
        };
        brought.with_context(|| format!("is not here and cannot be brought, {}", program.advice()))
    }

    /// Installs a package that works at its own place only, so not without root.
    pub(super) fn bring_tool(&mut self, package: &str) -> anyhow::Result<()> {
        let brought = match self.way {
            Way::Install => self.install(package, None),
            Way::Unpack | Way::None => Err(anyhow!("only root can, with apt-get")),
        };
        brought.with_context(|| format!("install the Debian package `{package}` (or the like)"))
    }

    /// Once a run: a new machine has no lists, an old one has lists of what is gone.
    fn update(&mut self) -> anyhow::Result<()> {
        if self.updated {
            return Ok(());
        }
        let update = match self.way {
            Way::Install => apt_get(["update"]),
            _ => unpack::apt_get(self.machine, ["update"])?,
        };
        self.machine.run("apt-update", &update)?;
        self.updated = true;
        Ok(())
    }

    fn install(&mut self, package: &str, service: Option<&str>) -> anyhow::Result<()> {
        self.update()?;
        let quiet = QuietServices::begin(Path::new(POLICY))?;
        let install = apt_get(["install", "--yes", "--no-install-recommends", package]);
        self.machine.run(&format!("apt-{package}"), &install)?;
        if let (QuietServices::Theirs, Some(service)) = (&quiet, service) {
            let stop = Invocation::new("invoke-rc.d --quiet").arg(service).arg("stop");
            self.machine.run(&format!("stop-{service}"), &stop)?;
        }
        Ok(())
    }
}

/// Nobody is there to answer, and another apt-get may be at work.
fn apt_get<const N: usize>(words: [&str; N]) -> Invocation {
    let apt = Invocation::new("apt-get --quiet -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3")
        .env("DEBIAN_FRONTEND", "noninteractive");
    words.into_iter().fold(apt, Invocation::arg)
}

/// While it lives, installed packages start nothing.
#[derive(Debug)]
enum QuietServices<'a> {
    /// Our answer stands, and goes with this value.
    Ours(&'a Path),
    /// The machine has an answer of its own, which stays; what starts is stopped afterwards.
    Theirs,
}

impl<'a> QuietServices<'a> {
    fn begin(policy: &'a Path) -> anyhow::Result<Self> {
        match fs::read_to_string(policy) {
            // Ours is there already if a run was interrupted.
            Ok(text) if text != NOTHING_STARTS => Ok(Self::Theirs),
            _ => {
                fs::write(policy, NOTHING_STARTS)
                    .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
                    .with_context(|| format!("cannot write {}", policy.display()))?;
                Ok(Self::Ours(policy))
            }
        }
    }
}

impl Drop for QuietServices<'_> {
    fn drop(&mut self) {
        if let Self::Ours(policy) = self {
            // If it cannot be removed now, the next set-up knows it for ours.
            let _ = fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_installs_others_unpack() {
        assert_eq!(Way::of(true, true), Way::Install);
        assert_eq!(Way::of(false, true), Way::Unpack);
        assert_eq!(Way::of(true, false), Way::None);
        assert_eq!(Way::of(false, false), Way::None);
    }

    #[test]
    fn nothing_is_asked_and_nothing_recommended_comes_along() {
        let install = apt_get(["install", "--yes", "--no-install-recommends", "redis-server"]);
        assert_eq!(
            install.to_string(),
            "DEBIAN_FRONTEND='noninteractive' apt-get --quiet -o DPkg::Lock::Timeout=300 \
             -o Acquire::Retries=3 install --yes --no-install-recommends redis-server"
        );
    }

    #[test]
    fn services_start_again_after_the_installation() {
        let policy = std::env::temp_dir().join(format!("xtask-{}-policy", std::process::id()));
        for left_behind in [false, true] {
            if left_behind {
                fs::write(&policy, NOTHING_STARTS).unwrap();
            }
            let quiet = QuietServices::begin(&policy).unwrap();
            assert!(matches!(quiet, QuietServices::Ours(_)));
            assert_eq!(fs::metadata(&policy).unwrap().permissions().mode() & 0o777, 0o755);
            drop(quiet);
            assert!(!policy.exists());
        }
    }

    #[test]
    fn the_answer_of_the_machine_stays() {
        let policy = std::env::temp_dir().join(format!("xtask-{}-theirs", std::process::id()));
        fs::write(&policy, "#!/bin/sh\nexit 0\n").unwrap();
        assert!(matches!(QuietServices::begin(&policy).unwrap(), QuietServices::Theirs));
        assert_eq!(fs::read_to_string(&policy).unwrap(), "#!/bin/sh\nexit 0\n");
        fs::remove_file(policy).unwrap();
    }
}
