//! Not asking too often what did not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::settings::Address;
use crate::{Error, ErrorKind, Result};

/// After a first failure: long enough not to spin, short enough for a restart to be noticed.
const FIRST: Duration = Duration::from_millis(50);

/// After many: what comes back is used a second later at most.
const LONGEST: Duration = Duration::from_secs(1);

/// Remembers attempts, and for how long nothing is to be tried again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// One soon after the other.
    attempts: u32,
    until: Option<Instant>,
    failure: Option<(ErrorKind, String)>,
}

impl Backoff {
    /// Whether something may be tried.
    pub(super) fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// # Errors
    ///
    /// What it failed with the last time, while nothing is to be tried.
    pub(super) fn check(&self) -> Result<()> {
        match &self.failure {
            Some((kind, message)) if !self.is_over() => {
                Err(Error::new(*kind, format!("{message}; it is tried again soon")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.pause();
        self.failure = Some((error.kind(), error.to_string()));
    }

    /// It worked, and is to be left at that.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It worked, and is asked for again and again all the same.
    fn answered(&mut self) {
        self.pause();
        self.failure = None;
    }

    fn pause(&mut self) {
        let now = Instant::now();
        if self.until.is_some_and(|until| now > until + LONGEST) {
            self.attempts = 0;
        }
        let pause = FIRST.saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        self.until = Some(now + pause);
    }
}

/// Several servers that know the same: one that answered is asked first the next time.
///
/// What they say may be what is doubted: whether they answered or not, there is a pause.
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
        self.backoff.answered();
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

    #[tokio::test(start_paused = true)]
    async fn answers_that_do_not_help_are_not_asked_for_at_once() {
        let mut informants = Informants::default();
        let address = Address { host: "localhost".into(), port: 1 };
        for pause in [50, 100, 200, 400, 800, 1000, 1000] {
            assert!(informants.backoff.is_over());
            informants.answered(&address);
            tokio::time::advance(Duration::from_millis(pause - 1)).await;
            assert!(!informants.backoff.is_over());
            assert!(informants.backoff.check().is_ok(), "nothing failed");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // Long after the last trouble, a new one begins.
        tokio::time::advance(LONGEST + Duration::from_millis(1)).await;
        informants.answered(&address);
        tokio::time::advance(FIRST).await;
        assert!(informants.backoff.is_over());
    }
}
