//! `cargo xtask tidy`: the rules that neither the compiler nor clippy knows.
//!
//! Each rule is a pure function from what [`Repository`] read to the violations that it found, with
//! a test that feeds it one. The reasons stand in CONTRIBUTING.md and `docs/architecture.md`.

mod features;
mod files;
mod layering;
mod licenses;
mod links;
mod manifests;
pub(crate) mod metadata;
mod packages;
pub(crate) mod repository;
mod sources;
mod text;

use std::fmt;

use xshell::Shell;

use crate::counts::Counts;
use repository::Repository;

/// Something that breaks a rule, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Violation {
    /// A file, perhaps with its line, or a package.
    place: String,
    message: String,
}

impl Violation {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A rule: its name, and what finds its violations.
type Rule = (&'static str, fn(&Repository) -> Vec<Violation>);

/// Every rule.
const RULES: &[Rule] = &[
    ("layering", |repository| layering::edges(&repository.metadata.members)),
    ("crates named by their owners only", |repository| {
        layering::named_crates(&repository.metadata.members)
    }),
    ("one module names openidconnect", |repository| layering::openidconnect(&repository.files)),
    ("optional edges", |repository| layering::optional(&repository.metadata.members)),
    ("banned packages", |repository| packages::banned(&repository.compiled)),
    ("licenses", |repository| licenses::allowed(&repository.all_packages)),
    ("licenses in deny.toml", |repository| licenses::same_in_deny(&repository.files)),
    ("features of a plain server", |repository| features::plain(&repository.plain_features)),
    ("features of the default build", |repository| features::default(&repository.default_features)),
    ("file sizes", |repository| files::sizes(&repository.files)),
    ("every crate has a README", |repository| {
        files::readmes(&repository.metadata.members, &repository.files)
    }),
    ("one integration binary", |repository| {
        manifests::one_integration_binary(&repository.metadata.members)
    }),
    ("manifests", |repository| manifests::inherit(&repository.files)),
    ("open ends", |repository| text::open_ends(&repository.files)),
    ("no ignored tests", |repository| text::ignored_tests(&repository.files)),
    ("nothing of one machine", |repository| text::machine(&repository.files)),
    ("no addresses in lock files", |repository| text::addresses_in_locks(&repository.files)),
    ("no ambient input in libraries", |repository| sources::ambient(&repository.files)),
    ("owned tasks", |repository| sources::tasks(&repository.files)),
    ("links", |repository| links::relative(&repository.files)),
];

/// What all rules came to.
pub(crate) struct Report {
    /// One case per rule.
    pub(crate) counts: Counts,
    /// One line each.
    pub(crate) violations: Vec<String>,
}

/// Applies every rule.
pub(crate) fn check(repository: &Repository) -> Report {
    let mut report = Report { counts: Counts::default(), violations: Vec::new() };
    for (name, rule) in RULES {
        let violations = rule(repository);
        report.counts += if violations.is_empty() { Counts::PASSED } else { Counts::FAILED };
        report.violations.extend(violations.iter().map(|violation| format!("{name}: {violation}")));
    }
    report
}

/// `cargo xtask tidy`: prints the violations; `false` when there are any.
pub(crate) fn command(shell: &Shell) -> anyhow::Result<bool> {
    let report = check(&Repository::load(shell)?);
    for violation in &report.violations {
        println!("{violation}");
    }
    println!("{}", report.counts);
    Ok(report.violations.is_empty())
}
