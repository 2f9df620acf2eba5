//! A program in another language that does what the test says: one JSON object a line.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use end_to_end::{PATIENCE, group::Group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::installed;

/// A running script. Killed when dropped, with all that it started.
pub(crate) struct Script {
    name: &'static str,
    _group: Group,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Arc<Mutex<String>>,
    _reader: JoinHandle<()>,
    _place: TempDir,
}

impl Script {
    /// Starts the script `name`, by what its extension says.
    pub(crate) fn start(name: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        let place = place()?;
        let program = match Path::new(name).extension() {
            Some(extension) if extension == "py" => installed::python()?,
            _ => installed::node()?,
        };
        let mut command = Command::new(&program);
        command
            .arg(place.path().join(name))
            .args(arguments)
            .current_dir(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut group = Group::start(&mut command)?;
        let child = group.leader();
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut said = child.stderr.take().context("no stderr")?;
        let reader = tokio::spawn({
            let stderr = Arc::clone(&stderr);
            async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = said.read(&mut buffer).await {
                    let mut text = stderr.lock().unwrap_or_else(PoisonError::into_inner);
                    text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
            }
        });
        Ok(Self {
            name,
            stdin: child.stdin.take().context("no stdin")?,
            stdout: BufReader::new(child.stdout.take().context("no stdout")?).lines(),
            _group: group,
            stderr,
            _reader: reader,
            _place: place,
        })
    }

    /// Tells it something.
    pub(crate) async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        let line = format!("{message}\n");
        let written = self.stdin.write_all(line.as_bytes()).await;
        written.with_context(|| self.with_stderr("does not listen"))
    }

    /// What it says next.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<Value> {
        // It may itself wait for as long as we do, twice.
        let line = timeout(3 * PATIENCE, self.stdout.next_line()).await;
        let line = line.with_context(|| self.with_stderr("says nothing"))??;
        let line = line.with_context(|| self.with_stderr("has ended"))?;
        serde_json::from_str(&line).with_context(|| format!("{} says {line}", self.name))
    }

    fn with_stderr(&self, what: &str) -> String {
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} {what}; on standard error it said:\n{stderr}", self.name)
    }
}

/// A place with the scripts and what they import.
fn place() -> anyhow::Result<TempDir> {
    let place = tempfile::tempdir()?;
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients");
    for entry in std::fs::read_dir(&scripts)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.extension().is_some_and(|extension| extension == "mjs" || extension == "py") {
            std::fs::copy(&path, place.path().join(name))?;
        }
    }
    let modules = place.path().join("node_modules");
    std::os::unix::fs::symlink(installed::node_modules()?, modules)?;
    Ok(place)
}

impl Script {
    /// Does `command`, and whatever `authorize` has to be done on the way.
    pub(crate) async fn answer(
        &mut self,
        command: &Value,
        mut authorize: impl AsyncFnMut(url::Url) -> anyhow::Result<url::Url>,
    ) -> anyhow::Result<Value> {
        self.send(command).await?;
        loop {
            let said = self.receive().await?;
            if let Some(url) = said["authorize"].as_str() {
                let callback = authorize(url.parse()?).await?;
                self.send(&serde_json::json!({ "callback": callback.as_str() })).await?;
            } else if let Some(error) = said["error"].as_str() {
                bail!(self.with_stderr(&format!("fails: {error}")));
            } else {
                return Ok(said["ok"].clone());
            }
        }
    }
}
