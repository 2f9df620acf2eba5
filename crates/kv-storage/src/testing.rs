//! The suite that every backend must pass, to run against your own as well.
//!
//! [`conformance!`](crate::conformance) makes a named test of every case. It wants a module name
//! and how to make a [`Fixture`], an empty store, for each of them:
//!
//! ```
//! use kv_storage::{Memory, conformance, testing::{Fixture, TestClock}};
//!
//! async fn fixture() -> Fixture {
//!     let clock = TestClock::new();
//!     Fixture::new(Memory::builder().clock(clock.clock()).build()).with_clock(clock)
//! }
//!
//! conformance!(memory, fixture);
//! ```
//!
//! Where every case waits for real time, or on one server that takes long to start,
//! `conformance!(together NAME, fixture)` makes one test of all cases, run at the same time; it
//! names those that fail.
//!
//! The cases are plain functions as well: a case is told the fixture and panics if the store
//! breaks the contract.
//!
//! [`model::follow`] compares a store with a map, step by step.
//!
//! [`processes::race`] has several processes compete for the same records.
//!
//! [`Faulty`] is for tests of what stores something: a store that fails on command.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "to panic is how a case fails, and what the module's documentation says"
)]

pub mod entries;
pub mod expiry;
mod faults;
pub mod model;
pub mod processes;
pub mod races;
pub mod scans;

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
    time,
};

pub use self::faults::{Call, Fault, Faults, Faulty, Gate, Moment, Operation};
use crate::{Clock, KeyValue};

/// The collection that cases write to.
pub const COLLECTION: &str = "conformance";

/// How many tasks race in one round by default.
const TASKS: usize = 32;

/// How many cases run together: most of them only wait.
const TOGETHER: usize = 10;

/// An empty store to test, and how to let its time pass.
pub struct Fixture {
    store: Arc<dyn KeyValue>,
    clock: Option<TestClock>,
    tasks: usize,
    rounds: usize,
    closing: bool,
    guards: Vec<Box<dyn Any + Send + Sync>>,
}

impl Fixture {
    /// How many rounds each race runs by default: few enough for every day.
    pub const DEFAULT_ROUNDS: usize = 8;

    /// A store whose time is the real one, which a test has to wait for.
    pub fn new(store: impl KeyValue) -> Self {
        Self {
            store: Arc::new(store),
            clock: None,
            tasks: TASKS,
            rounds: Self::DEFAULT_ROUNDS,
            closing: false,
            guards: vec![],
        }
    }

    /// The clock that the store was made with, to be turned instead of waiting.
    #[must_use]
    pub fn with_clock(mut self, clock: TestClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Something to keep until the case is over, such as a temporary directory.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// How many rounds each race runs instead of [`DEFAULT_ROUNDS`](Self::DEFAULT_ROUNDS).
    #[must_use]
    pub fn with_rounds(mut self, rounds: usize) -> Self {
        self.rounds = rounds;
        self
    }

    /// The store holds something that it lets go of when it is closed, such as files and
    /// connections, so that nothing may work afterwards. Also for what is wrapped around it.
    #[must_use]
    pub fn with_closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn KeyValue> {
        &self.store
    }

    /// Lets time pass for the store.
    pub async fn pass(&self, duration: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(duration),
            None => time::sleep(duration).await,
        }
    }

    /// How many rounds each race runs.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Runs `operation` in many tasks that begin together; what each answered.
    async fn race<T, F>(&self, operation: impl Fn(Arc<dyn KeyValue>, usize) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let barrier = Arc::new(Barrier::new(self.tasks));
        let mut tasks = JoinSet::new();
        for index in 0..self.tasks {
            let operation = operation(Arc::clone(&self.store), index);
            let barrier = Arc::clone(&barrier);
            tasks.spawn(async move {
                barrier.wait().await;
                operation.await
            });
        }
        tasks.join_all().await
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("store", &self.store)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// A clock that stands still until it is turned.
#[derive(Clone, Debug)]
pub struct TestClock {
    millis: Arc<AtomicU64>,
}

impl TestClock {
    /// A clock that shows some time in 2026.
    pub fn new() -> Self {
        Self { millis: Arc::new(AtomicU64::new(1_780_000_000_000)) }
    }

    /// The time to give to a store.
    pub fn clock(&self) -> Clock {
        let millis = Arc::clone(&self.millis);
        Arc::new(move || {
            SystemTime::UNIX_EPOCH + Duration::from_millis(millis.load(Ordering::SeqCst))
        })
    }

    /// Turns the clock forward.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Turns the clock back, as an operator or a time server may.
    pub fn set_back(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap();
        self.millis.fetch_sub(millis, Ordering::SeqCst);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs one case on a fresh fixture in a runtime of its own, as `conformance!` does.
pub fn run(fixture: impl AsyncFnOnce() -> Fixture, case: impl AsyncFnOnce(&Fixture)) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let fixture = fixture().await;
        case(&fixture).await;
    });
}

/// A case of the suite, for [`run_together`].
pub type Case = for<'a> fn(&'a Fixture) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs every case on a fixture of its own, several at the same time, as
/// `conformance!(together …)` does.
pub fn run_together(fixture: impl AsyncFn() -> Fixture, cases: &[(&'static str, Case)]) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let turns = Arc::new(Semaphore::new(TOGETHER));
        let mut tasks = JoinSet::new();
        let mut names = HashMap::new();
        for (name, case) in cases.iter().copied() {
            let turn = Arc::clone(&turns).acquire_owned().await;
            let fixture = fixture().await;
            let task = tasks.spawn(async move {
                case(&fixture).await;
                drop(turn);
            });
            names.insert(task.id(), name);
        }
        let mut failed = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            failed.extend(ended.err().map(|error| names[&error.id()]));
        }
        assert!(failed.is_empty(), "these cases failed: {}", failed.join(", "));
    });
}

