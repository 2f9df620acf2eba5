//! Programs that Debian has: where they are looked for, and what the tests are told of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use super::{Brought, Machine, debian::Apt};
use crate::process::Invocation;

/// A program of a Debian package.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// What must lie in the same directory.
    beside: &'static [&'static str],
    pub(super) package: &'static str,
    /// What its package starts, if nobody prevents it.
    pub(super) service: Option<&'static str>,
    /// Makes it say its version and end.
    version: &'static str,
    /// The variable that tells the tests.
    variable: &'static str,
    /// They are told the directory, not the program.
    directory: bool,
}

pub(super) const REDIS: Program = Program {
    name: "redis-server",
    beside: &[],
    package: "redis-server",
    service: Some("redis-server"),
    version: "--version",
    variable: "TEST_REDIS_SERVER",
    directory: false,
};

pub(super) const POSTGRES: Program = Program {
    name: "postgres",
    beside: &["initdb", "pg_ctl"],
    package: "postgresql",
    service: Some("postgresql"),
    version: "--version",
    variable: "TEST_POSTGRES_BIN",
    directory: true,
};

pub(super) const PGBOUNCER: Program = Program {
    name: "pgbouncer",
    beside: &[],
    package: "pgbouncer",
    service: Some("pgbouncer"),
    version: "--version",
    variable: "TEST_PGBOUNCER",
    directory: false,
};

pub(super) const CHROMIUM: Program = Program {
    name: "chromium",
    beside: &[],
    package: "chromium",
    service: None,
    version: "--version",
    variable: "TEST_CHROMIUM",
    directory: false,
};

pub(super) const NGINX: Program = Program {
    name: "nginx",
    beside: &[],
    package: "nginx-light",
    service: Some("nginx"),
    version: "-v",
    variable: "TEST_NGINX",
    directory: false,
};

pub(super) const CADDY: Program = Program {
    name: "caddy",
    beside: &[],
    package: "caddy",
    service: Some("caddy"),
    version: "version",
    variable: "TEST_CADDY",
    directory: false,
};

pub(super) const SYSTEMD_ANALYZE: Program = Program {
    name: "systemd-analyze",
    beside: &[],
    package: "systemd",
    service: None,
    version: "--version",
    variable: "TEST_SYSTEMD_ANALYZE",
    directory: false,
};

/// Uses the program that is there, else brings its package.
pub(super) fn bring(
    machine: &Machine,
    apt: &mut Apt<'_>,
    program: &Program,
) -> anyhow::Result<Brought> {
    if let Some(told) = Machine::told(program.variable) {
        let told = PathBuf::from(told);
        let path = if program.directory { told.join(program.name) } else { told };
        return check(machine, program, &path)
            .with_context(|| format!("{} does not name it", program.variable))
            .map(|()| program.brought(&path, false));
    }
    let unpacked = machine.unpacked(program);
    let present = program.find(&machine.directories).or_else(|| {
        // Not every directory of the machine: what was unpacked for one must not shadow another.
        program.find(std::slice::from_ref(&unpacked))
    });
    if let Some(path) = present {
        check(machine, program, &path)?;
        return Ok(program.brought(&path, false));
    }
    apt.bring(program)?;
    let mut places: Vec<PathBuf> = well_known(Path::new("/")).collect();
    places.push(unpacked);
    let path = program
        .find(&places)
        .with_context(|| format!("the package {} brought no {}", program.package, program.name))?;
    check(machine, program, &path)?;
    Ok(program.brought(&path, true))
}

/// It starts, and all that it needs is there.
fn check(machine: &Machine, program: &Program, path: &Path) -> anyhow::Result<()> {
    ensure!(path.is_file(), "there is no {}", path.display());
    let version = Invocation::program(path).arg(program.version);
    machine.run(program.name, &version).map(drop)
}

impl Program {
    /// The first of `directories` that has it, and what must lie beside it.
    fn find(&self, directories: &[PathBuf]) -> Option<PathBuf> {
        let has = |directory: &&PathBuf| self.names().all(|name| directory.join(name).is_file());
        directories.iter().find(has).map(|directory| directory.join(self.name))
    }

    /// It and what lies beside it.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name].into_iter().chain(self.beside.iter().copied())
    }

    /// Where a package unpacked at `root` has the program `name` of this one.
    pub(super) fn inside(&self, root: &Path, name: &str) -> Option<PathBuf> {
        // Of chromium, usr/bin has a script that looks for the program where it is not.
        [root.join("usr/lib").join(self.name)]
            .into_iter()
            .chain(well_known(root))
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
    }

    fn brought(&self, path: &Path, now: bool) -> Brought {
        let told = if self.directory { path.parent().unwrap_or(path) } else { path };
        Brought { variable: Some((self.variable, told.display().to_string())), now }
    }

    /// What a person can do who must do without us.
    pub(super) fn advice(&self) -> String {
        format!(
            "install the Debian package `{}` (or the like), or say in {} where it is",
            self.package, self.variable
        )
    }
}

impl Machine {
    /// Where the programs of an unpacked package are started from.
    pub(super) fn unpacked(&self, program: &Program) -> PathBuf {
        self.place.join("debian").join(program.package).join("bin")
    }
}

/// Where Debian puts programs, newest PostgreSQL first.
pub(super) fn well_known(root: &Path) -> impl Iterator<Item = PathBuf> {
    let versions = fs::read_dir(root.join("usr/lib/postgresql")).into_iter().flatten().flatten();
    let version = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u32>().ok())
    };
    let mut postgres: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    postgres.sort_by_key(|path| std::cmp::Reverse(version(path)));
    ["usr/local/bin", "usr/bin", "usr/sbin"]
        .map(|directory| root.join(directory))
        .into_iter()
        .chain(postgres.into_iter().map(|path| path.join("bin")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these empty files.
    fn tree(name: &str, files: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        for file in files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        root
    }

    #[test]
    fn the_newest_postgres_that_is_whole_is_found() {
        let root = tree(
            "well-known",
            &[
                "usr/lib/postgresql/9/bin/postgres",
                "usr/lib/postgresql/9/bin/initdb",
                "usr/lib/postgresql/9/bin/pg_ctl",
                "usr/lib/postgresql/15/bin/postgres",
                "usr/lib/postgresql/15/bin/initdb",
                "usr/lib/postgresql/15/bin/pg_ctl",
                // The client only.
                "usr/lib/postgresql/17/bin/psql",
            ],
        );
        let directories: Vec<PathBuf> = well_known(&root).collect();
        let found = POSTGRES.find(&directories).unwrap();
        assert_eq!(found, root.join("usr/lib/postgresql/15/bin/postgres"));
        let Brought { variable, now } = POSTGRES.brought(&found, true);
        let directory = root.join("usr/lib/postgresql/15/bin").display().to_string();
        assert_eq!(variable, Some(("TEST_POSTGRES_BIN", directory)));
        assert!(now);
        assert_eq!(REDIS.find(&directories), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_first_directory_wins() {
        let root = tree("first", &["a/redis-server", "b/redis-server"]);
        let found = REDIS.find(&[root.join("none"), root.join("b"), root.join("a")]);
        assert_eq!(found, Some(root.join("b/redis-server")));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn everything_of_debian_has_its_own_variable() {
        let programs = [&REDIS, &POSTGRES, &PGBOUNCER, &CHROMIUM, &NGINX, &CADDY, &SYSTEMD_ANALYZE];
        let variables = programs.map(|program| program.variable);
        let different: std::collections::BTreeSet<&&str> = variables.iter().collect();
        assert_eq!(different.len(), variables.len());
    }
}
