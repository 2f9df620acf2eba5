//! A pooler, pgbouncer, in front of a PostgreSQL server of a test.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{
    Postgres, port, program,
    unprivileged::{Running, give_to_user},
};

/// Names the program.
const VARIABLE: &str = "TEST_PGBOUNCER";

/// Where Debian has it, which is in no user's `PATH`.
const WELL_KNOWN: &str = "/usr/sbin/pgbouncer";

/// How long it may take to start on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(10);

/// How many sessions of the server its clients share.
const SESSIONS: u8 = 3;

/// For how long a client has its session of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolMode {
    /// Until it goes.
    Session,
    /// Until its transaction ends.
    Transaction,
}

/// A pooler on a free port, which lets the superuser `postgres` in without a password.
#[derive(Debug)]
pub struct PgBouncer {
    /// Before its directory.
    _running: Running,
    _directory: TempDir,
    port: u16,
}

impl PgBouncer {
    /// Starts one in front of every database of `server`.
    ///
    /// # Errors
    ///
    /// If pgbouncer is not installed, saying what to do, or does not start.
    pub fn start(server: &Postgres, mode: PoolMode) -> anyhow::Result<Self> {
        Self::start_with(server, mode, "")
    }

    /// As [`start`](Self::start), with more lines for its settings.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn start_with(server: &Postgres, mode: PoolMode, settings: &str) -> anyhow::Result<Self> {
        let program = program()?;
        let directory = tempfile::Builder::new().prefix("pgbouncer-").tempdir()?;
        let place = |name: &str| directory.path().join(name);
        let port = port::free()?;
        let (mode, server) = (mode.name(), server.port());
        let (users, sockets) = (place("users"), directory.path().display());
        fs::write(&users, "\"postgres\" \"\"\n")?;
        fs::write(
            place("pgbouncer.ini"),
            format!(
                "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {sockets}\n\
                 auth_type = trust\nauth_file = {}\npool_mode = {mode}\n\
                 default_pool_size = {SESSIONS}\n{settings}\n",
                users.display()
            ),
        )?;
        give_to_user(directory.path())?;
        let file = place("pgbouncer.ini");
        let mut running = Running::start("KILL", &program, &[&file], directory.path())?;
        wait_until_it_listens(&mut running, port, &place("log"))?;
        Ok(Self { _running: running, _directory: directory, port })
    }

    /// The URL of the superuser and a database, without options.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl PoolMode {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
        }
    }
}

fn program() -> anyhow::Result<PathBuf> {
    program::find("pgbouncer", VARIABLE).or_else(|error| {
        let well_known = Path::new(WELL_KNOWN);
        if well_known.is_file() { Ok(well_known.to_owned()) } else { Err(error) }
    })
}

fn wait_until_it_listens(running: &mut Running, port: u16, log: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if running.has_ended()? || Instant::now() > deadline {
            let log = fs::read_to_string(log).context("pgbouncer does not start")?;
            bail!("pgbouncer does not start: {log}");
        }
        thread::sleep(POLL);
    }
    Ok(())
}
