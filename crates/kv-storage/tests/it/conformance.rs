//! The suite against every backend, each plain and encrypted.

use kv_storage::{
    Encrypted, Fernet, KeyValue, Memory, Sqlite, conformance,
    testing::{Fixture, TestClock},
};

fn memory() -> (Memory, TestClock) {
    let clock = TestClock::new();
    (Memory::builder().clock(clock.clock()).build(), clock)
}

async fn sqlite() -> (Sqlite, TestClock, tempfile::TempDir) {
    let clock = TestClock::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    let store = Sqlite::builder(path).clock(clock.clock()).open().await.unwrap();
    (store, clock, directory)
}

fn encrypted<S: KeyValue>(store: S, clock: &TestClock) -> Encrypted<S, Fernet> {
    let cipher = Fernet::new(&[Fernet::generate_key()]).unwrap();
    Encrypted::new(store, cipher, "https://issuer.example").with_clock(clock.clock())
}

conformance!(memory_plain, async || {
    let (store, clock) = memory();
    Fixture::new(store).with_clock(clock)
});

conformance!(memory_fernet, async || {
    let (store, clock) = memory();
    Fixture::new(encrypted(store, &clock)).with_clock(clock)
});

conformance!(sqlite_plain, async || {
    let (store, clock, directory) = sqlite().await;
    Fixture::new(store).with_clock(clock).with_guard(directory)
});

conformance!(sqlite_fernet, async || {
    let (store, clock, directory) = sqlite().await;
    Fixture::new(encrypted(store, &clock)).with_clock(clock).with_guard(directory)
});
