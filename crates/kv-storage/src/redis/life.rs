//! Whether the store is still in use.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::{Error, ErrorKind, Result};

/// Lasts until the store is closed and every connection is gone.
pub(super) struct Life {
    closed: AtomicBool,
    /// What each connection is given a clone of.
    sign: Mutex<Option<Sign>>,
    gone: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// Held by whatever keeps a connection open.
pub(super) type Sign = mpsc::Sender<Infallible>;

impl Life {
    pub(super) fn new() -> Self {
        let (sign, gone) = mpsc::channel(1);
        Self { closed: AtomicBool::new(false), sign: Mutex::new(Some(sign)), gone: gone.into() }
    }

    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] once the store is closed.
    pub(super) fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// What a new connection is to hold.
    ///
    /// # Errors
    ///
    /// As for [`check`](Self::check).
    pub(super) fn sign(&self) -> Result<Sign> {
        self.sign.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Lets nobody connect from here on.
    pub(super) fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.sign.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until every connection is gone, with those who use it.
    pub(super) async fn ended(&self) {
        // Nothing is ever sent: this ends with the last sender.
        let _ = self.gone.lock().await.recv().await;
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("closed", &self.closed).finish_non_exhaustive()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the redis store was closed")
}
