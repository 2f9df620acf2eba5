//! Connections: made when they are needed, and never used again after anything odd.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{self, Instant},
};

use super::{
    error::{self, Failure},
    statement::Statement,
    url::Target,
};
use crate::{Error, ErrorKind, Result};

/// How long making a connection may take: some round trips, TLS and the server's fork.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an operation waits for a connection while all are busy.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server may take to answer a statement. Longer than it waits for a lock, so that
/// nearly always it is the server who says that nothing happened.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that was idle for longer is asked whether it lives before it gets a write, whose
/// outcome would be unknown otherwise. Short, for restarts; and a busy store is never idle.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);

/// How long the answer to that may take: one round trip.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a statement is run that meets others in spite of its isolation (a deadlock).
const ATTEMPTS: u32 = 5;

/// What every session, or without prepared statements every request, begins with.
///
/// - A write is acknowledged when it is on disk, here and on the synchronous standbys.
/// - A wait for a lock ends, by an error, before the client gives up.
/// - A statement has no timeout: PostgreSQL acknowledges a commit whose wait for a standby one
///   interrupts.
const SETTINGS: &str = "SELECT current_setting('transaction_read_only')::boolean, \
     set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
     WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, {local}), \
     set_config('lock_timeout', '5s', {local}), \
     set_config('statement_timeout', '0', {local})";

/// Statements see what was committed before they began, whatever the default is.
const SESSION_ISOLATION: &str = "SET default_transaction_isolation = 'read committed'";

/// The same for the transaction that a request is: the default would be that of the next one. It
/// comes before everything else, or it is too late.
const REQUEST_ISOLATION: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// Marks a session that keeps settings as one of ours, and tells whether it was one before.
///
/// It never was, unless a pooler hands the sessions of others on without clearing them, as in
/// transaction mode: then neither settings nor prepared statements are where we left them.
const MARK: &str = "SELECT current_setting('kv_storage.session', true) = 'marked', \
     set_config('kv_storage.session', 'marked', false)";

/// Whether a statement may be run again after its connection was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    Read,
    Write,
}

/// At most so many connections as the URL says, shared by the tasks of this process.
pub(super) struct Pool {
    target: Target,
    turns: Semaphore,
    idle: Mutex<Vec<Idle>>,
    /// Why the last connection could not be made, until one can: what keeps others waiting.
    trouble: Mutex<Option<Error>>,
}

struct Idle {
    connection: PgConnection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(target: Target) -> Self {
        let turns = Semaphore::new(target.connections as usize);
        Self { target, turns, idle: Mutex::default(), trouble: Mutex::default() }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Runs a statement; its rows.
    ///
    /// A read is tried once more if the connection is lost. A write is run again only when the
    /// server said that it took it back.
    pub(super) async fn run(&self, access: Access, statement: Statement<'_>) -> Result<Vec<PgRow>> {
        let mut attempt = 1;
        loop {
            let mut lease = self.lease().await?;
            match lease.run(&statement).await {
                Ok(rows) => {
                    lease.give_back();
                    return Ok(rows);
                }
                Err(Failure::RolledBack(error)) => {
                    lease.give_back();
                    return Err(error);
                }
                Err(Failure::Collided(error)) => {
                    lease.give_back();
                    if attempt == ATTEMPTS {
                        return Err(error);
                    }
                }
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::Lost(error)) => {
                    self.distrust();
                    match access {
                        Access::Write => return Err(error::lost_write(error)),
                        Access::Read if attempt > 1 => return Err(error::lost_read(error)),
                        Access::Read => {}
                    }
                }
            }
            attempt += 1;
        }
    }

    /// Makes a second connection while the first is there, for that tells whether a pooler has
    /// both use one session.
    pub(super) async fn check_sessions(&self) -> Result<()> {
        if !self.target.prepared || self.target.connections == 1 {
            return Ok(());
        }
        let first = self.lease().await?;
        let second = self.lease().await;
        first.give_back();
        match second {
            Ok(second) => second.give_back(),
            Err(error) if error.kind() == ErrorKind::Misconfigured => return Err(error),
            // One is enough to work.
            Err(error) => tracing::debug!(%error, "there is no second connection"),
        }
        Ok(())
    }

    /// Waits for the operations under way and closes the connections.
    pub(super) async fn close(&self) {
        let all = self.turns.acquire_many(self.target.connections).await;
        self.turns.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for Idle { connection, .. } in idle {
            if let Ok(Err(error)) = time::timeout(PING_TIMEOUT, connection.close()).await {
                tracing::debug!(%error, "a connection was not closed in good order");
            }
        }
    }

