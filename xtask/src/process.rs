//! Running a command with its output in a file, a deadline, and nothing left behind.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// How often a running command is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Tells what we started from everything else: the children inherit it, servers of the tests too.
const MARK: &str = "XTASK_RUN";

/// Tells cargo to ask no registry.
pub(crate) const OFFLINE: (&str, &str) = ("CARGO_NET_OFFLINE", "true");

/// A command line: what is run, and what is printed for the reader to run again.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    env: Vec<(&'static str, String)>,
    words: Vec<String>,
    /// Where it runs, if not in the workspace root.
    directory: Option<PathBuf>,
    /// Cargo must do with what is there.
    offline: bool,
}

impl Invocation {
    /// Splits at spaces; nothing is quoted.
    pub(crate) fn new(line: &str) -> Self {
        let words = line.split_whitespace().map(Into::into).collect();
        Self { env: Vec::new(), words, directory: None, offline: false }
    }

    /// The program at `path`.
    pub(crate) fn program(path: &Path) -> Self {
        Self::new("").path(path)
    }

    /// One more word, spaces and all.
    pub(crate) fn arg(mut self, word: impl AsRef<str>) -> Self {
        self.words.push(word.as_ref().into());
        self
    }

    /// One more word.
    pub(crate) fn path(self, path: &Path) -> Self {
        self.arg(path.to_string_lossy())
    }

    /// Runs it there.
    pub(crate) fn current_dir(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Cargo asks no registry; whoever runs it again by hand need not mind.
    pub(crate) fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(Stdio::null());
        // What `cargo run` told xtask of xtask is not for the crates that it builds.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command.env(MARK, std::process::id().to_string());
        // The counts are parsed, and the log is read by people in any tool.
        command.env("CARGO_TERM_COLOR", "never");
        if self.offline {
            command.env(OFFLINE.0, OFFLINE.1);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}='{value}' ")?;
        }
        write!(f, "{}", self.words.join(" "))
    }
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) success: bool,
    /// Standard output and standard error, in the order they were written.
    pub(crate) output: String,
}

/// Runs `invocation` in `root` with its output in the file `log`; over the deadline it is killed.
pub(crate) fn run(
    invocation: &Invocation,
    root: &Path,
    log: &Path,
    deadline: Duration,
) -> anyhow::Result<Finished> {
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let mut child = invocation
        .command()
        .current_dir(invocation.directory.as_deref().unwrap_or(root))
        .stdout(file.try_clone().context("cannot share the log file")?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start {invocation}"))?;
    let status = wait(&mut child, deadline)?;
    let mut output =
        String::from_utf8_lossy(&fs::read(log).context("cannot read the log back")?).into_owned();
    if status.is_none() {
        let _ = writeln!(output, "\nerror: killed, it ran for more than {} s", deadline.as_secs());
    }
    Ok(Finished { success: status.is_some_and(|status| status.success()), output })
}

/// Waits until the child ends; `None` when it had to be killed.
fn wait(child: &mut Child, deadline: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the command")? {
            return Ok(Some(status));
        }
        if started.elapsed() > deadline {
            child.kill().context("cannot kill the command")?;
            child.wait().context("cannot wait for the killed command")?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// How our processes are known from everything else that runs on this machine.
#[derive(Debug)]
pub(crate) struct Ours<'a> {
    /// The executable lies in there.
    directory: &'a Path,
    /// Or this stands in its environment.
    mark: String,
}

impl<'a> Ours<'a> {
    /// What this run of xtask started, and what was built in `directory`.
    pub(crate) fn of_this_run(directory: &'a Path) -> Self {
        Self { directory, mark: format!("{MARK}={}", std::process::id()) }
    }

    /// Those that run now, other than this one.
    ///
    /// Empty where there is no `/proc`.
    pub(crate) fn running(&self) -> BTreeMap<u32, PathBuf> {
        let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
        let directory = self.directory.canonicalize().unwrap_or_else(|_| self.directory.to_owned());
        entries
            .flatten()
            .filter_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let executable = fs::read_link(entry.path().join("exe")).ok()?;
                let ours = executable.starts_with(&directory) || self.marks(&entry.path());
                (ours && pid != std::process::id()).then_some((pid, executable))
            })
            .collect()
    }

    fn marks(&self, process: &Path) -> bool {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.mark.as_bytes())
    }

    /// Waits for processes that were started since `before` to end, kills those still there after
    /// `grace`, and names them.
    pub(crate) fn sweep(&self, before: &BTreeMap<u32, PathBuf>, grace: Duration) -> Vec<String> {
        let started = Instant::now();
        loop {
            let mut left = self.running();
            left.retain(|pid, _| !before.contains_key(pid));
            if left.is_empty() {
                return Vec::new();
            }
            if started.elapsed() > grace {
                for pid in left.keys() {
                    // It may end by itself just now: then there is nothing to kill.
                    let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
                }
                return left
                    .iter()
                    .map(|(pid, path)| format!("{} (process {pid})", path.display()))
                    .collect();
            }
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn output_of_both_streams_and_the_exit_code_arrive() {
        let directory = directory("run");
        let script = directory.join("script");
        fs::write(&script, "echo out; echo err >&2; echo $MARK; exit 3").unwrap();
        let invocation = Invocation::new(&format!("sh {}", script.display())).env("MARK", "set");
        let finished =
            run(&invocation, &directory, &directory.join("log"), Duration::from_mins(1)).unwrap();
        assert!(!finished.success);
        assert_eq!(finished.output, "out\nerr\nset\n");
        assert_eq!(invocation.to_string(), format!("MARK='set' sh {}", script.display()));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_command_over_its_deadline_is_killed_and_says_so() {
        let directory = directory("deadline");
        let log = directory.join("log");
        let finished =
            run(&Invocation::new("sleep 600"), &directory, &log, Duration::ZERO).unwrap();
        assert!(!finished.success);
        assert!(finished.output.contains("killed"));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_stays_is_named_and_killed() {
        let directory = directory("sweep");
        let program = directory.join("stays");
        fs::copy("/bin/sleep", &program).unwrap();
        let ours = Ours { directory: &directory, mark: format!("{MARK}=of this test") };
        let before = ours.running();
        let mut child = Command::new(&program).arg("600").spawn().unwrap();
        // A server of a test, which lies elsewhere.
        let mut server =
            Command::new("sleep").arg("600").env(MARK, "of this test").spawn().unwrap();
        // The kernel shows the environment of a process a moment after its start.
        let deadline = Instant::now() + Duration::from_mins(1);
        while ours.running().len() < before.len() + 2 && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let left = ours.sweep(&before, Duration::ZERO);
        let names = |id: u32| left.iter().any(|left| left.contains(&format!("process {id})")));
        assert!(names(child.id()) && names(server.id()), "{left:?}");
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(!child.wait().unwrap().success() && !server.wait().unwrap().success());
        fs::remove_dir_all(directory).unwrap();
    }
}
