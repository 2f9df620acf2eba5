//! `oidc-proxy serve`, as an administrator runs it.

use std::{
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
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

/// The settings of a `serve` on a port of its own, with its state in a place of its own.
///
/// The place is gone with the value.
#[derive(Debug)]
pub struct Settings {
    arguments: Vec<OsString>,
    /// A PEM file, in place of the machine's own certificates.
    authorities: Option<PathBuf>,
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
        let base_url = format!("http://{listen}");
        Ok(Self {
            arguments: Vec::new(),
            authorities: None,
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
    pub fn trusting(mut self, authorities: impl Into<PathBuf>) -> Self {
        self.authorities = Some(authorities.into());
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

    /// Starts the binary and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it ends before, or does not answer in time; with what it logged.
    pub async fn start(self) -> anyhow::Result<Serve> {
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX));
        let mut command = Command::new(binary()?);
        // What the person who runs the tests has set is not meant for this.
        for name in ours {
            command.env_remove(name);
        }
        if let Some(authorities) = &self.authorities {
            command.env("SSL_CERT_FILE", authorities);
        }
        let storage = format!("sqlite://{}/state.sqlite", self.place().display());
        let mut child = command
            .arg("serve")
            .arg(format!("--listen={}", self.listen))
            .arg(format!("--base-url={}", self.base_url))
            .arg(format!("--storage={storage}"))
            .args(&self.arguments)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the binary")?;
        let stderr = Output::default();
        let mut readers = JoinSet::new();
        readers.spawn(stderr.clone().follow(child.stderr.take().context("no stderr")?));
        let http = crate::http()?;
        let metadata = format!("http://{}/.well-known/oauth-authorization-server", self.listen);
        let ready = eventually("the server's metadata", async || {
            http.get(&metadata).send().await.is_ok() || matches!(child.try_wait(), Ok(Some(_)))
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

    /// Stops it, and starts it again with the same settings and state.
    ///
    /// # Errors
    ///
    /// When one of them fails.
    pub async fn restart(self) -> anyhow::Result<Self> {
        self.stop().await?.start().await
    }
}