/// Makes a test of every case of the conformance suite, in a module of the given name.
///
/// The second argument makes the [`Fixture`](crate::testing::Fixture): an `async fn` or closure
/// without parameters. See [`testing`](crate::testing). With `together` before the name it is one
/// test, and the fixture is made many times.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $fixture:expr) => {
        mod $name {
            use super::*;

            $crate::conformance! { @list tests, $fixture }
        }
    };
    (together $name:ident, $fixture:expr) => {
        #[test]
        fn $name() {
            $crate::conformance! { @list together, $fixture }
        }
    };
    (@list $mode:ident, $fixture:expr) => {
        $crate::conformance! { @$mode $fixture;
            entries:
                nothing_is_none,
                what_was_put_is_read_back,
                put_replaces,
                every_write_draws_a_new_version,
                values_are_opaque,
                the_largest_value_is_kept,
                keys_are_any_text,
                collections_are_separate,
                long_keys_are_refused,
                large_values_are_refused,
                bad_collection_names_are_refused,
                get_many_keeps_the_order,
                delete_says_whether_there_was_something,
                take_reads_and_removes,
                put_if_absent_writes_once,
                compare_and_swap_needs_the_version,
                compare_and_swap_never_creates,
                compare_and_delete_needs_the_version,
                a_version_does_not_outlive_its_record,
                expire_needs_a_record,
                health_is_good,
                closing_is_final;
            expiry:
                an_expired_record_is_absent_to_reads,
                an_expired_record_is_absent_to_removals,
                an_expired_record_is_absent_to_swaps,
                put_if_absent_replaces_an_expired_record,
                a_new_record_has_no_expiry_to_keep,
                keep_keeps_the_expiry,
                keep_does_not_revive_an_expiry,
                every_write_states_its_expiry,
                compare_and_swap_obeys_its_ttl,
                expire_obeys_its_ttl,
                expire_keeps_the_value,
                zero_is_absent_at_once,
                the_longest_duration_never_ends,
                a_clock_that_is_set_back_takes_nothing;
            scans:
                an_empty_collection_has_no_keys,
                pages_hold_every_key,
                a_limit_of_zero_still_gets_on,
                prefixes_are_literal,
                prefixes_are_not_only_ascii,
                other_collections_are_not_listed,
                keys_that_stay_are_found_while_others_change,
                scans_beside_writers_find_what_stays_and_nothing_that_is_gone;
            races:
                take_has_one_winner,
                delete_has_one_winner,
                put_if_absent_has_one_winner,
                put_if_absent_over_an_expired_record_has_one_winner,
                compare_and_swap_has_one_winner,
                compare_and_delete_has_one_winner,
                swap_and_delete_and_take_have_one_winner,
                counting_by_compare_and_swap_loses_nothing,
                writers_that_keep_the_expiry_all_succeed,
                values_are_never_torn;
        }
    };
    (@tests $fixture:expr; $($module:ident: $($case:ident),+;)+) => {$($(
        #[test]
        fn $case() {
            $crate::testing::run($fixture, $crate::testing::$module::$case);
        }
    )+)+};
    (@together $fixture:expr; $($module:ident: $($case:ident),+;)+) => {
        let cases: &[(&'static str, $crate::testing::Case)] = &[$($(
            (stringify!($case), |fixture| Box::pin($crate::testing::$module::$case(fixture))),
        )+)+];
        $crate::testing::run_together($fixture, cases);
    };
}
