//! The thread that writes: what waits together shares one transaction, and so one wait for the
//! disk.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, Execute, SqlStr, SqliteConnection,
    sqlite::{SqliteArguments, SqliteConnectOptions},
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task, time,
};

use super::{EntryRow, SqliteQuery, error};
use crate::{Clock, Error, ErrorKind, Result, clock::unix_millis};

/// How many writes wait at most; the next ones wait for their turn to wait.
const MAX_WAITING: usize = 512;

/// How many writes share a transaction at most: enough that the disk's answer costs each next to
/// nothing, and few enough that other processes get in between.
const MAX_TOGETHER: usize = 128;

/// How long a write waits for its turn, and then for its answer: more than the
/// [`BUSY_TIMEOUT`](super::BUSY_TIMEOUT), which the ones in front may have to sit out.
const PATIENCE: Duration = Duration::from_secs(30);

/// One write in so many sweeps expired records...
const SWEEP_EVERY: usize = 32;

/// ...and this many of them: more than were written since, so that sweeping keeps up, and few
/// enough that nobody waits.
const SWEEP: i64 = 256;

const SWEEP_EXPIRED: &str = "DELETE FROM entries WHERE rowid IN \
     (SELECT rowid FROM entries WHERE expires_at <= ?1 LIMIT ?2)";

const CHECKPOINT: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// One statement that writes.
#[derive(Clone)]
pub(super) struct Change {
    sql: SqlStr,
    arguments: SqliteArguments,
    /// Whether it answers with what it removed.
    takes: bool,
}

impl Change {
    pub(super) fn new(mut query: SqliteQuery<'_>, takes: bool) -> Result<Self> {
        let arguments = query.take_arguments().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "bind a statement's arguments").with_source(error)
        })?;
        Ok(Self { arguments: arguments.unwrap_or_default(), sql: query.sql(), takes })
    }

    /// Runs the statement to its end: it has happened only then.
    async fn run(&self, connection: &mut SqliteConnection) -> sqlx::Result<Done> {
        let (sql, arguments) = (self.sql.clone(), self.arguments.clone());
        if self.takes {
            let query = sqlx::query_as_with(sql, arguments);
            let taken: Vec<EntryRow> = query.fetch_all(connection).await?;
            return Ok(Done { changed: !taken.is_empty(), taken: taken.into_iter().next() });
        }
        let done = sqlx::query_with(sql, arguments).execute(connection).await?;
        Ok(Done { changed: done.rows_affected() > 0, taken: None })
    }
}

/// What a statement did.
pub(super) struct Done {
    pub(super) changed: bool,
    pub(super) taken: Option<EntryRow>,
}

/// A change and where its answer goes.
struct Job {
    change: Change,
    answer: oneshot::Sender<Result<Done>>,
}

/// The way to the thread.
pub(super) struct Writer {
    // None once it is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(options: SqliteConnectOptions, clock: Clock) -> Result<Self> {
        let failed = |error| {
            Error::new(ErrorKind::Unavailable, "start the writing thread").with_source(error)
        };
        let (jobs, mut waiting) = mpsc::channel(MAX_WAITING);
        let runtime =
            runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let mut worker = Worker { options, clock, connection: None, unswept: SWEEP_EVERY };
        let thread = thread::Builder::new()
            .name("kv-storage-sqlite".to_owned())
            .spawn(move || runtime.block_on(worker.run(&mut waiting)))
            .map_err(failed)?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Hands the change over and waits for its answer. Once handed over it is made once, or not
    /// at all if its turn comes when nobody waits for it any more.
    pub(super) async fn write(&self, change: Change) -> Result<Done> {
        let unavailable = |message| Error::new(ErrorKind::Unavailable, message);
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let jobs = jobs.ok_or_else(|| unavailable(CLOSED))?;
        let (answer, answered) = oneshot::channel();
        time::timeout(PATIENCE, jobs.send(Job { change, answer }))
            .await
            .map_err(|_| unavailable("write to the sqlite file: too many writes are waiting"))?
            .map_err(|_| unavailable(CLOSED))?;
        drop(jobs);
        match time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "write to the sqlite file: it does not answer",
            )),
        }
    }

    /// Lets the thread finish what waits, and end; the one file then holds everything, unless
    /// others have it open.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Fails only if the thread panicked, and then it has ended as well.
            let _ = task::spawn_blocking(move || thread.join()).await;
        }
    }
}

const CLOSED: &str = "write to the sqlite file: the store was closed";

