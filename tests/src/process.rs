//! The built binary, as a person runs it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};
use url::Url;

use crate::{PATIENCE, User, eventually};

/// The line that says that everything answers.
const READY: &str = "Ready.";

/// The binary under test.
///
/// # Errors
///
/// When it was not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = match std::env::var_os("OIDC_PROXY_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_the_tests()?,
    };
    ensure!(
        path.is_file(),
        "{} is not built: run `cargo build -p oidc-proxy-server`",
        path.display()
    );
    Ok(path)
}

/// Test executables lie in `target/PROFILE/deps`, the binary in `target/PROFILE`.
fn beside_the_tests() -> anyhow::Result<PathBuf> {
    let executable = std::env::current_exe().context("where is this test?")?;
    let profile = executable.parent().and_then(Path::parent).context("this test is nowhere")?;
    Ok(profile.join(format!("oidc-proxy{}", std::env::consts::EXE_SUFFIX)))
}

/// How a demo is started; a clone starts another one.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    ports: Option<[u16; 3]>,
}

/// A running `oidc-proxy demo`. Killed when dropped.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    stdout: Output,
    stderr: Output,
    readers: JoinSet<()>,
    launch: Launch,
    /// Where it may put temporary files; nobody else does.
    temporary: TempDir,
    /// Where clients connect.
    pub mcp_endpoint: String,
    /// The provider's issuer.
    pub provider: String,
    /// The MCP server without protection.
    pub backend: String,
    /// Who may log in.
    pub users: Vec<User>,
}

/// What a process wrote on one stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output(Arc<Mutex<String>>);

/// What a demo left behind.
#[derive(Debug)]
pub struct Stopped {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
    /// What is left in its temporary directory.
    pub leftovers: Vec<PathBuf>,
}

/// The signals that ask a process to stop.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// What a supervisor sends.
    Terminate,
    /// A terminal that was closed.
    HangUp,
}

impl Launch {
    /// On free ports, with the default lifetimes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Keeps the state in `directory`.
    #[must_use]
    pub fn keep(self, directory: &Path) -> Self {
        self.arg("--keep").arg(directory)
    }

    /// On these ports: the proxy's, the provider's, the MCP server's.
    #[must_use]
    pub fn ports(mut self, ports: [u16; 3]) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Starts the binary.
    fn spawn(&self, temporary: &TempDir) -> anyhow::Result<Child> {
        let [port, idp_port, mcp_port] =
            self.ports.unwrap_or_default().map(|port| port.to_string());
        Command::new(binary()?)
            .args(["demo", "--port", &port, "--idp-port", &idp_port, "--mcp-port", &mcp_port])
            .args(&self.arguments)
            .env("TMPDIR", temporary.path())
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the binary")
    }

    /// Starts the binary and waits for its end, which should come by itself.
    ///
    /// # Errors
    ///
    /// When it goes on running.
    pub async fn run(&self) -> anyhow::Result<Stopped> {
        let temporary = tempfile::tempdir()?;
        let child = self.spawn(&temporary)?;
        let ended =
            timeout(PATIENCE, child.wait_with_output()).await.context("it does not end")??;
        Ok(Stopped {
            status: ended.status,
            stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
            leftovers: listing(temporary.path())?,
        })
    }

    /// Starts the binary and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends before, or is not ready in time; with what it wrote.
    pub async fn start(&self) -> anyhow::Result<Demo> {
        let temporary = tempfile::tempdir()?;
        let mut child = self.spawn(&temporary)?;
        let (stdout, stderr) = (Output::default(), Output::default());
        let mut readers = JoinSet::new();
        readers.spawn(stdout.clone().follow(child.stdout.take().context("no stdout")?));
        readers.spawn(stderr.clone().follow(child.stderr.take().context("no stderr")?));
        let ready = eventually("the line that says ready", async || {
            stdout.line(READY).is_some() || matches!(child.try_wait(), Ok(Some(_)))
        });
        ready.await.with_context(|| stderr.text())?;
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once, {status}:\n{}", stderr.text());
        }
        let named = |label: &str| -> anyhow::Result<String> {
            let line = stdout.line(label).with_context(|| format!("no line `{label}`"))?;
            let value = line[label.len()..].split_whitespace().next().context("an empty line")?;
            Ok(value.into())
        };
        let (mcp_endpoint, provider, backend) =
            (named("MCP endpoint")?, named("provider")?, named("MCP server")?);
        let users = stdout.line("users").context("no line `users`")?;
        let users = users["users".len()..].split(',').filter_map(|pair| pair.split_once('/')).map(
            |(name, password)| User { name: name.trim().into(), password: password.trim().into() },
        );
        let users = users.collect();
        let launch = self.clone().ports([port(&mcp_endpoint)?, port(&provider)?, port(&backend)?]);
        Ok(Demo {
            child,
            stdout,
            stderr,
            readers,
            launch,
            temporary,
            mcp_endpoint,
            provider,
            backend,
            users,
        })
    }
}

impl Demo {
    /// The issuer, which is the base URL.
    pub fn issuer(&self) -> &str {
        self.mcp_endpoint.strip_suffix("/mcp").unwrap_or(&self.mcp_endpoint)
    }

    /// The user of this name.
    ///
    /// # Panics
    ///
    /// When nobody has this name.
    pub fn user(&self, name: &str) -> User {
        let found = self.users.iter().find(|user| user.name == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}: {:?}", self.users)).clone()
    }

    /// How to start it again: same arguments, same ports.
    pub fn launch(&self) -> Launch {
        self.launch.clone()
    }

    /// What it has logged so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    ///
    /// When it goes on running.
    pub async fn stop(mut self, signal: Signal) -> anyhow::Result<Stopped> {
        let process = self.child.id().context("it has ended already")?;
        let name = match signal {
            Signal::Interrupt => "-INT",
            Signal::Terminate => "-TERM",
            Signal::HangUp => "-HUP",
        };
        let sent = Command::new("kill").args([name, &process.to_string()]).status().await?;
        ensure!(sent.success(), "cannot signal process {process}");
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status =
            status.with_context(|| format!("it does not stop:\n{}", self.stderr.text()))??;
        self.readers.join_all().await;
        let leftovers = listing(self.temporary.path())?;
        Ok(Stopped { status, stdout: self.stdout.text(), stderr: self.stderr.text(), leftovers })
    }

    /// Stops it, insists that it ended well, and starts it again as it was.
    ///
    /// # Errors
    ///
    /// When one of them fails.
    pub async fn restart(self) -> anyhow::Result<Self> {
        let launch = self.launch();
        let stopped = self.stop(Signal::Terminate).await?;
        ensure!(stopped.status.success(), "it ended with {}:\n{}", stopped.status, stopped.stderr);
        launch.start().await
    }
}

impl Output {
    /// Keeps what `stream` says, to its end.
    pub(crate) async fn follow(self, stream: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&line);
            text.push('\n');
        }
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line that begins with `start`, without its indentation.
    fn line(&self, start: &str) -> Option<String> {
        let text = self.text();
        let line = text.lines().map(str::trim_start).find(|line| line.starts_with(start))?;
        Some(line.into())
    }
}

fn port(url: &str) -> anyhow::Result<u16> {
    Url::parse(url)?.port().with_context(|| format!("{url} has no port"))
}

/// The files and directories right in `directory`.
fn listing(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
