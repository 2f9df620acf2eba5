//! What was fetched, as long as it is good, and for a while after.

use std::{fmt, sync::Arc, time::Duration};

use moka::future;

use super::fetch::Trouble;
use crate::clock::UnixClock;

/// How many documents are kept; each has a few kilobytes, and nobody has more apps. As many again
/// are kept of clients in use.
const MAX_COPIES: u64 = 1000;

/// How many outcomes of fetches are kept besides, failures above all.
const MAX_OUTCOMES: u64 = 10_000;

/// How long nobody asks again after a failure. Failures are not believed for longer (draft §5.2):
/// it only keeps one URL from being asked for without a pause.
const PAUSE: Duration = Duration::from_secs(10);

/// For how many seconds after it was last good a document is one that was good lately: longer than
/// any copy serves, and than an app rests over a weekend.
const LATELY: u64 = 7 * 24 * 60 * 60;

/// A cache that fetches: once, however many ask at the same time.
///
/// Copies and outcomes are kept apart, so that a flood of URLs without a document pushes no
/// document out; and so are copies that anybody can have fetched and those of clients in use, so
/// that neither does a flood of documents.
pub(super) struct Cache<T> {
    copies: future::Cache<String, Copy<T>>,
    /// Of clients in use, if there is one yet.
    in_use: future::Cache<String, Option<Copy<T>>>,
    outcomes: future::Cache<String, Outcome<T>>,
}

/// For how many seconds a copy serves on that is no longer fresh.
#[derive(Clone, Copy)]
pub(super) struct Stale {
    /// If its host was asked and brings nothing that can be used.
    pub(super) failing: u64,
    /// If its host was not asked, because too much was.
    pub(super) unasked: u64,
}

