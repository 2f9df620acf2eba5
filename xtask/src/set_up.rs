//! The part `set-up`: brings what the other parts need and a new machine has not.
//!
//! What is installed is used. The rest comes from where such a machine can have it: crates from
//! cargo's registry, servers and the browser from Debian, never by sudo, MCP clients from npm and
//! `PyPI` in locked versions. Everything of ours lies under `set-up` in the target directory, and is there only when it is complete. After this part
//! nothing needs more than loopback.

mod debian;
mod node;
mod place;
mod program;
mod python;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::process::{self, Invocation};
use debian::Apt;

/// No single command of the set-up may run longer: a download over a slow line has room.
const DEADLINE: Duration = Duration::from_mins(15);

/// Something that a part needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    /// The sources of every crate in `Cargo.lock`.
    Crates,
    Redis,
    Postgres,
    PgBouncer,
    Chromium,
    Nginx,
    Caddy,
    /// What reads units of systemd.
    SystemdAnalyze,
    /// Node.js, as new as some clients need it.
    Node,
    /// The npm packages of `tests/clients`.
    NodeModules,
    /// A Python with the packages of `tests/clients`.
    Python,
}

impl Thing {
    pub(crate) const ALL: &[Self] = &[
        Self::Crates,
        Self::Redis,
        Self::Postgres,
        Self::PgBouncer,
        Self::Chromium,
        Self::Nginx,
        Self::Caddy,
        Self::SystemdAnalyze,
        Self::Node,
        Self::NodeModules,
        Self::Python,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crates => "crates",
            Self::Redis => "redis-server",
            Self::Postgres => "PostgreSQL",
            Self::PgBouncer => "pgbouncer",
            Self::Chromium => "chromium",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::SystemdAnalyze => "systemd-analyze",
            Self::Node => "Node.js",
            Self::NodeModules => "npm packages",
            Self::Python => "Python packages",
        }
    }
}

/// What the set-up came to.
#[derive(Debug, Default)]
pub(crate) struct SetUp {
    /// Where the tests find it all: environment variables.
    pub(crate) variables: Vec<(Thing, &'static str, String)>,
    /// What was there or was brought.
    pub(crate) present: BTreeSet<Thing>,
    /// What could not be had: a sentence each, with what to do.
    pub(crate) missing: BTreeMap<Thing, String>,
    /// What was brought just now, in words.
    pub(crate) brought: Vec<String>,
}

impl SetUp {
    /// Those of `needs` that could not be had, in words.
    pub(crate) fn missing_for(&self, needs: &[Thing]) -> Option<String> {
        let missing: Vec<&str> = needs
            .iter()
            .filter(|thing| self.missing.contains_key(*thing))
            .map(|thing| thing.name())
            .collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// `invocation` with what a part with these `needs` has to be told.
    pub(crate) fn tell(&self, invocation: &Invocation, needs: &[Thing]) -> Invocation {
        let mut told = invocation.clone();
        if self.present.contains(&Thing::Crates) {
            told = told.offline();
        }
        self.variables
            .iter()
            .filter(|(thing, ..)| needs.contains(thing))
            .fold(told, |told, (_, variable, value)| told.env(variable, value))
    }
}

/// What one thing came to: its variable, if tests are told of it, and whether it was brought now.
struct Brought {
    variable: Option<(&'static str, String)>,
    now: bool,
}

/// The machine, as far as the set-up looks at it.
#[derive(Debug)]
struct Machine {
    /// Of the workspace.
    root: PathBuf,
    /// What we install for ourselves lies here.
    place: PathBuf,
    logs: PathBuf,
    /// Where programs are looked for, in this order.
    directories: Vec<PathBuf>,
    /// We may install packages.
    is_root: bool,
}

impl Machine {
    fn look(root: &Path, target: &Path, logs: &Path) -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
        directories.extend(program::well_known(Path::new("/")));
        Self {
            root: root.into(),
            place: target.join("set-up"),
            logs: logs.into(),
            directories,
            // There is no safe call for it in the standard library, but this directory is ours.
            is_root: fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0),
        }
    }

    /// What the user says of where something is.
    fn told(variable: &str) -> Option<OsString> {
        env::var_os(variable).filter(|value| !value.is_empty())
    }

    /// The program `name`, as a shell would find it.
    fn find(&self, name: &str) -> Option<PathBuf> {
        self.directories.iter().map(|place| place.join(name)).find(|path| path.is_file())
    }

