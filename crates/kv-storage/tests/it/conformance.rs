//! The suite against every backend, each plain and encrypted, and against every wrapper.

use kv_storage::{
    Aes256Gcm, Disk, Encrypted, Fernet, KeyValue, Limited, Memory, Metered, Prefixed, Sqlite,
    conformance, limits,
    testing::{Faulty, Fixture, TestClock},
};
use test_servers::{rounds, rounds_of_wrapped};

/// An empty store, its clock, and as many rounds as are asked for.
fn fixture(store: impl KeyValue, clock: TestClock) -> Fixture {
    Fixture::new(store).with_clock(clock).with_rounds(rounds(Fixture::DEFAULT_ROUNDS))
}

/// The same around a store that the suite is run on by itself as well.
fn around(store: impl KeyValue, clock: TestClock) -> Fixture {
    fixture(store, clock).with_rounds(rounds_of_wrapped(Fixture::DEFAULT_ROUNDS))
}

fn memory() -> (Memory, TestClock) {
    let clock = TestClock::new();
    (Memory::builder().clock(clock.clock()).build(), clock)
}

async fn disk() -> (Disk, TestClock, tempfile::TempDir) {
    let clock = TestClock::new();
    let directory = tempfile::tempdir().unwrap();
    let store = Disk::builder(directory.path()).clock(clock.clock()).open().await.unwrap();
    (store, clock, directory)
}

async fn sqlite() -> (Sqlite, TestClock, tempfile::TempDir) {
    let clock = TestClock::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let store = Sqlite::builder(path).clock(clock.clock()).open().await.unwrap();
    (store, clock, directory)
}

fn fernet<S: KeyValue>(store: S, clock: &TestClock) -> Encrypted<S, Fernet> {
    let cipher = Fernet::new(&[Fernet::generate_key()]).unwrap();
    Encrypted::new(store, cipher, "https://issuer.example").with_clock(clock.clock())
}

fn aes_gcm<S: KeyValue>(store: S, clock: &TestClock) -> Encrypted<S, Aes256Gcm> {
    let cipher = Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap();
    Encrypted::new(store, cipher, "https://issuer.example").with_clock(clock.clock())
}

/// Both wrappers as one would use them, without a limit of their own.
fn wrapped<S: KeyValue>(store: S) -> Prefixed<Limited<S>> {
    Prefixed::new(Limited::new(store, limits::MAX_STORED_BYTES).unwrap(), "prefix").unwrap()
}

conformance!(memory_plain, async || {
    let (store, clock) = memory();
    fixture(store, clock)
});

conformance!(memory_fernet, async || {
    let (store, clock) = memory();
    around(fernet(store, &clock), clock)
});

conformance!(disk_plain, async || {
    let (store, clock, directory) = disk().await;
    fixture(store, clock).with_guard(directory).with_closing()
});

conformance!(disk_fernet, async || {
    let (store, clock, directory) = disk().await;
    around(fernet(store, &clock), clock).with_guard(directory).with_closing()
});

conformance!(disk_aes_gcm, async || {
    let (store, clock, directory) = disk().await;
    around(aes_gcm(store, &clock), clock).with_guard(directory).with_closing()
});

conformance!(sqlite_plain, async || {
    let (store, clock, directory) = sqlite().await;
    fixture(store, clock).with_guard(directory).with_closing()
});

conformance!(sqlite_fernet, async || {
    let (store, clock, directory) = sqlite().await;
    around(fernet(store, &clock), clock).with_guard(directory).with_closing()
});

conformance!(memory_aes_gcm, async || {
    let (store, clock) = memory();
    around(aes_gcm(store, &clock), clock)
});

conformance!(sqlite_aes_gcm, async || {
    let (store, clock, directory) = sqlite().await;
    around(aes_gcm(store, &clock), clock).with_guard(directory).with_closing()
});

conformance!(memory_prefixed, async || {
    let (store, clock) = memory();
    around(Prefixed::new(store, "prefix").unwrap(), clock)
});

conformance!(memory_limited, async || {
    let (store, clock) = memory();
    around(Limited::new(store, limits::MAX_VALUE_BYTES).unwrap(), clock)
});

conformance!(sqlite_wrapped_aes_gcm, async || {
    let (store, clock, directory) = sqlite().await;
    around(aes_gcm(wrapped(store), &clock), clock).with_guard(directory).with_closing()
});

conformance!(memory_metered, async || {
    let (store, clock) = memory();
    around(Metered::new(store).unwrap(), clock)
});

conformance!(memory_faulty, async || {
    let (store, clock) = memory();
    around(Faulty::new(store), clock)
});
