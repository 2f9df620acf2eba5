//! One remote document: fetched once for everybody who waits, kept, and kept on while the
//! provider is down.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio::sync::Mutex;

use crate::Error;

/// A document and what is known about its age.
pub(crate) struct Entry<T> {
    pub(crate) value: Arc<T>,
    pub(crate) fetched_at: SystemTime,
    pub(crate) fresh_for: Duration,
}

/// What a fetch brings: the document, and for how long it is fresh.
pub(crate) type Fetched<T> = Result<(T, Duration), Error>;

/// The state of one document.
pub(crate) struct Cached<T> {
    state: RwLock<State<T>>,
    /// Held by the one caller that fetches.
    fetching: Mutex<()>,
}

struct State<T> {
    entry: Option<Entry<T>>,
    failure: Option<(Error, SystemTime)>,
}

/// How one call uses the cache.
pub(crate) struct Policy<'a, T> {
    pub(crate) now: &'a (dyn Fn() -> SystemTime + Send + Sync),
    /// After a failed fetch, how long nobody tries again.
    pub(crate) failure_pause: Duration,
    /// Whether an entry is good enough not to fetch.
    pub(crate) good: &'a (dyn Fn(&Entry<T>, SystemTime) -> bool + Send + Sync),
    /// Whether an entry that is not good enough is better than an error or a wait.
    pub(crate) serve_stale: bool,
}

/// What the present state means for one call.
enum Decision<T> {
    Serve(Arc<T>),
    Fail(Error),
    Fetch { stale: Option<Arc<T>> },
}

impl<T> Cached<T> {
    pub(crate) fn new() -> Self {
        Self { state: RwLock::new(State { entry: None, failure: None }), fetching: Mutex::new(()) }
    }

    /// Returns a good entry, fetching one if there is none.
    ///
    /// One caller fetches at a time. The others take the stale entry if they may, else they wait
    /// for the result. A caller that goes away while it fetches leaves the turn to the next.
    pub(crate) async fn get<F>(
        &self,
        policy: &Policy<'_, T>,
        fetch: impl FnOnce() -> F + Send,
    ) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Fetched<T>> + Send,
    {
        let stale = match self.decide(policy) {
            Decision::Serve(value) => return Ok(value),
            Decision::Fail(error) => return Err(error),
            Decision::Fetch { stale } => stale,
        };
        let _turn = match (self.fetching.try_lock(), stale) {
            (Ok(turn), _) => turn,
            (Err(_), Some(stale)) => return Ok(stale),
            (Err(_), None) => self.fetching.lock().await,
        };
        // Whoever had the turn before may have brought what is wanted.
        let stale = match self.decide(policy) {
            Decision::Serve(value) => return Ok(value),
            Decision::Fail(error) => return Err(error),
            Decision::Fetch { stale } => stale,
        };

        let fetched = fetch().await;
        let now = (policy.now)();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok((value, fresh_for)) => {
                let value = Arc::new(value);
                let entry = Entry { value: Arc::clone(&value), fetched_at: now, fresh_for };
                *state = State { entry: Some(entry), failure: None };
                Ok(value)
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    stale = stale.is_some(),
                    "fetching a document of the provider failed"
                );
                state.failure = Some((error.clone(), now));
                stale.ok_or(error)
            }
        }
    }

    fn decide(&self, policy: &Policy<'_, T>) -> Decision<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let now = (policy.now)();
        let entry = state.entry.as_ref();
        if let Some(entry) = entry.filter(|entry| (policy.good)(entry, now)) {
            return Decision::Serve(Arc::clone(&entry.value));
        }
        let stale = entry.filter(|_| policy.serve_stale).map(|entry| Arc::clone(&entry.value));
        match &state.failure {
            Some((error, at)) if is_within(*at, policy.failure_pause, now) => match stale {
                Some(stale) => Decision::Serve(stale),
                None => Decision::Fail(error.clone()),
            },
            _ => Decision::Fetch { stale },
        }
    }
}

impl<T> Entry<T> {
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        is_within(self.fetched_at, self.fresh_for, now)
    }

    pub(crate) fn is_younger_than(&self, age: Duration, now: SystemTime) -> bool {
        is_within(self.fetched_at, age, now)
    }
}

/// Whether `now` lies within `span` after `start`; not when the clock was set back before it,
/// since nothing is known of the age then.
fn is_within(start: SystemTime, span: Duration, now: SystemTime) -> bool {
    now.duration_since(start).is_ok_and(|age| age < span)
}
