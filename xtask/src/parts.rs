//! The parts of `cargo xtask integration`, and the choice among them.
//!
//! Everything is compiled with ONE selection of packages, targets and features (`--workspace
//! --all-features`, with the features that dev-dependencies ask for): cargo unifies features over
//! the selection, so a different one would build tokio and all that rests on it a second time. The
//! test runs choose among the targets by name instead: every crate has one integration binary,
//! `it`, and the end-to-end suites have `end_to_end`.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::bail;

use crate::{
    process::Invocation,
    set_up::Thing::{
        self, Caddy, Chromium, Crates, Nginx, Node, NodeModules, PgBouncer, Postgres, Python,
        Redis, SystemdAnalyze,
    },
};

/// One part: one line of the report.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// It runs what the part `build` builds.
    pub(crate) needs_build: bool,
    /// What the part `set-up` brings for it.
    pub(crate) needs: &'static [Thing],
    /// How long it takes at most on two cores with nothing built; more is said, but no failure.
    pub(crate) budget: Duration,
}

/// How a part is done.
#[derive(Debug)]
pub(crate) enum Work {
    /// [`crate::set_up`], a case for each thing.
    SetUp,
    /// One command, good or bad.
    Check(Invocation),
    /// A command that counts tests.
    Suite(Runner, Invocation),
    /// [`crate::tidy`], a case for each rule.
    Tidy,
    /// [`crate::standalone`].
    Standalone,
}

/// Who runs the tests, and so, how the counts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    CargoTest,
    Nextest,
}

/// The name of the part that brings what the others need.
pub(crate) const SET_UP: &str = "set-up";

/// The name of the part that compiles what the test parts run.
pub(crate) const BUILD: &str = "build";

/// All parts together, on two cores with nothing built: as long as somebody waits for a review.
pub(crate) const BUDGET: Duration = Duration::from_mins(40);

/// The parts whose time goes to the compiler; together at most half of [`BUDGET`].
pub(crate) const COMPILING: &[&str] = &["clippy", "docs", BUILD, "doctests", "standalone"];

/// How long each part may take.
const BUDGETS: &[(&str, Duration)] = &[
    (SET_UP, Duration::from_mins(3)),
    ("format", Duration::from_secs(15)),
    ("tidy", Duration::from_secs(45)),
    ("clippy", Duration::from_mins(6)),
    ("docs", Duration::from_mins(2)),
    (BUILD, Duration::from_mins(9)),
    ("doctests", Duration::from_mins(1)),
    ("tests", Duration::from_mins(4)),
    ("storage", Duration::from_mins(3)),
    ("standalone", Duration::from_mins(2)),
    ("end-to-end", Duration::from_secs(90)),
    ("replicas", Duration::from_mins(4)),
    ("deployment", Duration::from_secs(30)),
    ("clients", Duration::from_mins(3)),
];

