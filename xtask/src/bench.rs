//! `cargo xtask bench kv`: kv-storage beside the raw libraries, and the table of it in the manual.

mod table;

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, bail, ensure};
use xshell::{Shell, cmd};

use crate::{
    flags,
    process::{self, Invocation, Ours},
    set_up::{self, Thing},
    tail,
    tidy::metadata::target_directory,
};
use table::Report;

/// A cold release build on two slow cores has room.
const BUILD_DEADLINE: Duration = Duration::from_mins(30);

/// It takes about six minutes on two cores.
const DEADLINE: Duration = Duration::from_mins(15);

/// How long the servers may take to disappear.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// What is measured; which features of kv-storage are on, its own dev-dependencies say.
const COMMAND: &str = "cargo bench -p kv-storage --bench kv";

/// Where the table is.
const PAGE: &str = "docs/storage.md";

/// The servers that some stores need; a store whose server cannot be had is left out by name.
const NEEDS: &[Thing] = &[Thing::Redis, Thing::Postgres];

/// Measures, prints the tables, and with `--write` puts them into the page.
pub(crate) fn run(shell: &Shell, options: &flags::Bench) -> anyhow::Result<bool> {
    ensure!(options.what == "kv", "`{}` cannot be measured, only `kv` can", options.what);
    let root = shell.current_dir();
    let target = target_directory(shell)?;
    let logs = target.join("xtask");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let ours = Ours::of_this_run(&target);
    let before = ours.running();

    let wanted: BTreeSet<Thing> = NEEDS.iter().copied().collect();
    let set_up = set_up::run(&root, &target, &logs, &wanted)?;
    let finish = |line: &str, name: &str, deadline| {
        let log = logs.join(name);
        let invocation = set_up.tell(&Invocation::new(line), NEEDS);
        let finished = process::run(&invocation, &root, &log, deadline)?;
        if !finished.success {
            bail!(
                "{}\nlog: {}\nrerun: {invocation}",
                tail::relevant(&finished.output),
                log.display()
            );
        }
        Ok(finished.output)
    };
    // Apart, so that the compiler does not compete with what is measured.
    println!("building …");
    finish(&format!("{COMMAND} --no-run"), "bench-build.log", BUILD_DEADLINE)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("measuring …");
    let measured = finish(COMMAND, "bench.log", DEADLINE);
    let left = ours.sweep(&before, EXIT_GRACE);
    let report = Report::parse(&measured?)?;

    let heading = heading(&processor(), &commit(shell)?, load.split(' ').next());
    let text = format!("{heading}\n\n{report}");
    println!("{text}");
    if options.write {
        let page = shell.read_file(PAGE)?;
        shell.write_file(PAGE, table::replace(&page, &text)?)?;
        println!("written to {PAGE}");
    }
    if !left.is_empty() {
        println!("left running, killed now: {}", left.join(", "));
    }
    Ok(left.is_empty())
}

/// When and where the figures were taken; no name and no path of the machine.
fn heading(processor: &str, commit: &str, load: Option<&str>) -> String {
    let load = load
        .filter(|load| !load.is_empty())
        .map_or(String::new(), |load| format!(", which had a load average of {load} just before"));
    format!("Measured at commit {commit} on a machine with {processor}{load}.")
}

/// How many cores, and which.
fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = described
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    format!("{cores} cores ({model})")
}

fn commit(shell: &Shell) -> anyhow::Result<String> {
    let commit = cmd!(shell, "git rev-parse --short=12 HEAD").quiet().read()?;
    let changed = !cmd!(shell, "git status --porcelain").quiet().read()?.is_empty();
    Ok(format!("`{commit}`{}", if changed { " with changes" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::heading;

    #[test]
    fn the_heading_says_where_and_how_loaded() {
        assert_eq!(
            heading("2 cores (some model)", "`abc`", Some("1.50")),
            "Measured at commit `abc` on a machine with 2 cores (some model), which had a load \
             average of 1.50 just before."
        );
        assert_eq!(
            heading("2 cores (some model)", "`abc`", Some("")),
            "Measured at commit `abc` on a machine with 2 cores (some model)."
        );
    }
}
