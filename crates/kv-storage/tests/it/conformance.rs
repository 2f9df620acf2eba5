//! The suite against every backend, each plain and encrypted, and against every wrapper.

use kv_storage::{
    Aes256Gcm, Disk, Encrypted, Fernet, KeyValue, Limited, Memory, Metered, Prefixed, Sqlite,
    conformance, limits,
    testing::{Faulty, Fixture, TestClock},
};

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
    Fixture::new(store).with_clock(clock)
});

conformance!(memory_fernet, async || {
    let (store, clock) = memory();
    Fixture::new(fernet(store, &clock)).with_clock(clock)
});

conformance!(disk_plain, async || {
    let (store, clock, directory) = disk().await;
    Fixture::new(store).with_clock(clock).with_guard(directory)
});

conformance!(disk_fernet, async || {
    let (store, clock, directory) = disk().await;
    Fixture::new(fernet(store, &clock)).with_clock(clock).with_guard(directory)
});

conformance!(disk_aes_gcm, async || {
    let (store, clock, directory) = disk().await;
    Fixture::new(aes_gcm(store, &clock)).with_clock(clock).with_guard(directory)
});

conformance!(sqlite_plain, async || {
    let (store, clock, directory) = sqlite().await;
    Fixture::new(store).with_clock(clock).with_guard(directory)
});

conformance!(sqlite_fernet, async || {
    let (store, clock, directory) = sqlite().await;
    Fixture::new(fernet(store, &clock)).with_clock(clock).with_guard(directory)
});

conformance!(memory_aes_gcm, async || {
    let (store, clock) = memory();
    Fixture::new(aes_gcm(store, &clock)).with_clock(clock)
});

conformance!(sqlite_aes_gcm, async || {
    let (store, clock, directory) = sqlite().await;
    Fixture::new(aes_gcm(store, &clock)).with_clock(clock).with_guard(directory)
});

conformance!(memory_prefixed, async || {
    let (store, clock) = memory();
    Fixture::new(Prefixed::new(store, "prefix").unwrap()).with_clock(clock)
});

conformance!(memory_limited, async || {
    let (store, clock) = memory();
    Fixture::new(Limited::new(store, limits::MAX_VALUE_BYTES).unwrap()).with_clock(clock)
});

conformance!(sqlite_wrapped_aes_gcm, async || {
    let (store, clock, directory) = sqlite().await;
    Fixture::new(aes_gcm(wrapped(store), &clock)).with_clock(clock).with_guard(directory)
});

conformance!(memory_metered, async || {
    let (store, clock) = memory();
    Fixture::new(Metered::new(store).unwrap()).with_clock(clock)
});

conformance!(memory_faulty, async || {
    let (store, clock) = memory();
    Fixture::new(Faulty::new(store)).with_clock(clock)
});
