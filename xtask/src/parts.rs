//! The parts of `cargo xtask integration`, and the choice among them.
//!
//! Everything is compiled with ONE selection of packages, targets and features (`--workspace
//! --all-features`, with the features that dev-dependencies ask for): cargo unifies features over
//! the selection, so a different one would build tokio and all that rests on it a second time. The
//! test runs choose among the targets by name instead: every crate has one integration binary,
//! `it`, and the end-to-end suites have `end_to_end`.

use std::path::Path;

use anyhow::bail;

use crate::process::Invocation;

/// One part: one line of the report.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// It runs what the part `build` builds.
    pub(crate) needs_build: bool,
}

/// How a part is done.
#[derive(Debug)]
pub(crate) enum Work {
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

/// The name of the part that compiles what the test parts run.
pub(crate) const BUILD: &str = "build";

/// Every part, in the order of running: what is quick and what most often fails comes first.
pub(crate) fn all(runner: Runner, binary: &Path, rounds: u32) -> Vec<Part> {
    let check = |name, invocation| Part { name, work: Work::Check(invocation), needs_build: false };
    let suite = |name, runner, invocation| Part {
        name,
        work: Work::Suite(runner, invocation),
        needs_build: true,
    };
    let test = match runner {
        Runner::CargoTest => "cargo test --no-fail-fast",
        Runner::Nextest => "cargo nextest run --no-fail-fast",
    };
    let tests = format!("{test} --workspace --all-features --lib --bins --test it");
    let storage = format!("{test} --workspace --all-features --test storage");
    let end_to_end = format!("{test} --workspace --all-features --test end_to_end");
    vec![
        check("format", Invocation::new("cargo fmt --all --check")),
        Part { name: "tidy", work: Work::Tidy, needs_build: false },
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
            Invocation::new("cargo test --no-fail-fast --workspace --all-features --doc"),
        ),
        suite("tests", runner, Invocation::new(&tests)),
        suite("storage", runner, Invocation::new(&storage)),
        Part { name: "standalone", work: Work::Standalone, needs_build: false },
        suite(
            "end-to-end",
            runner,
            Invocation::new(&end_to_end)
                .env("OIDC_PROXY_BIN", binary.display().to_string())
                .env("RACE_ROUNDS", rounds.to_string()),
        ),
    ]
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
    let needs_build = parts.iter().zip(&chosen).any(|(part, chosen)| *chosen && part.needs_build);
    for (part, chosen) in parts.iter().zip(&mut chosen) {
        *chosen |= part.name == BUILD && needs_build && !named(without, part);
    }
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
        assert_eq!(chosen(&["tests"], &[]).unwrap(), ["build", "tests"]);
        assert_eq!(chosen(&["docs"], &[]).unwrap(), ["docs"]);
        assert_eq!(chosen(&["tests"], &["build"]).unwrap(), ["tests"]);
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
