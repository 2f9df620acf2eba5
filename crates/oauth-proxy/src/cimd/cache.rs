//! What was fetched, as long as it is good, and for a while after.

use std::{
    fmt,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use moka::{future, ops::compute::Op};

use super::fetch::Trouble;
use crate::clock::UnixClock;

/// How many documents are kept; each has a few kilobytes, and nobody has more apps. As many again
/// are kept of clients in use.
const MAX_COPIES: u64 = 1000;

/// How many of either one host may have, so that none has them all; beyond it the oldest goes.
const MAX_OF_HOST: usize = 250;

/// How many failures are kept besides, each a few words.
const MAX_FAILURES: u64 = 10_000;

/// How long nobody asks again after a failure. Failures are not believed for longer (draft §5.2):
/// it only keeps one URL from being asked for without a pause.
const PAUSE: Duration = Duration::from_secs(10);

/// For how many seconds after it was last good a document is one that was good lately: longer than
/// any copy serves, and than an app rests over a weekend.
const LATELY: u64 = 7 * 24 * 60 * 60;

/// A cache that fetches: once, however many ask at the same time.
///
/// Copies and failures are kept apart, so that a flood of URLs without a document pushes no
/// document out; and so are copies that anybody can have fetched and those of clients in use, so
/// that neither does a flood of documents.
pub(super) struct Cache<T> {
    copies: future::Cache<String, Copy<T>>,
    /// Of clients in use, if there is one yet.
    in_use: future::Cache<String, Option<Copy<T>>>,
    failures: future::Cache<String, Failure>,
}

/// What is good enough.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// A copy that is fresh, or, if there is no newer one, one that serves on.
    Good(Stale),
    /// One that was fetched after this time (Unix seconds): the copy was of no use to whoever asks.
    /// It serves others on, whatever comes of this.
    Newer {
        /// Unix seconds.
        than: u64,
    },
}

/// What is known of something that is about to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, or nothing good.
    Unknown,
    /// It was good lately, and when it was last asked for.
    Known,
    /// Somebody logged in with the client.
    InUse,
}

/// For how many seconds a copy serves on that is no longer fresh.
#[derive(Clone, Copy)]
pub(super) struct Stale {
    /// If its host was asked and brings nothing that can be used.
    pub(super) failing: u64,
    /// If its host was not asked, because too much was.
    pub(super) unasked: u64,
}

/// The host says that what was asked for is not there.
#[derive(Debug)]
pub(crate) struct Withdrawn;

struct Copy<T> {
    value: Arc<T>,
    /// Unix seconds.
    fetched_at: u64,
    /// Unix seconds.
    fresh_until: u64,
    /// The host took it back since: only for what it says of the past.
    withdrawn: bool,
    /// It was asked for since, in vain.
    failing: bool,
}

impl<T> Copy<T> {
    fn is_of_late(&self, now: u64) -> bool {
        now < self.fetched_at.saturating_add(LATELY)
    }
}

impl<T> Clone for Copy<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), ..*self }
    }
}

#[derive(Clone)]
struct Failure {
    trouble: Trouble,
    /// Unix seconds.
    until: u64,
}

/// What everybody who waits for one fetch is told, and what is not kept: copies have their own
/// place, and whose budget was spent is another one's matter.
enum Outcome<T> {
    Fetched(Copy<T>),
    OutOfBudget(Trouble),
}