/// Every part, in the order of running: after the set-up, what is quick and what most often fails
/// comes first.
pub(crate) fn all(runner: Runner, binary: &Path, rounds: u32) -> Vec<Part> {
    let part = |name, work| Part {
        name,
        work,
        needs_build: false,
        needs: &[Crates],
        budget: budget(name),
    };
    let check = |name, invocation| part(name, Work::Check(invocation));
    let suite = |name, runner, needs, invocation| Part {
        needs_build: true,
        needs,
        ..part(name, Work::Suite(runner, invocation))
    };
    let test = match runner {
        Runner::CargoTest => "cargo test --no-fail-fast",
        Runner::Nextest => "cargo nextest run --no-fail-fast",
    };
    let test = |targets| {
        Invocation::new(&format!("{test} --workspace --all-features {targets}"))
            .env("RACE_ROUNDS", rounds.to_string())
    };
    // Not for the tests of the crates: to them it is a setting that somebody misspelled.
    let binary = |targets| test(targets).env("OIDC_PROXY_BIN", binary.display().to_string());
    vec![
        Part { needs: &[], ..part(SET_UP, Work::SetUp) },
        Part { needs: &[], ..check("format", Invocation::new("cargo fmt --all --check")) },
        part("tidy", Work::Tidy),
        check(
            "clippy",
            Invocation::new("cargo clippy --workspace --all-targets --all-features -- -D warnings"),
        ),
        check(
            "docs",
            Invocation::new("cargo doc --workspace --all-features --no-deps")
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
        check(BUILD, Invocation::new("cargo build --workspace --all-features --all-targets")),
        suite(
            "doctests",
            Runner::CargoTest,
            &[Crates],
            Invocation::new("cargo test --no-fail-fast --workspace --all-features --doc"),
        ),
        suite("tests", runner, &[Crates], test("--lib --bins --test it")),
        suite(
            "storage",
            runner,
            &[Crates, Redis, Postgres, PgBouncer, Python],
            test(match runner {
                // What its tests count is to be seen; nextest is told by its configuration.
                Runner::CargoTest => "--test storage -- --show-output",
                Runner::Nextest => "--test storage",
            }),
        ),
        part("standalone", Work::Standalone),
        suite("end-to-end", runner, &[Crates], binary("--test end_to_end")),
        suite("replicas", runner, &[Crates, Redis, Postgres], binary("--test replicas")),
        suite(
            "deployment",
            runner,
            &[Crates, Nginx, Caddy, SystemdAnalyze],
            binary("--test deployment"),
        ),
        suite(
            "clients",
            runner,
            &[Crates, Chromium, Node, NodeModules, Python],
            binary("--test clients"),
        ),
    ]
}

/// The budget of the part `name`; a part without one has none of the time.
fn budget(name: &str) -> Duration {
    BUDGETS.iter().find(|(part, _)| *part == name).map_or(Duration::ZERO, |(_, budget)| *budget)
}

/// What the set-up has to bring for the chosen parts; everything, if it is asked for by name.
pub(crate) fn wanted(parts: &[Part], chosen: &[bool], only: &[String]) -> BTreeSet<Thing> {
    if only.iter().any(|name| name == SET_UP) {
        return Thing::ALL.iter().copied().collect();
    }
    let chosen = parts.iter().zip(chosen).filter(|(_, chosen)| **chosen);
    chosen.flat_map(|(part, _)| part.needs).copied().collect()
}

/// Which of `parts` the options choose, by position; what others need is chosen too.
///
/// # Errors
///
/// When an option names no part.
pub(crate) fn select(
    parts: &[Part],
    only: &[String],
    without: &[String],
) -> anyhow::Result<Vec<bool>> {
    for name in only.iter().chain(without) {
        if !parts.iter().any(|part| part.name == name) {
            let known: Vec<&str> = parts.iter().map(|part| part.name).collect();
            bail!("there is no part `{name}`; the parts are {}", known.join(", "));
        }
    }
    let named = |names: &[String], part: &Part| names.iter().any(|name| name == part.name);
    let mut chosen: Vec<bool> = parts
        .iter()
        .map(|part| (only.is_empty() || named(only, part)) && !named(without, part))
        .collect();
    let mut bring = |name: &str, needs: fn(&Part) -> bool| {
        let needed = parts.iter().zip(&chosen).any(|(part, chosen)| *chosen && needs(part));
        for (part, chosen) in parts.iter().zip(&mut chosen) {
            *chosen |= part.name == name && needed && !named(without, part);
        }
    };
    bring(BUILD, |part| part.needs_build);
    bring(SET_UP, |part| !part.needs.is_empty());
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(only: &[&str], without: &[&str]) -> anyhow::Result<Vec<&'static str>> {
        let strings =
            |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<String>>();
        let parts = all(Runner::CargoTest, Path::new("oidc-proxy"), 1);
        let chosen = select(&parts, &strings(only), &strings(without))?;
        Ok(parts
            .iter()
            .zip(chosen)
            .filter(|(_, chosen)| *chosen)
            .map(|(part, _)| part.name)
            .collect())
    }

    #[test]
    fn everything_unless_told() {
        let parts = all(Runner::Nextest, Path::new("oidc-proxy"), 1);
        assert_eq!(chosen(&[], &[]).unwrap().len(), parts.len());
    }

    #[test]
    fn one_part_brings_the_build_that_it_needs() {
        assert_eq!(chosen(&["tests"], &[]).unwrap(), ["set-up", "build", "tests"]);
        assert_eq!(chosen(&["docs"], &[]).unwrap(), ["set-up", "docs"]);
        assert_eq!(chosen(&["format"], &[]).unwrap(), ["format"]);
        assert_eq!(chosen(&["tests"], &["build"]).unwrap(), ["set-up", "tests"]);
        assert_eq!(chosen(&["tests"], &["set-up"]).unwrap(), ["build", "tests"]);
    }

    #[test]
    fn the_set_up_brings_what_the_chosen_parts_need() {
        let brought = |only: &[&str], without: &[&str]| {
            let parts = all(Runner::CargoTest, Path::new("oidc-proxy"), 1);
            let strings =
                |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<String>>();
            let chosen = select(&parts, &strings(only), &strings(without)).unwrap();
            wanted(&parts, &chosen, &strings(only))
        };
        assert_eq!(brought(&["tests"], &[]), [Crates].into());
        let storage = [Crates, Redis, Postgres, PgBouncer, Python];
        assert_eq!(brought(&["storage"], &[]), storage.into());
        assert!(!brought(&[], &["storage", "replicas"]).contains(&Postgres));
        assert_eq!(brought(&["set-up"], &[]).len(), Thing::ALL.len());
    }

    #[test]
    fn every_part_has_a_budget_and_all_fit() {
        let parts = all(Runner::Nextest, Path::new("oidc-proxy"), 1);
        assert!(parts.iter().all(|part| part.budget > Duration::ZERO), "{parts:#?}");
        assert_eq!(parts.len(), BUDGETS.len());
        assert!(parts.iter().map(|part| part.budget).sum::<Duration>() <= BUDGET);
        let compiling = parts.iter().filter(|part| COMPILING.contains(&part.name));
        assert!(compiling.map(|part| part.budget).sum::<Duration>() <= BUDGET / 2);
    }

    #[test]
    fn parts_can_be_left_out() {
        let chosen = chosen(&[], &["clippy", "end-to-end"]).unwrap();
        assert!(!chosen.contains(&"clippy") && !chosen.contains(&"end-to-end"));
        assert!(chosen.contains(&"tests"));
    }

    #[test]
    fn an_unknown_part_is_refused_with_the_known_ones() {
        let error = chosen(&["test"], &[]).unwrap_err().to_string();
        assert!(error.contains("`test`") && error.contains("end-to-end"), "{error}");
        assert!(chosen(&[], &["lint"]).is_err());
    }
}
