//! The thread that writes: what waits together shares one transaction, and so one wait for the
//! disk.

use std::{
    slice,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
    time,
};

use super::{
    change::{Change, Done},
    error,
};
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

/// A change and where its answer goes.
struct Job {
    change: Change,
    answer: oneshot::Sender<Result<Done>>,
}

/// The way to the thread.
pub(super) struct Writer {
    // None once it is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Its other end goes with the thread.
    ended: watch::Receiver<()>,
}

impl Writer {
    pub(super) fn start(options: SqliteConnectOptions, clock: Clock) -> Result<Self> {
        let failed = |error| {
            Error::new(ErrorKind::Unavailable, "start the writing thread").with_source(error)
        };
        let (jobs, mut waiting) = mpsc::channel(MAX_WAITING);
        let runtime =
            runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let worker = Worker { options, clock, connection: None, unswept: SWEEP_EVERY };
        let (end, ended) = watch::channel(());
        thread::Builder::new()
            .name("kv-storage-sqlite".to_owned())
            .spawn(move || {
                // Goes last, even if the worker panics.
                let _end = end;
                let mut worker = worker;
                runtime.block_on(worker.run(&mut waiting));
            })
            .map_err(failed)?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), ended })
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
            Ok(Err(_)) | Err(_) => Err(error::not_answered()),
        }
    }

    /// Lets the thread finish what waits, and end; the one file then holds everything, unless
    /// others have it open.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nothing is ever sent: it fails once the thread has ended.
        let _ = self.ended.clone().changed().await;
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

/// What kept changes from being made.
enum Failure {
    /// Nothing happened, and trying again one by one would not help.
    NotBegun(sqlx::Error),
    /// Nothing happened: one of them, or the commit, was refused.
    TakenBack(sqlx::Error),
    /// The disk failed in the middle of the commit.
    Unknown(sqlx::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotBegun(error) => error::not_begun(error),
            Failure::TakenBack(error) => error::not_written(error),
            Failure::Unknown(error) => error::unknown(error),
        }
    }
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
            Err(Failure::TakenBack(_)) if jobs.len() > 1 || sweep => self.one_by_one(jobs).await,
            Err(failure) => {
                let error = Error::from(failure);
                for job in jobs {
                    let _ = job.answer.send(Err(error.again()));
                }
            }
        }
    }

    /// Each change in a transaction of its own, so that each has its own outcome.
    async fn one_by_one(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            let outcome = match self.together(slice::from_ref(&job), false).await {
                Ok(done) => done.into_iter().next().ok_or_else(error::not_answered),
                Err(failure) => Err(failure.into()),
            };
            let _ = job.answer.send(outcome);
        }
    }

    /// All changes in one transaction.
    ///
    /// It is the time when it has begun that expiry is judged by: until then, another process may
    /// have had to be waited for.
    async fn together(&mut self, jobs: &[Job], sweep: bool) -> Result<Vec<Done>, Failure> {
        let connection = self.connection().await.map_err(Failure::NotBegun)?;
        if let Err(error) = sqlx::raw_sql("BEGIN IMMEDIATE").execute(connection).await {
            if error.as_database_error().is_none() {
                self.connection = None;
            }
            return Err(Failure::NotBegun(error));
        }
        let now = unix_millis(&self.clock);
        let connection = self.connection().await.map_err(Failure::NotBegun)?;
        let made = async {
            let mut done = Vec::with_capacity(jobs.len());
            for job in jobs {
                done.push(job.change.run(connection, now).await?);
            }
            if sweep {
                let sweep = sqlx::query(SWEEP_EXPIRED).bind(now).bind(SWEEP);
                sweep.execute(&mut *connection).await?;
            }
            sqlx::Result::Ok(done)
        };
        let failure = match made.await {
            Ok(done) => match sqlx::raw_sql("COMMIT").execute(&mut *connection).await {
                Ok(_) => return Ok(done),
                Err(error) if error::may_have_happened(&error) => Failure::Unknown(error),
                Err(error) => Failure::TakenBack(error),
            },
            Err(error) => Failure::TakenBack(error),
        };
        // What cannot be rolled back, because SQLite did so already or does not answer, ends with
        // its connection: without a commit, it has not happened.
        if sqlx::raw_sql("ROLLBACK").execute(connection).await.is_err() {
            self.connection = None;
        }
        Err(failure)
    }

    async fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(self.connection.insert(connection))
    }
}
