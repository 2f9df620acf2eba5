//! What was fetched, as long as it is good, and for a while after.

use std::{fmt, sync::Arc, time::Duration};

use moka::future;

use super::fetch::Trouble;
use crate::clock::UnixClock;

/// How many documents are kept; each has a few kilobytes, and nobody has more apps.
const MAX_COPIES: u64 = 1000;

/// How many outcomes of fetches are kept besides, failures above all.
const MAX_OUTCOMES: u64 = 10_000;

/// How long nobody asks again after a failure. Failures are not believed for longer (draft §5.2):
/// it only keeps one URL from being asked for without a pause.
const PAUSE: Duration = Duration::from_secs(10);

/// A cache that fetches: once, however many ask at the same time.
///
/// Copies and outcomes are kept apart, so that a flood of URLs without a document pushes no
/// document out.
pub(super) struct Cache<T> {
    copies: future::Cache<String, Copy<T>>,
    outcomes: future::Cache<String, Outcome<T>>,
}

struct Copy<T> {
    value: Arc<T>,
    /// Unix seconds.
    fetched_at: u64,
    /// Unix seconds.
    fresh_until: u64,
}

impl<T> Clone for Copy<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ..*self }
    }
}

enum Outcome<T> {
    Fetched(Copy<T>),
    Failed { trouble: Trouble, until: u64 },
}

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Fetched(copy) => Self::Fetched(copy.clone()),
            Self::Failed { trouble, until } => {
                Self::Failed { trouble: trouble.clone(), until: *until }
            }
        }
    }
}

impl<T> Outcome<T> {
    fn is_over(&self, now: u64) -> bool {
        match self {
            // Whose budget was spent is another one's matter.
            Self::Failed { trouble: Trouble::OutOfBudget { .. }, .. } => true,
            Self::Fetched(Copy { fresh_until: until, .. }) | Self::Failed { until, .. } => {
                *until <= now
            }
        }
    }
}

/// Where something came from, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It was fetched just now.
    Fetched,
    /// It is known and fresh.
    Kept,
    /// It is known, and no newer one could be had.
    Stale,
    /// It could not be had.
    Missing,
    /// It was not asked for: too much was.
    OutOfBudget,
}

impl Source {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Kept => "kept",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::OutOfBudget => "out_of_budget",
        }
    }
}

impl<T: Send + Sync + 'static> Cache<T> {
    pub(super) fn new() -> Self {
        Self { copies: future::Cache::new(MAX_COPIES), outcomes: future::Cache::new(MAX_OUTCOMES) }
    }

    /// The newest copy, without a fetch.
    pub(super) async fn known(&self, key: &str) -> Option<Arc<T>> {
        Some(self.copies.get(key).await?.value)
    }

    /// Has what stands at `key` fetched again at the next [`get`](Self::get), if the copy is as old
    /// as that; whether it is.
    pub(super) async fn expire(&self, key: &str, age: Duration, now: u64) -> bool {
        let Some(mut copy) = self.copies.get(key).await else { return false };
        if now < copy.fetched_at.saturating_add(age.as_secs()) {
            return false;
        }
        copy.fresh_until = copy.fresh_until.min(now);
        self.copies.insert(key.to_owned(), copy).await;
        self.outcomes.invalidate(key).await;
        true
    }

    /// What stands at `key`: the copy as long as it is fresh, else what `fetch` brings, with how
    /// many seconds that is fresh. While it brings nothing, the copy serves on for `stale_for`
    /// seconds more, unless its host says that it is no longer good.
    pub(super) async fn get<F>(
        &self,
        key: &str,
        stale_for: u64,
        clock: &UnixClock,
        fetch: impl Fn() -> F,
    ) -> (Result<Arc<T>, Trouble>, Source)
    where
        F: Future<Output = Result<(T, u64), Trouble>>,
    {
        let now = clock.now();
        let copy = self.copies.get(key).await;
        if let Some(copy) = &copy
            && now < copy.fresh_until
        {
            return (Ok(Arc::clone(&copy.value)), Source::Kept);
        }
        let (outcome, own) = loop {
            let init = async { self.store(key, fetch().await, clock.now()).await };
            let entry = self
                .outcomes
                .entry_by_ref(key)
                .or_insert_with_if(init, |outcome| outcome.is_over(now))
                .await;
            let own = entry.is_fresh();
            match entry.into_value() {
                Outcome::Failed { trouble: Trouble::OutOfBudget { .. }, .. } if !own => {}
                outcome => break (outcome, own),
            }
        };
        match (outcome, copy) {
            (Outcome::Fetched(copy), _) => {
                (Ok(copy.value), if own { Source::Fetched } else { Source::Kept })
            }
            (Outcome::Failed { trouble, .. }, Some(copy))
                if !matches!(trouble, Trouble::Withdrawn(_))
                    && now < copy.fresh_until.saturating_add(stale_for) =>
            {
                (Ok(copy.value), Source::Stale)
            }
            (Outcome::Failed { trouble: trouble @ Trouble::OutOfBudget { .. }, .. }, _) => {
                (Err(trouble), Source::OutOfBudget)
            }
            (Outcome::Failed { trouble, .. }, _) => (Err(trouble), Source::Missing),
        }
    }

    async fn store(&self, key: &str, fetched: Result<(T, u64), Trouble>, now: u64) -> Outcome<T> {
        match fetched {
            Ok((value, fresh_for)) => {
                let value = Arc::new(value);
                let copy = Copy { value, fetched_at: now, fresh_until: now + fresh_for };
                self.copies.insert(key.to_owned(), copy.clone()).await;
                Outcome::Fetched(copy)
            }
            Err(trouble) => {
                let pause = match &trouble {
                    Trouble::Withdrawn(_) => {
                        self.copies.invalidate(key).await;
                        PAUSE
                    }
                    Trouble::Unusable(_) => PAUSE,
                    Trouble::Unavailable { retry_after, .. } => *retry_after,
                    Trouble::OutOfBudget { .. } => Duration::ZERO,
                };
                Outcome::Failed { trouble, until: now + pause.as_secs() }
            }
        }
    }
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}