    /// Runs a command of the set-up; a bad end is an error that quotes its last words.
    fn run(&self, name: &str, invocation: &Invocation) -> anyhow::Result<String> {
        let log = self.logs.join(format!("set-up-{name}.log"));
        let finished = process::run(invocation, &self.root, &log, DEADLINE)?;
        if !finished.success {
            let words = last_words(&finished.output);
            bail!("`{invocation}` failed: {words} (log: {})", log.display());
        }
        Ok(finished.output)
    }
}

/// Brings every one of `wanted`, as far as it can be had.
pub(crate) fn run(
    root: &Path,
    target: &Path,
    logs: &Path,
    wanted: &BTreeSet<Thing>,
) -> anyhow::Result<SetUp> {
    let machine = Machine::look(root, target, logs);
    fs::create_dir_all(&machine.place)
        .with_context(|| format!("cannot create {}", machine.place.display()))?;
    // Two runs at once share the place: the second one finds what the first one brought.
    let lock = File::create(machine.place.join("lock")).context("cannot create the lock")?;
    lock.lock().context("cannot wait for another set-up")?;
    let mut apt = Apt::new(&machine);
    let mut set_up = SetUp::default();
    for &thing in wanted {
        match bring(&machine, &mut apt, thing) {
            Ok(Brought { variable, now }) => {
                set_up.present.insert(thing);
                set_up.variables.extend(variable.map(|(name, value)| (thing, name, value)));
                if now {
                    set_up.brought.push(thing.name().into());
                }
            }
            Err(error) => {
                set_up.missing.insert(thing, format!("{}: {error:#}", thing.name()));
            }
        }
    }
    Ok(set_up)
}

fn bring(machine: &Machine, apt: &mut Apt<'_>, thing: Thing) -> anyhow::Result<Brought> {
    match thing {
        Thing::Crates => crates(machine),
        Thing::Redis => program::bring(machine, apt, &program::REDIS),
        Thing::Postgres => program::bring(machine, apt, &program::POSTGRES),
        Thing::PgBouncer => program::bring(machine, apt, &program::PGBOUNCER),
        Thing::Chromium => program::bring(machine, apt, &program::CHROMIUM),
        Thing::Nginx => program::bring(machine, apt, &program::NGINX),
        Thing::Caddy => program::bring(machine, apt, &program::CADDY),
        Thing::SystemdAnalyze => program::bring(machine, apt, &program::SYSTEMD_ANALYZE),
        Thing::Node => node::bring(machine, apt),
        Thing::NodeModules => node::modules(machine, apt),
        Thing::Python => python::bring(machine, apt),
    }
}

/// The sources of what is compiled on this machine.
fn crates(machine: &Machine) -> anyhow::Result<Brought> {
    let about = machine.run("rustc", &Invocation::new("rustc -vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` does not say what machine this is")?;
    let fetch = Invocation::new("cargo fetch --locked --target").arg(host);
    let output = machine.run("crates", &fetch)?;
    Ok(Brought { variable: None, now: output.contains("Downloaded ") })
}

/// The last line that says something, an error if there is one.
fn last_words(output: &str) -> &str {
    let complains = |line: &&str| line.starts_with("E: ") || line.to_lowercase().contains("error");
    let mut said = output.lines().map(str::trim).filter(|line| !line.is_empty());
    said.clone().rfind(complains).or_else(|| said.next_back()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_told_of_what_it_needs() {
        let set_up = SetUp {
            variables: vec![
                (Thing::Redis, "TEST_REDIS_SERVER", "/r".into()),
                (Thing::Caddy, "TEST_CADDY", "/c".into()),
            ],
            missing: [(Thing::Postgres, "no".into())].into(),
            ..SetUp::default()
        };
        let told = set_up.tell(&Invocation::new("run"), &[Thing::Crates, Thing::Redis]);
        assert_eq!(told.to_string(), "TEST_REDIS_SERVER='/r' run");
        assert_eq!(set_up.missing_for(&[Thing::Redis]), None);
        let needs = [Thing::Redis, Thing::Postgres];
        assert_eq!(set_up.missing_for(&needs).as_deref(), Some("PostgreSQL"));
    }

    #[test]
    fn the_complaint_is_quoted() {
        assert_eq!(
            last_words("Reading…\nE: Unable to locate package x\n\n"),
            "E: Unable to locate package x"
        );
        assert_eq!(last_words("a\nnpm error code E404\nsee the log"), "npm error code E404");
        assert_eq!(last_words("one\ntwo\n"), "two");
        assert_eq!(last_words(""), "it said nothing");
    }
}