impl Want {
    fn is_met<T>(self, copy: &Copy<T>, now: u64) -> bool {
        match self {
            Self::Good(_) => now < copy.fresh_until,
            Self::Newer { than } => copy.fetched_at > than,
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
        Self {
            copies: future::Cache::new(MAX_COPIES),
            in_use: future::Cache::new(MAX_COPIES),
            failures: future::Cache::new(MAX_FAILURES),
        }
    }

    /// Somebody logged in with the client at `key`: strangers do not push its copy out from now on.
    pub(super) async fn note_use(&self, key: &str) {
        if self.in_use.get(key).await.is_none() {
            let copy = self.copies.remove(key).await;
            make_room(&self.in_use, key, |copy| copy.as_ref().map(|copy| copy.fetched_at)).await;
            self.in_use.insert(key.to_owned(), copy).await;
        }
    }

    /// Whether what stands at `key` was good lately, or is in use.
    pub(super) async fn is_known(&self, key: &str, now: u64) -> bool {
        self.in_use.contains_key(key)
            || self.copies.get(key).await.is_some_and(|copy| copy.is_of_late(now))
    }

    async fn standing(&self, key: &str, now: u64) -> Standing {
        if self.in_use.contains_key(key) {
            return Standing::InUse;
        }
        match self.copies.get(key).await {
            Some(copy) if !copy.failing && copy.is_of_late(now) => Standing::Known,
            _ => Standing::Unknown,
        }
    }

    /// The newest copy, if there is one, without a fetch.
    pub(super) async fn known(&self, key: &str) -> Result<Option<Arc<T>>, Withdrawn> {
        let failure = self.failures.get(key).await;
        if matches!(failure, Some(Failure { trouble: Trouble::Withdrawn(_), .. })) {
            return Err(Withdrawn);
        }
        match self.copy(key).await {
            Some(copy) if copy.withdrawn => Err(Withdrawn),
            copy => Ok(copy.map(|copy| copy.value)),
        }
    }

    /// When the copy was fetched, in Unix seconds, if there is one that is as old as that: whether
    /// it is worth while to [want](Want::Newer) a newer one.
    pub(super) async fn aged(&self, key: &str, age: Duration, now: u64) -> Option<u64> {
        let copy = self.copy(key).await?;
        (now >= copy.fetched_at.saturating_add(age.as_secs())).then_some(copy.fetched_at)
    }

    /// What stands at `key`: the copy if that is good enough, else what `fetch` brings, with how
    /// many seconds that is fresh. While it brings nothing, the copy serves on for a while, unless
    /// its host says that it is no longer good.
    pub(super) async fn get<F>(
        &self,
        key: &str,
        want: Want,
        clock: &UnixClock,
        fetch: impl Fn(Standing) -> F,
    ) -> (Result<Arc<T>, Trouble>, Source)
    where
        F: Future<Output = Result<(T, u64), Trouble>>,
    {
        let now = clock.now();
        let copy = self.copy(key).await.filter(|copy| !copy.withdrawn);
        if let Some(copy) = &copy
            && want.is_met(copy, now)
        {
            return (Ok(Arc::clone(&copy.value)), Source::Kept);
        }
        let standing = self.standing(key, now).await;
        let trouble = loop {
            self.end_pause(key, now).await;
            let own = AtomicBool::new(false);
            let flight = async {
                // Another one may have landed just before this one began.
                if let Some(copy) = self.copy(key).await
                    && !copy.withdrawn
                    && want.is_met(&copy, now)
                {
                    return Err(Outcome::Fetched(copy));
                }
                own.store(true, Ordering::Relaxed);
                self.store(key, fetch(standing).await, clock.now()).await
            };
            let outcome = match self.failures.entry_by_ref(key).or_try_insert_with(flight).await {
                Ok(failure) => break failure.into_value().trouble,
                Err(outcome) => outcome,
            };
            let own = own.load(Ordering::Relaxed);
            match &*outcome {
                Outcome::Fetched(copy) => {
                    let source = if own { Source::Fetched } else { Source::Kept };
                    return (Ok(Arc::clone(&copy.value)), source);
                }
                Outcome::OutOfBudget(trouble) if own => break trouble.clone(),
                Outcome::OutOfBudget(_) => {}
            }
        };
        let stale_for = match (want, &trouble) {
            (Want::Newer { .. }, _) | (_, Trouble::Withdrawn(_)) => None,
            (Want::Good(stale), Trouble::OutOfBudget { .. }) => Some(stale.unasked),
            (Want::Good(stale), Trouble::Unusable(_) | Trouble::Unavailable { .. }) => {
                Some(stale.failing)
            }
        };
        match (copy, stale_for, &trouble) {
            (Some(copy), Some(stale_for), _)
                if now < copy.fresh_until.saturating_add(stale_for) =>
            {
                (Ok(copy.value), Source::Stale)
            }
            (_, _, Trouble::OutOfBudget { .. }) => (Err(trouble), Source::OutOfBudget),
            _ => (Err(trouble), Source::Missing),
        }
    }

    /// Forgets a failure whose pause is over.
    async fn end_pause(&self, key: &str, now: u64) {
        let is_over = |failure: Failure| failure.until <= now;
        if self.failures.get(key).await.is_some_and(is_over) {
            let forget = self.failures.entry_by_ref(key).and_compute_with(|entry| {
                let over = entry.is_some_and(|entry| is_over(entry.into_value()));
                ready(if over { Op::Remove } else { Op::Nop })
            });
            forget.await;
        }
    }

    async fn copy(&self, key: &str) -> Option<Copy<T>> {
        match self.in_use.get(key).await.flatten() {
            Some(copy) => Some(copy),
            None => self.copies.get(key).await,
        }
    }

    async fn keep(&self, key: &str, copy: Copy<T>) {
        if self.in_use.contains_key(key) {
            self.in_use.insert(key.to_owned(), Some(copy)).await;
        } else {
            make_room(&self.copies, key, |copy| copy.fetched_at).await;
            self.copies.insert(key.to_owned(), copy).await;
        }
    }

    async fn store(
        &self,
        key: &str,
        fetched: Result<(T, u64), Trouble>,
        now: u64,
    ) -> Result<Failure, Outcome<T>> {
        let trouble = match fetched {
            Ok((value, fresh_for)) => {
                let copy = Copy {
                    value: Arc::new(value),
                    fetched_at: now,
                    fresh_until: now + fresh_for,
                    withdrawn: false,
                    failing: false,
                };
                self.keep(key, copy.clone()).await;
                return Err(Outcome::Fetched(copy));
            }
            Err(trouble) => trouble,
        };
        let pause = match &trouble {
            Trouble::OutOfBudget { .. } => return Err(Outcome::OutOfBudget(trouble)),
            Trouble::Withdrawn(_) | Trouble::Unusable(_) => PAUSE,
            Trouble::Unavailable { retry_after, .. } => *retry_after,
        };
        if let Some(copy) = self.copy(key).await {
            let withdrawn = copy.withdrawn || matches!(trouble, Trouble::Withdrawn(_));
            self.keep(key, Copy { withdrawn, failing: true, ..copy }).await;
        }
        Ok(Failure { trouble, until: now + pause.as_secs() })
    }
}

/// Lets go of the oldest that the host of this URL has, if it has as many as it may.
///
/// It looks at all that is there, a thousand at most, and is followed or preceded by a fetch.
async fn make_room<V, A>(kept: &future::Cache<String, V>, key: &str, age: impl Fn(&V) -> A)
where
    V: Clone + Send + Sync + 'static,
    A: Ord,
{
    if kept.contains_key(key) {
        return;
    }
    let of_host = kept.iter().filter(|(other, _)| host_of(other) == host_of(key));
    let mut of_host: Vec<_> = of_host.map(|(other, value)| (age(&value), other)).collect();
    of_host.sort_unstable();
    let surplus = (of_host.len() + 1).saturating_sub(MAX_OF_HOST);
    for (_, oldest) in of_host.into_iter().take(surplus) {
        kept.invalidate(&*oldest).await;
    }
}

/// The host of a URL in normal form, with its port: what stands after `https:` and nothing.
fn host_of(url: &str) -> Option<&str> {
    url.split('/').nth(2)
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
