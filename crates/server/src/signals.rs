//! The ways in which a person, a terminal or a supervisor says stop.

use std::sync::Arc;

use crate::audit::AuditFile;

/// Ctrl-C and, on Unix, SIGTERM and SIGHUP (a terminal that was closed). From its making on, none
/// of them kills the process.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    /// `None` under `nohup`, which wants the process to live on.
    #[cfg(unix)]
    hang_up: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Starts listening.
    pub(crate) fn new() -> anyhow::Result<Self> {
        use anyhow::Context;
        use tokio::signal::unix::{SignalKind, signal};

        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: if hang_up_is_ignored() { None } else { Some(listen(SignalKind::hangup())?) },
        })
    }

    /// From here on SIGHUP begins the audit log anew instead of stopping the process.
    pub(crate) fn reopen_on_hang_up(&mut self, audit: Arc<AuditFile>) {
        use tokio::signal::unix::{SignalKind, signal};

        // Under `nohup` too: it is not about the terminal any more.
        let hang_up = self.hang_up.take().or_else(|| signal(SignalKind::hangup()).ok());
        let Some(mut hang_up) = hang_up else { return };
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                audit.reopen();
            }
        });
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = hung_up(self.hang_up.as_mut()) => {}
        }
    }
}

#[cfg(unix)]
async fn hung_up(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored; only Linux says so in a file.
#[cfg(unix)]
fn hang_up_is_ignored() -> bool {
    /// SIGHUP is signal 1, the lowest bit of the mask.
    const SIGHUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SIGHUP != 0)
}

#[cfg(not(unix))]
impl Signals {
    /// Starts listening.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {})
    }

    /// There is no SIGHUP here.
    pub(crate) fn reopen_on_hang_up(&mut self, _audit: Arc<AuditFile>) {}

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
