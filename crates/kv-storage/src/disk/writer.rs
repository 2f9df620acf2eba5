//! The thread that writes: what waits together becomes one transaction.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use redb::{Database, WriteTransaction};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time,
};

use super::{
    PATIENCE,
    change::{Change, Done, Refusal, Tables},
    engine::{ABOUT, BATCH, ENTRIES, EXPIRING, Engine},
    error,
};
use crate::{Clock, Error, ErrorKind, Result, clock::unix_millis};

/// How many writes wait at most, and so how many go into one transaction; the next ones wait for
/// their turn to wait. At the largest values that is a gigabyte, at usual ones a few megabytes.
const MAX_WAITING: usize = 512;

/// How many expired records one transaction deletes beside those that it may itself have added.
const SWEEP: usize = 256;

/// Files below this are not worth the wait of making them smaller.
const COMPACT_FROM_BYTES: u64 = 8 * 1024 * 1024;

/// One write and where its answer goes.
struct Job {
    key: Vec<u8>,
    change: Change,
    answer: oneshot::Sender<Result<Done>>,
    turn: OwnedSemaphorePermit,
}

/// The way to the thread.
pub(super) struct Writer {
    // None once it is closed.
    jobs: Mutex<Option<Sender<Job>>>,
    turns: Arc<Semaphore>,
    /// Its other end goes with the thread.
    ended: watch::Receiver<()>,
}

impl Writer {
    pub(super) fn start(engine: Arc<Engine>, clock: Clock, idle: Duration) -> Result<Self> {
        let (jobs, waiting) = channel();
        let worker = Worker { freed: engine.file_length(), engine, clock, idle, healthy: true };
        let (end, ended) = watch::channel(());
        thread::Builder::new()
            .name("kv-storage-disk".to_owned())
            .spawn(move || {
                // Goes last, even if the worker panics.
                let _end = end;
                let mut worker = worker;
                worker.run(&waiting);
            })
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "start the writing thread").with_source(error)
            })?;
        Ok(Self {
            jobs: Mutex::new(Some(jobs)),
            turns: Arc::new(Semaphore::new(MAX_WAITING)),
            ended,
        })
    }

    /// Hands the change over and waits for its answer. Once handed over it is made once, whether
    /// or not anybody still waits.
    pub(super) async fn write(&self, key: Vec<u8>, change: Change) -> Result<Done> {
        let turn = time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(turn) = turn else {
            let message = "write to the disk: too many writes are waiting";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let turn = turn.map_err(|_| error::closed())?;
        let (answer, answered) = oneshot::channel();
        let job = Job { key, change, answer, turn };
        let sent = match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(jobs) => jobs.send(job).is_ok(),
            None => false,
        };
        if !sent {
            return Err(error::closed());
        }
        match time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(error::unknown()),
            Err(late) => {
                let message = "write to the disk: it does not answer";
                Err(Error::new(ErrorKind::OutcomeUnknown, message).with_source(late))
            }
        }
    }

    /// How many writes were handed over and not answered yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        MAX_WAITING - self.turns.available_permits()
    }

    /// Lets the thread finish what waits, and end.
    pub(super) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nothing is ever sent: it fails once the thread has ended.
        let _ = self.ended.clone().changed().await;
    }
}

struct Worker {
    engine: Arc<Engine>,
    clock: Clock,
    /// How long nothing is written before the thread looks around.
    idle: Duration,
    /// How many bytes were removed or replaced since the file was last looked at.
    freed: u64,
    healthy: bool,
}