    /// A connection of one's own. Nothing happened if there is none.
    pub(super) async fn lease(&self) -> Result<Lease<'_>> {
        let turn = match time::timeout(TURN_TIMEOUT, self.turns.acquire()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => {
                let message = "PostgreSQL: the store was closed";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            Err(_) => return Err(self.trouble().as_ref().map_or_else(error::busy, Error::again)),
        };
        let connection = if let Some(connection) = self.trusted().await {
            connection
        } else {
            let connected = self.connect().await;
            *self.trouble() = connected.as_ref().err().map(Error::again);
            connected?
        };
        Ok(Lease { connection, pool: self, _turn: turn })
    }

    /// An idle connection that lives.
    async fn trusted(&self) -> Option<PgConnection> {
        let Idle { mut connection, since } = self.idle().pop()?;
        if since.elapsed() < TRUSTED_IDLE
            || matches!(time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
        {
            return Some(connection);
        }
        // The others were idle for longer: not to wait for each of them, they go as well.
        self.idle().clear();
        None
    }

    /// Has the idle connections asked before their next use, after one was lost.
    fn distrust(&self) {
        for idle in self.idle().iter_mut() {
            if let Some(earlier) = idle.since.checked_sub(TRUSTED_IDLE) {
                idle.since = earlier;
            }
        }
    }

    async fn connect(&self) -> Result<PgConnection> {
        let target = &self.target;
        let failed = |error| error::connect(&target.place, error);
        let late = |_| failed(sqlx::Error::PoolTimedOut);
        let connecting = PgConnection::connect_with(&target.options);
        let mut connection =
            time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)?.map_err(failed)?;
        if target.prepared {
            let settings = SETTINGS.replace("{local}", "false");
            let text = format!("{SESSION_ISOLATION}; {settings}; {MARK}");
            let session = sqlx::raw_sql(AssertSqlSafe(text));
            let rows = time::timeout(CONNECT_TIMEOUT, session.fetch_all(&mut connection))
                .await
                .map_err(late)?
                .map_err(failed)?;
            let [session, mark] = &rows[..] else {
                return Err(failed(sqlx::Error::RowNotFound));
            };
            if reads_only(session).map_err(failed)? {
                return Err(error::read_only());
            }
            if mark.try_get::<Option<bool>, _>(0).map_err(failed)? == Some(true) {
                return Err(error::shared_session());
            }
        }
        Ok(connection)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Error>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. It is closed when this is dropped, as when the caller hangs up: what it
/// was doing is not known.
pub(super) struct Lease<'p> {
    connection: PgConnection,
    pool: &'p Pool,
    _turn: SemaphorePermit<'p>,
}

impl Lease<'_> {
    /// Keeps the connection for others.
    pub(super) fn give_back(self) {
        let Self { connection, pool, _turn } = self;
        pool.idle().push(Idle { connection, since: Instant::now() });
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Runs a statement to its end: it is committed only then.
    async fn run(&mut self, statement: &Statement<'_>) -> Result<Vec<PgRow>, Failure> {
        let answer = time::timeout(ANSWER_TIMEOUT, async {
            let connection = &mut self.connection;
            if self.pool.target.prepared {
                return statement.prepared().fetch_all(connection).await;
            }
            // One request is one transaction, so a pooler cannot divide it.
            let settings = SETTINGS.replace("{local}", "true");
            let text = format!("{REQUEST_ISOLATION}; {settings}; {}", statement.text());
            sqlx::raw_sql(AssertSqlSafe(text)).fetch_all(connection).await
        });
        let mut rows = match answer.await {
            Ok(answer) => answer.map_err(Failure::of)?,
            Err(late) => return Err(Failure::Lost(sqlx::Error::Io(late.into()))),
        };
        if self.pool.target.prepared {
            return Ok(rows);
        }
        if rows.is_empty() {
            // Not even the settings were answered: who knows what became of the statement.
            return Err(Failure::Lost(sqlx::Error::RowNotFound));
        }
        if reads_only(&rows.remove(0)).map_err(Failure::Lost)? {
            return Err(Failure::Refused(error::read_only()));
        }
        Ok(rows)
    }
}

/// Reads the answer to [`SETTINGS`].
fn reads_only(row: &PgRow) -> sqlx::Result<bool> {
    row.try_get(0)
}
