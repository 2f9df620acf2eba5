//! Not asking too often what did not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::Address;
use crate::{Error, ErrorKind, Result};

/// After a first failure: long enough not to spin, short enough for a restart to be noticed.
const FIRST: Duration = Duration::from_millis(50);

/// After many: what comes back is used a second later at most.
const LONGEST: Duration = Duration::from_secs(1);

/// Remembers failures, and for how long nothing is to be tried again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<(Instant, ErrorKind, String)>,
}

impl Backoff {
    /// # Errors
    ///
    /// What it failed with the last time, while nothing is to be tried.
    pub(super) fn check(&self) -> Result<()> {
        match &self.last {
            Some((until, kind, message)) if Instant::now() < *until => {
                Err(Error::new(*kind, format!("{message}; it is tried again soon")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&mut self, error: &Error) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.last = Some((Instant::now() + pause, error.kind(), error.to_string()));
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// Several servers that know the same: one that answered is asked first the next time.
#[derive(Debug, Default)]
pub(super) struct Informants {
    pub(super) backoff: Backoff,
    answered: Option<Address>,
}

impl Informants {
    /// In which order to ask them.
    pub(super) fn order<'a>(&self, mut addresses: Vec<&'a Address>) -> Vec<&'a Address> {
        addresses.sort_by_key(|address| Some(*address) != self.answered.as_ref());
        addresses
    }

    pub(super) fn answered(&mut self, address: &Address) {
        self.backoff.succeeded();
        self.answered = Some(address.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_bounded() {
        let mut backoff = Backoff::default();
        let error = Error::new(ErrorKind::Misconfigured, "log in");
        for pause in [50, 100, 200, 400, 800, 1000, 1000] {
            assert!(backoff.check().is_ok());
            backoff.failed(&error);
            tokio::time::advance(Duration::from_millis(pause - 1)).await;
            let refused = backoff.check().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Misconfigured);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        backoff.succeeded();
        backoff.failed(&error);
        tokio::time::advance(FIRST).await;
        assert!(backoff.check().is_ok());
    }
}
