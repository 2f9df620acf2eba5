//! `cargo xtask integration`: the one command that checks everything.

use std::{
    collections::BTreeSet,
    fmt,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::{
    counts::{self, Counts},
    flags,
    parts::{self, BUDGET, BUILD, COMPILING, Part, Runner, Work},
    process::{self, Finished, OFFLINE, Ours},
    set_up::{self, SetUp, Thing},
    standalone, tail,
    tidy::{self, repository::Repository},
};

/// No part may run longer: a cold build on two slow cores has room, something that hangs is ended.
const DEADLINE: Duration = Duration::from_mins(30);

/// How long processes of a finished suite may take to disappear.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// How often a race is run when the command line does not say.
const ROUNDS: u32 = 200;

/// What one part came to.
struct Outcome {
    counts: Counts,
    /// What the reader has to know: why something failed, what passing tests counted.
    details: Option<String>,
}

impl Outcome {
    fn failed(details: impl Into<String>) -> Self {
        Self { counts: Counts::FAILED, details: Some(details.into()) }
    }
}

/// Where things are.
struct Places {
    root: PathBuf,
    target: PathBuf,
    logs: PathBuf,
    /// For the part `set-up`: what to bring.
    wanted: BTreeSet<Thing>,
}

/// Runs the chosen parts, one line each; `false` when anything failed.
pub(crate) fn run(shell: &Shell, options: &flags::Integration) -> anyhow::Result<bool> {
    let target = tidy::metadata::target_directory(shell)?;
    let logs = target.join("xtask");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let binary = target.join("debug").join(format!("oidc-proxy{}", std::env::consts::EXE_SUFFIX));
    let parts = parts::all(runner(shell), &binary, options.rounds.unwrap_or(ROUNDS));
    let chosen = parts::select(&parts, &options.only, &options.without)?;
    let wanted = parts::wanted(&parts, &chosen, &options.only);
    let places = Places { root: shell.current_dir(), target, logs, wanted };

    let mut total = Counts::default();
    let mut times = Times::default();
    let mut build_is_good = true;
    let mut set_up = SetUp::default();
    for (part, chosen) in parts.iter().zip(chosen) {
        if !chosen {
            if options.only.is_empty() {
                line(part.name, "left out");
                total += Counts::SKIPPED;
            }
            continue;
        }
        if part.needs_build && !build_is_good {
            line(part.name, "skipped: the build failed");
            total += Counts::SKIPPED;
            continue;
        }
        if let Some(missing) = set_up.missing_for(part.needs) {
            line(part.name, &format!("{}: not run, it lacks {missing}", Counts::FAILED));
            total += Counts::FAILED;
            continue;
        }
        announce(part.name);
        let started = Instant::now();
        let outcome = run_part(shell, part, &places, &mut set_up);
        let took = started.elapsed();
        line(part.name, &format!("{:<40}{}", outcome.counts.to_string(), time(took, part.budget)));
        if let Some(details) = outcome.details {
            println!("{}", indented(&details));
        }
        build_is_good &= part.name != BUILD || outcome.counts.failed == 0;
        total += outcome.counts;
        times.add(part, took);
    }
    println!("{times}\n{total}");
    Ok(total.failed == 0)
}

/// What all parts took together.
#[derive(Debug, Default)]
struct Times {
    all: Duration,
    compiling: Duration,
}

impl Times {
    fn add(&mut self, part: &Part, took: Duration) {
        self.all += took;
        if COMPILING.contains(&part.name) {
            self.compiling += took;
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = time(self.all, BUDGET);
        write!(f, "together {all}, {} compiling", time(self.compiling, BUDGET / 2).trim_start())
    }
}

/// Nextest where it is installed: it runs each test in its own process and ends those that hang.
fn runner(shell: &Shell) -> Runner {
    let present =
        cmd!(shell, "cargo nextest --version").quiet().ignore_stdout().ignore_stderr().run();
    if present.is_ok() { Runner::Nextest } else { Runner::CargoTest }
}

/// Does one part; what goes wrong on the way is a failure of that part, and the next one runs.
fn run_part(shell: &Shell, part: &Part, places: &Places, set_up: &mut SetUp) -> Outcome {
    let ours = Ours::of_this_run(&places.target);
    let before = ours.running();
    let outcome = do_part(shell, part, places, set_up)
        .unwrap_or_else(|error| Outcome::failed(format!("{error:#}\nrerun: {}", rerun(part))));
    let left = ours.sweep(&before, EXIT_GRACE);
    if left.is_empty() {
        return outcome;
    }
    let mut counts = outcome.counts;
    counts += Counts::FAILED;
    let left = format!("left running, killed now: {}", left.join(", "));
    let details = outcome.details.map_or(left.clone(), |details| format!("{details}\n{left}"));
    Outcome { counts, details: Some(details) }
}

fn do_part(
    shell: &Shell,
    part: &Part,
    places: &Places,
    set_up: &mut SetUp,
) -> anyhow::Result<Outcome> {
    let log = places.logs.join(format!("{}.log", part.name));
    let (counts, finished) = match &part.work {
        Work::SetUp => {
            *set_up = set_up::run(&places.root, &places.target, &places.logs, &places.wanted)?;
            return Ok(set_up_part(shell, set_up));
        }
        Work::Tidy => return tidy_part(shell),
        Work::Standalone => {
            let passed = standalone::run(shell, &places.target)?;
            let counts = Counts { passed, ..Counts::default() };
            return Ok(Outcome { counts, details: None });
        }
        Work::Check(invocation) => {
            let invocation = set_up.tell(invocation, part.needs);
            let finished = process::run(&invocation, &places.root, &log, DEADLINE)?;
            (if finished.success { Counts::PASSED } else { Counts::FAILED }, finished)
        }
        Work::Suite(runner, invocation) => {
            let invocation = set_up.tell(invocation, part.needs);
            let finished = process::run(&invocation, &places.root, &log, DEADLINE)?;
            let counts = match runner {
                Runner::CargoTest => Counts::of_cargo_test(&finished.output),
                Runner::Nextest => Counts::of_nextest(&finished.output),
            };
            (counts.judged(finished.success), finished)
        }
    };
    let mut details: Vec<_> =
        counts::remarks(&finished.output).into_iter().map(str::to_owned).collect();
    if counts.failed > 0 {
        details.push(explain(part, &finished, &log));
    }
    let details = (!details.is_empty()).then(|| details.join("\n"));
    Ok(Outcome { counts, details })
}

fn set_up_part(shell: &Shell, set_up: &SetUp) -> Outcome {
    if set_up.present.contains(&Thing::Crates) {
        shell.set_var(OFFLINE.0, OFFLINE.1);
    }
    let brought =
        (!set_up.brought.is_empty()).then(|| format!("brought: {}", set_up.brought.join(", ")));
    let details: Vec<String> = set_up.missing.values().cloned().chain(brought).collect();
    let counts = Counts {
        passed: set_up.present.len() as u64,
        failed: set_up.missing.len() as u64,
        skipped: 0,
    };
    Outcome { counts, details: (!details.is_empty()).then(|| details.join("\n")) }
}

fn tidy_part(shell: &Shell) -> anyhow::Result<Outcome> {
    let report = tidy::check(&Repository::load(shell)?);
    let details = (report.counts.failed > 0)
        .then(|| format!("{}\nrerun: cargo xtask tidy", report.violations.join("\n")));
    Ok(Outcome { counts: report.counts, details })
}

fn explain(part: &Part, finished: &Finished, log: &Path) -> String {
    let tail = tail::relevant(&finished.output);
    let no_test = match part.work {
        Work::Suite(..) if finished.success => "error: it ran no test\n",
        _ => "",
    };
    format!("{tail}\n{no_test}log: {}\nrerun: {}", log.display(), rerun(part))
}

fn rerun(part: &Part) -> String {
    match &part.work {
        Work::Check(invocation) | Work::Suite(_, invocation) => invocation.to_string(),
        Work::Tidy => "cargo xtask tidy".into(),
        Work::SetUp | Work::Standalone => format!("cargo xtask integration --only {}", part.name),
    }
}

/// On a terminal, says what is running until its line replaces it.
fn announce(name: &str) {
    let mut stdout = std::io::stdout();
    if stdout.is_terminal() {
        print!("{name} …\r");
        // A terminal that is gone will be noticed by the next line.
        let _ = stdout.flush();
    }
}

fn line(name: &str, what: &str) {
    println!("{name:<12}{what}");
}

/// How long it took, and how long it may take.
fn time(took: Duration, budget: Duration) -> String {
    let over = if took > budget { ", over" } else { "" };
    format!("{:>8.1} s of {} s{over}", took.as_secs_f64(), budget.as_secs())
}

fn indented(text: &str) -> String {
    format!("    {}", text.lines().collect::<Vec<_>>().join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_budget_is_said() {
        let minute = Duration::from_mins(1);
        assert_eq!(time(Duration::from_secs(59), minute), "    59.0 s of 60 s");
        assert_eq!(time(Duration::from_secs(61), minute), "    61.0 s of 60 s, over");
    }

    #[test]
    fn compiling_is_summed_apart() {
        let parts = parts::all(Runner::Nextest, Path::new("oidc-proxy"), 1);
        let mut times = Times::default();
        for name in [BUILD, "clippy", "tests"] {
            let part = parts.iter().find(|part| part.name == name).unwrap();
            times.add(part, Duration::from_secs(7));
        }
        let expected = "together     21.0 s of 2400 s, 14.0 s of 1200 s compiling";
        assert_eq!(times.to_string(), expected);
    }
}
