//! kv-storage against real servers.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod model;
mod postgres;
mod processes;
mod python;
mod redis;

use kv_storage::{KeyValue, testing::Fixture};
use test_servers::{rounds, rounds_of_wrapped};

/// An empty store for the suite, with as many rounds as are asked for.
fn fixture(store: impl KeyValue) -> Fixture {
    Fixture::new(store).with_rounds(rounds(Fixture::DEFAULT_ROUNDS)).with_closing()
}

/// The same around a store that the suite is run on by itself as well.
fn wrapped(store: impl KeyValue) -> Fixture {
    fixture(store).with_rounds(rounds_of_wrapped(Fixture::DEFAULT_ROUNDS))
}

#[test]
fn programs_are_found_or_named() {
    let error = test_servers::program::find("no-such-program", "NO_SUCH_PROGRAM").unwrap_err();
    assert!(error.to_string().contains("NO_SUCH_PROGRAM"), "{error}");
}
