//! Servers that refuse to be root, and that end with the test.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, chown},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use anyhow::Context;

/// Who runs them if we are root.
const USER: &str = "nobody";

/// Keeps a server from outliving the test: when our end of the pipe closes, even by a `kill -9`,
/// the shell ends the server. `exec` cannot be used, for the shell is what waits.
const WATCHDOG: &str = r#"
exec 3<&0 0</dev/null
signal=$1; shift
"$@" & server=$!
(while read -r _; do :; done; kill -"$signal" "$server" 2>/dev/null) <&3 3<&- & watcher=$!
exec 3<&-
wait "$server"; status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// A server that runs; ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    shell: Child,
}

impl Running {
    /// Starts `program` with `arguments` in `directory`, where its output goes to the file `log`;
    /// `signal` is what ends it at once.
    pub(crate) fn start(
        signal: &str,
        program: &Path,
        arguments: &[&Path],
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        // The shell reads our end of the pipe as its third file: the first must be the server's.
        let mut command = as_user(Path::new("sh"));
        command
            .args(["-c", WATCHDOG, "sh", signal])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        let shell = command.spawn();
        let shell = shell.with_context(|| format!("start a shell for {}", program.display()))?;
        Ok(Self { shell })
    }

    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.shell.try_wait()?.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The watchdog does the rest: it ends the server once the pipe is closed.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A command that runs as [`USER`] if we are root, else as ourselves.
pub(crate) fn as_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", "nogroup", "--clear-groups", "--"]).arg(program);
    command
}

/// The numbers of user and group of [`USER`], if we are root.
pub(crate) fn user() -> anyhow::Result<Option<(u32, u32)>> {
    if !is_root() {
        return Ok(None);
    }
    let number = |option| -> anyhow::Result<u32> {
        let output = Command::new("id").args([option, USER]).output()?;
        let number = String::from_utf8_lossy(&output.stdout).trim().parse();
        number.with_context(|| format!("there is no user {USER} to run servers as"))
    };
    Ok(Some((number("-u")?, number("-g")?)))
}

/// Makes a directory, and all in it, that of whoever runs the servers.
pub(crate) fn give_to_user(directory: &Path) -> anyhow::Result<()> {
    match user()? {
        Some(user) => give(directory, user),
        None => Ok(()),
    }
}

fn give(path: &Path, (user, group): (u32, u32)) -> anyhow::Result<()> {
    chown(path, Some(user), Some(group))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), (user, group))?;
        }
    }
    Ok(())
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        // A file of ours belongs to whoever we are.
        let file = tempfile::tempfile().and_then(|file| file.metadata());
        file.is_ok_and(|metadata| metadata.uid() == 0)
    })
}
