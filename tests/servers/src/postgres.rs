//! A PostgreSQL server of a test's own.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::{
    port, program,
    unprivileged::{Running, as_user, give_to_user, user},
};

/// Names the directory with `initdb` and `postgres`.
const VARIABLE: &str = "TEST_POSTGRES_BIN";

/// The database that a new cluster has, and its superuser.
const SUPERUSER: &str = "postgres";

/// How long starting, stopping and recovering may take on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(10);

/// What a test's server is given beside the defaults: small, and quick to start.
const SETTINGS: &str = "\
shared_buffers = 8MB
max_connections = 60
autovacuum = off
max_wal_size = 64MB
min_wal_size = 2MB
log_min_messages = fatal
";

/// A private PostgreSQL server on a free port and a Unix socket, with a cluster of its own.
///
/// The superuser `postgres` needs no password; other roles with a password do (SCRAM).
#[derive(Debug)]
pub struct Postgres {
    /// First to go, for the server writes into its directory.
    running: Option<Running>,
    directory: TempDir,
    bin: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes a cluster and starts its server.
    ///
    /// # Errors
    ///
    /// If PostgreSQL is not installed, saying what to do, or does not start.
    pub fn start_new() -> anyhow::Result<Self> {
        Self::start_with("")
    }

    /// A server that the tests running at this time in this process share.
    ///
    /// # Errors
    ///
    /// As for [`start_new`](Self::start_new).
    pub fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start_new()?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// A new server with more lines for `postgresql.conf`.
    ///
    /// # Errors
    ///
    /// As for [`start_new`](Self::start_new).
    pub fn start_with(settings: &str) -> anyhow::Result<Self> {
        let bin = bin()?;
        let directory = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        let mut server = Self { directory, bin, port: port::free()?, running: None };
        copy(&template(&server.bin)?, &server.data())?;
        let port = server.port;
        let sockets = server.directory.path().display();
        fs::write(
            server.data().join("postgresql.conf"),
            format!(
                "{SETTINGS}listen_addresses = '127.0.0.1'\nport = {port}\n\
                 unix_socket_directories = '{sockets}'\n{settings}\n"
            ),
        )?;
        fs::write(
            server.data().join("pg_hba.conf"),
            format!(
                "local all all trust\nhost all {SUPERUSER} 127.0.0.1/32 trust\n\
                 host all all 127.0.0.1/32 scram-sha-256\n\
                 local replication all trust\nhost replication {SUPERUSER} 127.0.0.1/32 trust\n"
            ),
        )?;
        give_to_user(server.directory.path())?;
        server.start()?;
        Ok(server)
    }

    /// The URL of the superuser and the database `postgres`, without options.
    pub fn url(&self) -> String {
        self.url_of(SUPERUSER, SUPERUSER)
    }

    /// The URL for a login, `user` or `user:password`, and a database.
    pub fn url_of(&self, login: &str, database: &str) -> String {
        format!("postgres://{login}@127.0.0.1:{}/{database}", self.port)
    }

    /// Where the server listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket.
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the cluster.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Writes a file into the cluster's directory, readable by whoever runs the server only.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn install(&self, bytes: &[u8], name: &str) -> anyhow::Result<()> {
        let path = self.data().join(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        give_to_user(self.directory.path())
    }