struct Worker {
    options: SqliteConnectOptions,
    clock: Clock,
    /// None before the first write, and after one that left the connection in doubt.
    connection: Option<SqliteConnection>,
    /// How many writes there were since expired records were swept.
    unswept: usize,
}

/// What kept changes from being made together.
enum Failure {
    /// Nothing happened, and trying again one by one would not help.
    NotBegun(sqlx::Error),
    /// Nothing happened: one of them, or the commit, was refused.
    TakenBack,
    /// The disk failed in the middle.
    Unknown(sqlx::Error),
}

impl Worker {
    async fn run(&mut self, waiting: &mut mpsc::Receiver<Job>) {
        let mut jobs = Vec::new();
        while waiting.recv_many(&mut jobs, MAX_TOGETHER).await > 0 {
            // Who hung up does not want it any more.
            jobs.retain(|job| !job.answer.is_closed());
            self.serve(std::mem::take(&mut jobs)).await;
        }
        if let Some(mut connection) = self.connection.take() {
            let emptied = sqlx::raw_sql(CHECKPOINT).execute(&mut connection).await;
            if let Err(error) = emptied.map(drop).and(connection.close().await) {
                // Nothing is lost: who opens the file next finds the rest in the log beside it.
                tracing::debug!(%error, "the log beside the database was not emptied");
            }
        }
    }

    /// Makes the changes and answers.
    async fn serve(&mut self, jobs: Vec<Job>) {
        self.unswept += jobs.len();
        let sweep = self.unswept >= SWEEP_EVERY;
        if jobs.len() == 1 && !sweep {
            return self.one_by_one(jobs).await;
        }
        if sweep {
            // Even if it fails: the changes must not fail because of it time and again.
            self.unswept = 0;
        }
        match self.together(&jobs, sweep).await {
            Ok(done) => {
                for (job, done) in jobs.into_iter().zip(done) {
                    // Whoever hung up does not want to know.
                    let _ = job.answer.send(Ok(done));
                }
            }
            Err(Failure::TakenBack) => self.one_by_one(jobs).await,
            Err(Failure::NotBegun(error)) => all_fail(jobs, &error::not_begun(error)),
            Err(Failure::Unknown(error)) => all_fail(jobs, &error::write(error)),
        }
    }

    /// Each change in a transaction of its own, so that each has its own outcome.
    async fn one_by_one(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            let outcome = match self.connection().await {
                Ok(connection) => job.change.run(connection).await.map_err(|error| {
                    if error.as_database_error().is_none() {
                        self.connection = None;
                    }
                    error::write(error)
                }),
                Err(error) => Err(error::not_begun(error)),
            };
            let _ = job.answer.send(outcome);
        }
    }

    /// All changes in one transaction.
    async fn together(&mut self, jobs: &[Job], sweep: bool) -> Result<Vec<Done>, Failure> {
        let now = unix_millis(&self.clock);
        let connection = self.connection().await.map_err(Failure::NotBegun)?;
        let begun = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await;
        if let Err(error) = begun {
            if error.as_database_error().is_none() {
                self.connection = None;
            }
            return Err(Failure::NotBegun(error));
        }
        let made = async {
            let mut done = Vec::with_capacity(jobs.len());
            for job in jobs {
                done.push(job.change.run(connection).await?);
            }
            if sweep {
                let sweep = sqlx::query(SWEEP_EXPIRED).bind(now).bind(SWEEP);
                sweep.execute(&mut *connection).await?;
            }
            Ok(done)
        };
        let made: sqlx::Result<_> = made.await;
        let committed = match made {
            Ok(done) => match sqlx::raw_sql("COMMIT").execute(&mut *connection).await {
                Ok(_) => return Ok(done),
                Err(error) => Err(error),
            },
            Err(_) => Ok(()),
        };
        // What cannot be rolled back, because SQLite did so already or does not answer, ends with
        // its connection: without a commit, it has not happened.
        if sqlx::raw_sql("ROLLBACK").execute(connection).await.is_err() {
            self.connection = None;
        }
        match committed {
            Err(error) if error::may_have_happened(&error) => Err(Failure::Unknown(error)),
            _ => Err(Failure::TakenBack),
        }
    }

    async fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }
}

fn all_fail(jobs: Vec<Job>, error: &Error) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    for job in jobs {
        let same = Error::new(error.kind(), error.to_string()).with_source(cause.clone());
        let _ = job.answer.send(Err(same));
    }
}