impl Stale {
    /// Not at all.
    pub(super) const NEVER: Self = Self { failing: 0, unasked: 0 };
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
        Self {
            copies: future::Cache::new(MAX_COPIES),
            in_use: future::Cache::new(MAX_COPIES),
            outcomes: future::Cache::new(MAX_OUTCOMES),
        }
    }

    /// Somebody logged in with the client at `key`: strangers do not push its copy out from now on.
    pub(super) async fn note_use(&self, key: &str) {
        if self.in_use.get(key).await.is_none() {
            let copy = self.copies.remove(key).await;
            self.in_use.insert(key.to_owned(), copy).await;
        }
    }

    /// Whether what stands at `key` was good lately, or is in use.
    pub(super) async fn is_known(&self, key: &str, now: u64) -> bool {
        self.in_use.contains_key(key)
            || self
                .copies
                .get(key)
                .await
                .is_some_and(|copy| now < copy.fetched_at.saturating_add(LATELY))
    }

    /// The newest copy, if there is one, without a fetch.
    pub(super) async fn known(&self, key: &str) -> Result<Option<Arc<T>>, Withdrawn> {
        let outcome = self.outcomes.get(key).await;
        if matches!(outcome, Some(Outcome::Failed { trouble: Trouble::Withdrawn(_), .. })) {
            return Err(Withdrawn);
        }
        match self.copy(key).await {
            Some(copy) if copy.withdrawn => Err(Withdrawn),
            copy => Ok(copy.map(|copy| copy.value)),
        }
    }

    /// Has what stands at `key` fetched again at the next [`get`](Self::get), if the copy is as old
    /// as that; whether it is. The pause after a failure goes on.
    pub(super) async fn expire(&self, key: &str, age: Duration, now: u64) -> bool {
        let Some(mut copy) = self.copy(key).await else { return false };
        if now < copy.fetched_at.saturating_add(age.as_secs()) {
            return false;
        }
        copy.fresh_until = copy.fresh_until.min(now);
        self.keep(key, copy).await;
        let outcome = self.outcomes.get(key).await;
        let is_pause = |outcome: &Outcome<T>| {
            matches!(outcome, Outcome::Failed { .. }) && !outcome.is_over(now)
        };
        if !outcome.as_ref().is_some_and(is_pause) {
            self.outcomes.invalidate(key).await;
        }
        true
    }

    /// What stands at `key`: the copy as long as it is fresh, else what `fetch` brings, with how
    /// many seconds that is fresh. While it brings nothing, the copy serves on for a while, unless
    /// its host says that it is no longer good.
    ///
    /// `fetch` is told whether what it is to bring [was good lately](Self::is_known).
    pub(super) async fn get<F>(
        &self,
        key: &str,
        stale: Stale,
        clock: &UnixClock,
        fetch: impl Fn(bool) -> F,
    ) -> (Result<Arc<T>, Trouble>, Source)
    where
        F: Future<Output = Result<(T, u64), Trouble>>,
    {
        let now = clock.now();
        let copy = self.copy(key).await.filter(|copy| !copy.withdrawn);
        if let Some(copy) = &copy
            && now < copy.fresh_until
        {
            return (Ok(Arc::clone(&copy.value)), Source::Kept);
        }
        let is_known = self.is_known(key, now).await;
        let (outcome, own) = loop {
            let init = async { self.store(key, fetch(is_known).await, clock.now()).await };
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
        let trouble = match outcome {
            Outcome::Fetched(copy) => {
                return (Ok(copy.value), if own { Source::Fetched } else { Source::Kept });
            }
            Outcome::Failed { trouble, .. } => trouble,
        };
        let stale_for = match &trouble {
            Trouble::Withdrawn(_) => 0,
            Trouble::OutOfBudget { .. } => stale.unasked,
            Trouble::Unusable(_) | Trouble::Unavailable { .. } => stale.failing,
        };
        match (copy, &trouble) {
            (Some(copy), _) if now < copy.fresh_until.saturating_add(stale_for) => {
                (Ok(copy.value), Source::Stale)
            }
            (_, Trouble::OutOfBudget { .. }) => (Err(trouble), Source::OutOfBudget),
            _ => (Err(trouble), Source::Missing),
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
            self.copies.insert(key.to_owned(), copy).await;
        }
    }

    async fn store(&self, key: &str, fetched: Result<(T, u64), Trouble>, now: u64) -> Outcome<T> {
        match fetched {
            Ok((value, fresh_for)) => {
                let copy = Copy {
                    value: Arc::new(value),
                    fetched_at: now,
                    fresh_until: now + fresh_for,
                    withdrawn: false,
                };
                self.keep(key, copy.clone()).await;
                Outcome::Fetched(copy)
            }
            Err(trouble) => {
                let pause = match &trouble {
                    Trouble::Withdrawn(_) => {
                        if let Some(copy) = self.copy(key).await {
                            self.keep(key, Copy { withdrawn: true, ..copy }).await;
                        }
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
        time::UNIX_EPOCH,
    };

    use super::*;

    const HOUR: u64 = 60 * 60;
    const KEY: &str = "https://app.example/client";
    const STALE: Stale = Stale { failing: 24 * HOUR, unasked: 24 * HOUR };

    /// A cache of numbers, and what its hosts say.
    struct World {
        cache: Cache<u32>,
        time: Arc<AtomicU64>,
        says: Mutex<Result<u32, Trouble>>,
        /// Of each fetch, whether what it was to bring was good lately.
        fetches: Mutex<Vec<bool>>,
    }

    impl World {
        fn new() -> Self {
            Self {
                cache: Cache::new(),
                time: Arc::new(AtomicU64::new(1_800_000_000)),
                says: Mutex::new(Ok(1)),
                fetches: Mutex::default(),
            }
        }

        fn now(&self) -> u64 {
            self.time.load(Ordering::SeqCst)
        }

        fn wait(&self, seconds: u64) {
            self.time.fetch_add(seconds, Ordering::SeqCst);
        }

        fn say(&self, what: Result<u32, Trouble>) {
            *self.says.lock().unwrap() = what;
        }

        async fn get(&self, key: &str, stale: Stale) -> (Result<u32, Trouble>, Source) {
            let time = Arc::clone(&self.time);
            let clock = UnixClock::new(Arc::new(move || {
                UNIX_EPOCH + Duration::from_secs(time.load(Ordering::SeqCst))
            }));
            let fetch = |was_good| {
                self.fetches.lock().unwrap().push(was_good);
                let said = self.says.lock().unwrap().clone();
                async move { said.map(|number| (number, HOUR)) }
            };
            let (found, source) = self.cache.get(key, stale, &clock, fetch).await;
            (found.map(|number| *number), source)
        }

        /// What was told to the fetches since the last call.
        fn fetches(&self) -> Vec<bool> {
            std::mem::take(&mut self.fetches.lock().unwrap())
        }
    }

    fn down() -> Result<u32, Trouble> {
        Err(Trouble::Unavailable { retry_after: Duration::from_mins(1), cause: String::new() })
    }

    fn gone() -> Result<u32, Trouble> {
        Err(Trouble::Withdrawn(String::new()))
    }

    #[tokio::test]
    async fn what_was_good_lately_is_known() {
        let world = World::new();
        for (what, wait, expected) in [
            ("a stranger's", 0, false),
            ("a copy that is stale", 2 * HOUR, true),
            ("withdrawn", HOUR, true),
            ("withdrawn some days ago", 6 * 24 * HOUR - 2 * HOUR, true),
            ("withdrawn a week ago", 24 * HOUR, false),
        ] {
            world.wait(wait);
            let _ = world.get(KEY, STALE).await;
            assert_eq!(world.fetches(), [expected], "{what}");
            world.say(gone());
        }
        world.cache.note_use(KEY).await;
        world.wait(HOUR);
        let _ = world.get(KEY, STALE).await;
        assert_eq!(world.fetches(), [true], "somebody logged in with it");
    }

    #[tokio::test]
    async fn a_flood_of_documents_pushes_out_no_client_in_use() {
        let world = World::new();
        for key in ["used", "known"] {
            let _ = world.get(key, STALE).await;
        }
        world.cache.note_use("used").await;
        world.say(Ok(2));
        for number in 0..3 * MAX_COPIES {
            for _ in 0..3 {
                let _ = world.get(&format!("https://{number}.evil.example/c"), STALE).await;
            }
        }
        world.cache.copies.run_pending_tasks().await;
        assert!(matches!(world.cache.known("used").await, Ok(Some(one)) if *one == 1));
        assert!(matches!(world.cache.known("known").await, Ok(None)), "the flood was one");
        let (used, source) = world.get("used", STALE).await;
        assert_eq!((used.unwrap(), source), (1, Source::Kept));
        world.wait(2 * HOUR);
        assert_eq!(world.get("used", STALE).await.0.unwrap(), 2, "and it is renewed in its place");
        assert_eq!(*world.cache.in_use.get("used").await.unwrap().unwrap().value, 2);
    }

    #[tokio::test]
    async fn the_pause_after_a_failure_outlives_an_expiry() {
        let world = World::new();
        let _ = world.get(KEY, STALE).await;
        assert!(!world.cache.expire(KEY, PAUSE, world.now()).await, "it is not old enough");
        world.wait(60);
        assert!(world.cache.expire(KEY, PAUSE, world.now()).await);
        world.say(down());
        for _ in 0..3 {
            assert_eq!(world.get(KEY, STALE).await.1, Source::Stale);
            assert!(world.get(KEY, Stale::NEVER).await.0.is_err());
            assert!(world.cache.expire(KEY, PAUSE, world.now()).await);
        }
        assert_eq!(world.fetches().len(), 2, "one good, one not");
        world.wait(60);
        world.say(Ok(2));
        assert_eq!(world.get(KEY, Stale::NEVER).await.0.unwrap(), 2);
        world.wait(60);
        world.say(Ok(3));
        assert!(world.cache.expire(KEY, PAUSE, world.now()).await);
        assert_eq!(world.get(KEY, STALE).await.0.unwrap(), 3, "a success pauses nothing");
    }

    #[tokio::test]
    async fn what_was_withdrawn_stays_so_whatever_becomes_of_its_host() {
        let world = World::new();
        assert!(matches!(world.cache.known(KEY).await, Ok(None)));
        let _ = world.get(KEY, STALE).await;
        assert!(matches!(world.cache.known(KEY).await, Ok(Some(_))));
        world.wait(2 * HOUR);
        world.say(gone());
        assert!(matches!(world.get(KEY, STALE).await, (Err(Trouble::Withdrawn(_)), _)));
        assert!(world.cache.known(KEY).await.is_err());
        world.wait(60);
        world.say(down());
        let after = world.get(KEY, STALE).await;
        assert!(matches!(after, (Err(Trouble::Unavailable { .. }), Source::Missing)), "{after:?}");
        assert!(world.cache.known(KEY).await.is_err(), "the host did not take that back");
        world.wait(60);
        world.say(gone());
        let _ = world.get("never seen", STALE).await;
        assert!(world.cache.known("never seen").await.is_err());
        world.say(Ok(2));
        assert_eq!(world.get(KEY, STALE).await.0.unwrap(), 2);
        assert!(matches!(world.cache.known(KEY).await, Ok(Some(_))));
    }

    #[tokio::test]
    async fn a_copy_serves_on_unasked_only_where_that_is_wanted() {
        let world = World::new();
        let _ = world.get(KEY, STALE).await;
        world.wait(2 * HOUR);
        world.say(Err(Trouble::OutOfBudget { retry_after: PAUSE }));
        assert_eq!(world.get(KEY, STALE).await.1, Source::Stale);
        let strict = Stale { unasked: 0, ..STALE };
        assert_eq!(world.get(KEY, strict).await.1, Source::OutOfBudget);
        world.say(down());
        assert_eq!(world.get(KEY, strict).await.1, Source::Stale);
    }
}