    /// Starts the server after it was stopped or killed, and waits until it answers.
    ///
    /// # Errors
    ///
    /// If it does not, with what it has logged.
    pub fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let (program, data) = (self.bin.join("postgres"), self.data());
        // Its immediate shutdown, for nothing but this ends its sessions as well.
        let arguments = [Path::new("-D"), &data];
        self.running = Some(Running::start("QUIT", &program, &arguments, self.directory.path())?);
        self.wait_until_ready()
    }

    /// Stops the server in good order; sessions are ended.
    ///
    /// # Errors
    ///
    /// If it does not stop.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal("INT")?;
        self.wait_until_gone()
    }

    /// Kills the server's main process by `SIGKILL`, as a crash would; its sessions end as well.
    ///
    /// # Errors
    ///
    /// If it stays.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal("KILL")?;
        self.wait_until_gone()
    }

    /// Sends a signal, such as `HUP` after a change of settings, to the server's main process.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.pid()?]).status()?;
        ensure!(sent.success(), "could not send {signal} to postgres");
        Ok(())
    }

    /// Runs SQL as the superuser in a session of its own; what it answers.
    ///
    /// # Errors
    ///
    /// If the server refuses it, with what it says.
    pub fn execute(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let psql = self.bin.join("psql");
        let psql = if psql.is_file() { psql } else { program::find("psql", "TEST_PSQL")? };
        let output = Command::new(psql)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-d", database, "-c", sql])
            .stdin(Stdio::null())
            .output()
            .context("could not run psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql refused {sql:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Makes an empty database; its URL, for the superuser.
    ///
    /// # Errors
    ///
    /// As for [`execute`](Self::execute).
    pub fn create_database(&self, name: &str) -> anyhow::Result<String> {
        self.execute(SUPERUSER, &format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url_of(SUPERUSER, name))
    }

    fn pid(&self) -> anyhow::Result<String> {
        let file = fs::read_to_string(self.data().join("postmaster.pid"))
            .context("postgres does not run")?;
        Ok(file.lines().next().unwrap_or_default().to_owned())
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // The last line of that file says how far the server is.
            let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            if file
                .lines()
                .nth(7)
                .is_some_and(|status| ["ready", "standby"].contains(&status.trim()))
            {
                return Ok(());
            }
            let running = self.running.as_mut().context("postgres does not run")?;
            let ended = running.has_ended()?;
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.path().join("log"));
                bail!("postgres did not start: {}", log.unwrap_or_default());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for the server and, so that the next one can start, for its sessions.
    fn wait_until_gone(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let Some(mut running) = self.running.take() else { return Ok(()) };
        while !running.has_ended()? {
            ensure!(Instant::now() < deadline, "postgres does not end");
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// The directory of the programs. A symbolic link to one of them may stand where the others are
/// not, so it is followed.
fn bin() -> anyhow::Result<PathBuf> {
    let bin = named_bin()?;
    let initdb = fs::canonicalize(bin.join("initdb")).ok();
    Ok(initdb.and_then(|initdb| initdb.parent().map(Path::to_owned)).unwrap_or(bin))
}

/// From the environment, from `PATH`, or where Debian has them.
fn named_bin() -> anyhow::Result<PathBuf> {
    if let Some(bin) = env::var_os(VARIABLE) {
        return Ok(bin.into());
    }
    if let Ok(initdb) = program::find("initdb", VARIABLE)
        && let Some(bin) = initdb.parent()
    {
        return Ok(bin.to_owned());
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").is_file())
        .max_by_key(|path| version(path))
        .map(|path| path.join("bin"))
        .with_context(|| {
            format!(
                "PostgreSQL is not installed: run these tests by `cargo xtask integration`, which \
                 brings it, or name the directory of its programs in {VARIABLE}"
            )
        })
}

/// Making a cluster takes a second, starting a copy of one a tenth: the first test on a machine
/// makes one for all, in the directory for temporary files.
fn template(bin: &Path) -> anyhow::Result<PathBuf> {
    let version = Command::new(bin.join("postgres")).arg("--version").output()?.stdout;
    let version: String = String::from_utf8_lossy(&version)
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .collect();
    let owner = user()?.map_or(0, |(user, _)| user);
    let place = env::temp_dir().join(format!("test-cluster-{}-{owner}", version.trim_matches('-')));
    if place.join("PG_VERSION").is_file() {
        return Ok(place);
    }
    let directory = tempfile::Builder::new().prefix("initdb-").tempdir()?;
    give_to_user(directory.path())?;
    let made = directory.path().join("data");
    let output = as_user(&bin.join("initdb"))
        .arg("-D")
        .arg(&made)
        .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"])
        .args(["--no-instructions", "-U", SUPERUSER])
        .current_dir(directory.path())
        .output()
        .context("could not run initdb")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "initdb failed: {said}");
    // Another process may have been faster: one of the two is as good as the other.
    match fs::rename(&made, &place) {
        Ok(()) => Ok(place),
        Err(_) if place.join("PG_VERSION").is_file() => Ok(place),
        Err(error) => Err(error).with_context(|| format!("could not make {}", place.display())),
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-R").arg(from).arg(to).status()?;
    ensure!(copied.success(), "could not copy {}", from.display());
    Ok(())
}
