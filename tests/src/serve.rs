//! `oidc-proxy serve`, as an administrator runs it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Output as Finished, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use crate::{
    PATIENCE, eventually,
    process::{Output, binary},
};

/// What every environment variable of the product begins with.
const ENVIRONMENT_PREFIX: &str = "OIDC_PROXY_";

/// What its log says in front of an address.
const READY: &str = " is ready on ";
const ADMIN_READY: &str = "health and metrics are on ";

/// The settings of a `serve` on a port of its own, with its state in a place of its own.
///
/// The place is gone with the value.
#[derive(Debug)]
pub struct Settings {
    arguments: Vec<OsString>,
    environment: BTreeMap<&'static str, OsString>,
    place: TempDir,
    listen: SocketAddr,
    base_url: String,
}

/// A running `oidc-proxy serve`. Killed when dropped.
#[derive(Debug)]
pub struct Serve {
    child: Child,
    stderr: Output,
    readers: JoinSet<()>,
    settings: Settings,
}

impl Settings {
    /// With a fresh port, and SQLite in a fresh place.
    ///
    /// # Errors
    ///
    /// When there is no port or no place.
    pub fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
        let listen = listener.local_addr()?;
        Self::at(listen, format!("http://{listen}"))
    }

    /// With SQLite in a fresh place, on a port that the server finds out when it starts and then
    /// [tells](Serve::address): nobody else can have taken it meanwhile.
    ///
    /// # Errors
    ///
    /// When there is no place.
    pub fn anywhere(base_url: impl Into<String>) -> anyhow::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), base_url.into())
    }

    fn at(listen: SocketAddr, base_url: String) -> anyhow::Result<Self> {
        Ok(Self {
            arguments: Vec::new(),
            environment: BTreeMap::from([("RUST_LOG", "info".into())]),
            place: tempfile::tempdir()?,
            listen,
            base_url,
        })
    }

    /// Is reached under another URL than that of its port.
    #[must_use]
    pub fn behind(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = base_url.into();
        self
    }

    /// Sets what the flag `--name` sets.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.arguments.push(format!("--{name}={}", value.as_ref()).into());
        self
    }

    /// Trusts the authorities in this PEM file instead of the machine's.
    #[must_use]
    pub fn trusting(self, authorities: impl Into<PathBuf>) -> Self {
        self.env("SSL_CERT_FILE", authorities.into())
    }

    /// Sets an environment variable, in the place of what was there.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name, value.into());
        self
    }

    /// Where it keeps its state; for files that belong to it.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where clients and browsers find it.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The binary with these words in the place of `serve`.
    fn command(&self, words: &[&str]) -> anyhow::Result<Command> {
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX));
        let mut command = Command::new(binary()?);
        // What the person who runs the tests has set is not meant for this.
        for name in ours {
            command.env_remove(name);
        }
        command
            .args(words)
            .arg(format!("--listen={}", self.listen))
            .arg(format!("--base-url={}", self.base_url))
            .args(&self.arguments)
            .envs(&self.environment)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let is_storage = |argument: &OsString| argument.to_string_lossy().starts_with("--storage=");
        if !self.arguments.iter().any(is_storage) {
            let place = self.place().display();
            command.arg(format!("--storage=sqlite://{place}/state.sqlite"));
        }
        Ok(command)
    }

    /// Runs another command of the binary with the same settings, to its end.
    ///
    /// # Errors
    ///
    /// When it does not start or end; how it ends is another matter.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<Finished> {
        let running = self.command(words)?.output();
        timeout(PATIENCE, running).await.context("it does not end")?.context("it does not start")
    }

    /// Starts the binary and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it ends before, or does not answer in time; with what it logged.
    pub async fn start(self) -> anyhow::Result<Serve> {
        let mut child = self
            .command(&["serve"])?
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the binary")?;
        let stderr = Output::default();
        let mut readers = JoinSet::new();
        readers.spawn(stderr.clone().follow(child.stderr.take().context("no stderr")?));
        let http = crate::http()?;
        let metadata = format!("http://{}/.well-known/oauth-authorization-server", self.listen);
        let knows_its_port = self.listen.port() != 0;
        let ready = eventually("the server to be ready", async || {
            let answers = if knows_its_port {
                http.get(&metadata).send().await.is_ok()
            } else {
                told(&stderr, READY).is_some()
            };
            answers || matches!(child.try_wait(), Ok(Some(_)))
        });
        ready.await.with_context(|| stderr.text())?;
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once, {status}:\n{}", stderr.text());
        }
        Ok(Serve { child, stderr, readers, settings: self })
    }
}

impl Serve {
    /// How it was started.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When that is for the server to say ([`Settings::anywhere`]) and it has not: its log has at
    /// least `oidc_proxy::serve=info`.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        match self.settings.listen {
            listen if listen.port() != 0 => Ok(listen),
            _ => told(&self.stderr, READY).context("it does not say where it listens"),
        }
    }

    /// Where its admin listener is.
    ///
    /// # Errors
    ///
    /// As [`Self::address`], and when it has none.
    pub fn admin_address(&self) -> anyhow::Result<SocketAddr> {
        told(&self.stderr, ADMIN_READY).context("it does not say where its admin listener is")
    }

    /// The MCP endpoint, at the default path.
    pub fn mcp_endpoint(&self) -> String {
        format!("{}/mcp", self.settings.base_url)
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Asks it to stop, and waits until it has; gives back how it can be started again.
    ///
    /// # Errors
    ///
    /// When it goes on running, or does not end well.
    pub async fn stop(mut self) -> anyhow::Result<Settings> {
        let process = self.child.id().context("it has ended already")?;
        let sent = Command::new("kill").arg(process.to_string()).status().await?;
        ensure!(sent.success(), "cannot signal process {process}");
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status =
            status.with_context(|| format!("it does not stop:\n{}", self.stderr.text()))??;
        self.readers.join_all().await;
        ensure!(status.success(), "it ended with {status}:\n{}", self.stderr.text());
        Ok(self.settings)
    }

    /// Waits until it has ended by itself; also gives back how it can be started again.
    ///
    /// # Errors
    ///
    /// When it goes on running.
    pub async fn ended(mut self) -> anyhow::Result<(ExitStatus, Settings)> {
        let status = timeout(PATIENCE, self.child.wait()).await.context("it lives on")??;
        self.readers.join_all().await;
        Ok((status, self.settings))
    }

    /// Stops it, and starts it again with the same settings and state.
    ///
    /// # Errors
    ///
    /// When one of them fails.
    pub async fn restart(self) -> anyhow::Result<Self> {
        self.stop().await?.start().await
    }
}

/// The first address that the log names behind `words`.
fn told(log: &Output, words: &str) -> Option<SocketAddr> {
    let text = log.text();
    let (_, rest) = text.split_once(words)?;
    rest.split(['"', '\n', ' ']).next()?.parse().ok()
}
