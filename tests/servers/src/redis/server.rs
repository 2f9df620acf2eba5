//! One `redis-server`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::resp::{Client, Reply};
use crate::{port, program};

/// How long a server may take to come up, or a cluster to agree, on a busy machine.
pub(super) const DEADLINE: Duration = Duration::from_mins(1);

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often to look for another port: somebody else may take one just before the server does.
const STARTS: usize = 5;

/// How a server is to be started.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    pub(super) lines: Vec<String>,
    pub(super) password: Option<String>,
    pub(super) tls: bool,
    pub(super) sentinel: bool,
    pub(super) cluster: bool,
}

impl RedisOptions {
    /// Adds a line to the configuration.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// The password of the user `default`.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self
    }

    /// It is a sentinel.
    #[must_use]
    pub fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// It can be part of a cluster.
    #[must_use]
    pub fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// Listens with TLS besides: with this certificate and its key, both in PEM files.
    #[must_use]
    pub fn tls(mut self, certificate: &Path, key: &Path) -> Self {
        self.tls = true;
        self.line(format!("tls-cert-file {}", certificate.display()))
            .line(format!("tls-key-file {}", key.display()))
            .line("tls-auth-clients no")
            .line(format!("tls-ca-cert-file {}", certificate.display()))
    }
}

/// A server on a free port of loopback, in a directory of its own; killed when it is dropped.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    directory: TempDir,
    options: RedisOptions,
    port: u16,
    second_port: u16,
    child: Option<Child>,
}

impl Redis {
    /// Starts one that keeps every acknowledged write on its disk.
    ///
    /// # Errors
    ///
    /// If `redis-server` is not installed or does not come up.
    pub fn start() -> Result<Self> {
        Self::with(RedisOptions::default().line("appendonly yes").line("appendfsync always"))
    }

    /// Starts one with options; by default it keeps nothing on its disk.
    ///
    /// # Errors
    ///
    /// If `redis-server` is not installed or does not come up.
    pub fn with(options: RedisOptions) -> Result<Self> {
        let mut server = Self {
            program: program::find("redis-server", "TEST_REDIS_SERVER")?,
            directory: tempfile::tempdir()?,
            options,
            port: 0,
            second_port: 0,
            child: None,
        };
        let mut result = Ok(());
        for _ in 0..STARTS {
            server.port = port::free()?;
            server.second_port = port::free()?;
            server.write_configuration()?;
            result = server.restart();
            if result.is_ok() {
                break;
            }
        }
        result.map(|()| server)
    }

    fn write_configuration(&self) -> Result<()> {
        let options = &self.options;
        let mut lines = vec![
            format!("port {}", self.port),
            "bind 127.0.0.1".into(),
            format!("dir {}", self.directory.path().display()),
            "daemonize no".into(),
            "loglevel notice".into(),
        ];
        if !options.sentinel {
            lines.push("save \"\"".into());
            lines.push("repl-diskless-sync-delay 0".into());
        }
        if options.tls {
            lines.push(format!("tls-port {}", self.second_port));
        }
        if options.cluster {
            lines.push("cluster-enabled yes".into());
            // With TLS the second port is taken, and the nodes meet at one that Redis chooses.
            if !options.tls {
                lines.push(format!("cluster-port {}", self.second_port));
            }
        }
        if let Some(password) = &options.password {
            lines.push(format!("requirepass {password}"));
            lines.push(format!("masterauth {password}"));
        }
        lines.extend(options.lines.iter().cloned());
        lines.push(String::new());
        Ok(fs::write(self.configuration(), lines.join("\n"))?)
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("redis.conf")
    }

    /// Starts it again, on the same port and with what it has on its disk.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let log = fs::File::create(self.directory.path().join("log"))?;
        let mut command = Command::new(&self.program);
        command.arg(self.configuration()).current_dir(self.directory.path());
        if self.options.sentinel {
            command.arg("--sentinel");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().context("start redis-server")?);
        let deadline = Instant::now() + DEADLINE;
        loop {
            if self.answers() {
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().transpose());
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join("log"))?;
                self.kill();
                bail!("redis-server does not come up: {log}");
            }
            thread::sleep(INTERVAL);
        }
    }

    fn answers(&self) -> bool {
        let reply = self.client().and_then(|mut client| client.command(&["PING"]));
        matches!(reply, Ok(Reply::Status(_)))
    }

    /// Where it listens without TLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens with TLS, or for the other nodes of its cluster.
    pub fn second_port(&self) -> u16 {
        self.second_port
    }

    /// Its storage URL.
    pub fn url(&self) -> String {
        let user = self.options.password.as_ref().map(|password| format!(":{password}@"));
        format!("redis://{}127.0.0.1:{}", user.unwrap_or_default(), self.port)
    }

    /// Its storage URL with TLS.
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.second_port)
    }

    /// Kills it, as if the power went.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            let _already_gone = child.wait();
        }
    }

    /// Lets it do nothing, as if it were cut off: connections to it stay open.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let child = self.child.as_ref().context("the server does not run")?;
        let script = format!("kill -{name} {}", child.id());
        ensure!(Command::new("sh").args(["-c", &script]).status()?.success(), "send {name}");
        Ok(())
    }

    /// A connection, logged in.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn client(&self) -> Result<Client> {
        let mut client = Client::connect(self.port)?;
        if let Some(password) = &self.options.password {
            client.command(&["AUTH", password])?;
        }
        Ok(client)
    }

    /// Sends one command over a connection of its own.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached or answers with an error.
    pub fn command(&self, arguments: &[&str]) -> Result<Reply> {
        match self.client()?.command(arguments)? {
            Reply::Error(error) => bail!("{arguments:?}: {error}"),
            reply => Ok(reply),
        }
    }

    /// One line of `INFO`.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached or does not tell it.
    pub fn info(&self, name: &str) -> Result<String> {
        let info = self.command(&["INFO"])?.text()?;
        let lines = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        lines.map(str::to_owned).with_context(|| format!("no {name} in INFO"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for something, as long as a busy machine may need.
pub(super) fn until(what: &str, mut reached: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        ensure!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(INTERVAL);
    }
    Ok(())
}
