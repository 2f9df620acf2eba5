//! What the countdowns do at present, for tests that look from behind.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts the countdowns of one server; clones count together.
///
/// A test sees with it that a canceled call, or a client that went away, really ends the work.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    running: AtomicU64,
    finished: AtomicU64,
    canceled: AtomicU64,
}

impl Activity {
    /// Countdowns that are under way.
    pub fn running(&self) -> u64 {
        self.counts.running.load(Ordering::SeqCst)
    }

    /// Countdowns that reached their end.
    pub fn finished(&self) -> u64 {
        self.counts.finished.load(Ordering::SeqCst)
    }

    /// Countdowns that ended early: canceled, or dropped with their connection or session.
    pub fn canceled(&self) -> u64 {
        self.counts.canceled.load(Ordering::SeqCst)
    }

    pub(crate) fn begin(&self) -> Running {
        self.counts.running.fetch_add(1, Ordering::SeqCst);
        Running { activity: self.clone(), finished: false }
    }
}

/// One countdown; whichever way it ends is counted.
pub(crate) struct Running {
    activity: Activity,
    finished: bool,
}

impl Running {
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let counts = &self.activity.counts;
        let ended = if self.finished { &counts.finished } else { &counts.canceled };
        ended.fetch_add(1, Ordering::SeqCst);
        counts.running.fetch_sub(1, Ordering::SeqCst);
    }
}