/// What kept a batch from being written.
enum Failure {
    /// Nothing was.
    Before(redb::Error),
    /// Only opening the database anew tells, by this name of the batch.
    Within { batch: [u8; 16], error: redb::Error },
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

impl Worker {
    fn run(&mut self, waiting: &Receiver<Job>) {
        loop {
            match waiting.recv_timeout(self.idle) {
                Ok(first) => {
                    let mut jobs = vec![first];
                    jobs.extend(waiting.try_iter().take(MAX_WAITING));
                    self.serve(jobs);
                }
                Err(RecvTimeoutError::Timeout) => self.withstand(Self::tidy),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.withstand(Self::give_space_back);
        }
    }

    /// Does what nobody waits for. The engine may panic on a damaged file, which must not end the
    /// thread: whoever writes next hears what is wrong.
    fn withstand(&mut self, work: fn(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.healthy = false;
        }
    }

    /// Makes the changes and answers.
    fn serve(&mut self, jobs: Vec<Job>) {
        if !self.healthy
            && let Err(error) = self.recover()
        {
            return jobs.into_iter().for_each(|job| drop(job.answer.send(Err(error.again()))));
        }
        let (answers, changes): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.answer, job.turn), (job.key, job.change))).unzip();
        let limit = SWEEP + changes.len();
        let made = self.transact(changes, limit);
        let outcomes = match made {
            Ok(outcomes) => outcomes,
            Err(error) => answers.iter().map(|_| Err(error.again())).collect(),
        };
        for ((answer, turn), outcome) in answers.into_iter().zip(outcomes) {
            drop(turn);
            // Whoever hung up does not want to know.
            let _ = answer.send(outcome);
        }
    }

    /// While nobody writes: what has expired goes, and a disk that failed is tried again.
    fn tidy(&mut self) {
        if !self.healthy && self.recover().is_err() {
            return;
        }
        loop {
            match self.engine.has_expired(unix_millis(&self.clock)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "expired records were not looked for");
                    self.healthy = false;
                    return;
                }
            }
            if let Err(error) = self.transact(Vec::new(), SWEEP) {
                tracing::debug!(%error, "expired records were not deleted");
                return;
            }
        }
    }

    /// Makes changes, and deletes up to `sweep` expired records, in one transaction; what became
    /// of each change.
    fn transact(
        &mut self,
        changes: Vec<(Vec<u8>, Change)>,
        sweep: usize,
    ) -> Result<Vec<Result<Done>>> {
        let now = unix_millis(&self.clock);
        // The library may panic on a damaged file; that must not end the thread.
        let worked = catch_unwind(AssertUnwindSafe(|| {
            self.engine.with(|database| transact(database, changes, sweep, now))
        }));
        match worked {
            Ok(Ok(Ok((outcomes, freed)))) => {
                self.freed = self.freed.saturating_add(freed);
                Ok(outcomes)
            }
            Ok(Ok(Err(Failure::Before(error)))) => {
                self.healthy = false;
                Err(error::not_written(error))
            }
            Ok(Ok(Err(Failure::Within { batch, error }))) => {
                self.healthy = false;
                // What is there was written, but perhaps not to the disk itself; what is not
                // there never will be.
                match self.recover().and_then(|()| self.engine.last_batch()) {
                    Ok(last) if last.as_deref() != Some(&batch) => Err(error::not_written(error)),
                    _ => Err(error::unknown().with_source(error)),
                }
            }
            Ok(Err(closed)) => {
                self.healthy = false;
                Err(closed)
            }
            Err(_) => {
                self.healthy = false;
                Err(error::unknown())
            }
        }
    }

    fn recover(&mut self) -> Result<()> {
        let reopened = catch_unwind(AssertUnwindSafe(|| self.engine.reopen()));
        match reopened.unwrap_or_else(|_| Err(error::corrupt("the database"))) {
            Ok(()) => {
                tracing::info!(directory = ?self.engine.directory(), "the disk works again");
                self.healthy = true;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, directory = ?self.engine.directory(), "the disk fails");
                Err(error)
            }
        }
    }

    /// Makes the file smaller if three quarters of it are empty. To find that out takes reading
    /// all of it, so it is asked only when about half of it was written anew.
    fn give_space_back(&mut self) {
        let length = self.engine.file_length();
        if !self.healthy || length < COMPACT_FROM_BYTES || self.freed < length / 2 {
            return;
        }
        self.freed = 0;
        let used = self.engine.with(|database| -> Result<u64, redb::Error> {
            let look = database.begin_write()?;
            let stats = look.stats()?;
            let page = u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
            look.abort()?;
            Ok(stats.allocated_pages().saturating_mul(page))
        });
        let Ok(Ok(used)) = used else {
            self.healthy = false;
            return;
        };
        if used > length / 4 {
            return;
        }
        match self.engine.compact() {
            Ok(()) => {
                let now = self.engine.file_length();
                tracing::debug!(from = length, to = now, "the database gave space back");
            }
            Err(error) => {
                tracing::warn!(%error, "the database could not give space back");
                self.healthy = false;
            }
        }
    }
}

type Made = (Vec<Result<Done>>, u64);

fn transact(
    database: &Database,
    changes: Vec<(Vec<u8>, Change)>,
    sweep: usize,
    now: i64,
) -> Result<Made, Failure> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(changes.len());
    let (changed, freed) = {
        let mut tables = Tables {
            entries: transaction.open_table(ENTRIES)?,
            expiring: transaction.open_table(EXPIRING)?,
            changed: false,
            freed: 0,
        };
        for (key, change) in changes {
            outcomes.push(match tables.apply(&key, change, now) {
                Ok(done) => Ok(done),
                Err(Refusal::Change(error)) => Err(error),
                Err(Refusal::Engine(error)) => return Err(Failure::Before(error)),
            });
        }
        tables.sweep(sweep, now)?;
        (tables.changed, tables.freed)
    };
    if changed {
        commit(transaction)?;
    } else {
        transaction.abort()?;
    }
    Ok((outcomes, freed))
}

/// Ends the transaction with a name of its own, on disk.
fn commit(transaction: WriteTransaction) -> Result<(), Failure> {
    let mut batch = [0; 16];
    if let Err(error) = getrandom::fill(&mut batch) {
        return Err(Failure::Before(std::io::Error::other(error).into()));
    }
    transaction.open_table(ABOUT)?.insert(BATCH, batch.as_slice())?;
    transaction.commit().map_err(|error| Failure::Within { batch, error: error.into() })
}
