//! The audit log: one JSON object a line, in a file or on standard output.
//!
//! A thread of its own writes, so that a slow disk holds up no login. An event that could not be
//! written is lost, counted and told: logins go on, because an attacker who can fill a disk must
//! not be able to log everybody out as well.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, anyhow};
use oidc_proxy::{AuditEvent, AuditSink};
use serde::Serialize;

use crate::{config::AuditLog, date};

/// Events that wait to be written, about a minute's worth on a very busy server; each is a few
/// hundred bytes.
const QUEUE: usize = 10_000;

/// Events that are in no audit log.
pub(crate) const LOST: &str = "oidc_proxy_audit_events_lost_total";

/// Takes events, and hands them to the thread that writes.
pub(crate) struct AuditFile {
    orders: SyncSender<Order>,
    health: Arc<Health>,
}

/// Whether the last event was written.
#[derive(Debug, Default)]
struct Health {
    failing: AtomicBool,
}

enum Order {
    Line(String),
    /// The file was moved away: begin a new one.
    Reopen,
    /// Nothing comes after this.
    End,
}

/// The thread that writes; joined at the end.
pub(crate) struct Writing {
    orders: SyncSender<Order>,
    thread: JoinHandle<()>,
}

/// Opens what the setting names; `None` if it is off.
///
/// # Errors
///
/// The file cannot be opened: nothing of ours starts without the audit log that was asked for.
pub(crate) fn open(setting: &AuditLog) -> anyhow::Result<Option<(Arc<AuditFile>, Writing)>> {
    let target = match setting {
        AuditLog::Off => return Ok(None),
        AuditLog::Stdout => Target::Stdout,
        AuditLog::File(path) => Target::file(path.clone()).with_context(|| {
            format!("could not open the audit log {}; see --audit-log", path.display())
        })?,
    };
    let (orders, received) = sync_channel(QUEUE);
    let health = Arc::new(Health::default());
    let writer = Writer { target, torn: false, health: Arc::clone(&health) };
    let thread = thread::Builder::new()
        .name("audit-log".to_owned())
        .spawn(move || writer.run(&received))
        .context("could not start the thread of the audit log")?;
    let file = AuditFile { orders: orders.clone(), health };
    Ok(Some((Arc::new(file), Writing { orders, thread })))
}

impl AuditFile {
    /// Whether events are lost at the moment.
    pub(crate) fn is_failing(&self) -> bool {
        self.health.failing.load(Ordering::Relaxed)
    }

    /// Begins the file anew, after somebody moved it away.
    pub(crate) fn reopen(&self) {
        // A full queue is being written to the old file; the next signal finds it empty again.
        if self.orders.try_send(Order::Reopen).is_err() {
            tracing::warn!("the audit log was too busy to be reopened; send the signal again");
        }
    }
}

/// An event with the time at which it came.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a AuditEvent,
}

impl AuditSink for AuditFile {
    fn record(&self, event: &AuditEvent) {
        let line = Line { time: date::precise(date::now()), event };
        let Ok(mut line) = serde_json::to_string(&line) else {
            return self.health.lost("it could not be written as JSON");
        };
        line.push('\n');
        match self.orders.try_send(Order::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.health.lost("the disk does not keep up"),
            Err(TrySendError::Disconnected(_)) => self.health.lost("its thread is gone"),
        }
    }
}

impl Health {
    /// Every event counts; the log hears of the first.
    fn lost(&self, why: &str) {
        metrics::counter!(LOST).increment(1);
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(why, "audit events are being lost; they stand in this log only");
        }
    }

    fn written(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::warn!("audit events are written again");
        }
    }
}

impl Writing {
    /// Writes what is waiting and ends.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        // The thread is gone if this cannot be sent, and joining says why.
        let _ = self.orders.send(Order::End);
        self.thread.join().map_err(|_| anyhow!("the thread of the audit log broke down"))
    }
}

enum Target {
    Stdout,
    File { file: File, path: PathBuf },
}

impl Target {
    fn file(path: PathBuf) -> io::Result<Self> {
        Ok(Self::File { file: append(&path)?, path })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            // One write for one line: lines of two processes do not mix.
            Self::File { file, .. } => file.write_all(bytes),
        }
    }
}

/// Readable by its owner only, if it is new.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

struct Writer {
    target: Target,
    /// A line may have been written half: the next one begins on a line of its own.
    torn: bool,
    health: Arc<Health>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Line(line) => self.write(line),
                Order::Reopen => self.reopen(),
                Order::End => return,
            }
        }
    }

    fn write(&mut self, mut line: String) {
        if self.torn {
            line.insert(0, '\n');
        }
        match self.target.write(line.as_bytes()) {
            Ok(()) => {
                self.torn = false;
                self.health.written();
            }
            Err(error) => {
                self.torn = true;
                self.health.lost(&error.to_string());
            }
        }
    }

    fn reopen(&mut self) {
        let Target::File { path, .. } = &self.target else { return };
        match Target::file(path.clone()) {
            Ok(target) => {
                self.target = target;
                self.torn = false;
                tracing::info!("the audit log was reopened");
            }
            // The old file is still there, under whatever name.
            Err(error) => tracing::error!(%error, "the audit log could not be reopened"),
        }
    }
}

impl fmt::Debug for AuditFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditFile").field("health", &self.health).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
