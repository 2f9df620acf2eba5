//! Random operations against a map with a clock.

use kv_storage::{
    Aes256Gcm, Cipher, Disk, Encrypted, Fernet, KeyValue, Memory, Prefixed, Sqlite,
    testing::{
        TestClock,
        model::{Bytes, follow},
    },
};
use proptest::prelude::*;

fn steps() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(any::<Bytes>(), 1..60)
}

fn fernet() -> Fernet {
    Fernet::new(&[Fernet::generate_key()]).unwrap()
}

fn aes_gcm() -> Aes256Gcm {
    Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap()
}

fn encrypted<S: KeyValue, C: Cipher>(store: S, cipher: C, clock: &TestClock) -> Encrypted<S, C> {
    Encrypted::new(store, cipher, "https://issuer.example").with_clock(clock.clock())
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_follows_the_model(steps in steps()) {
        block_on(async {
            let clock = TestClock::new();
            let store = Memory::builder().clock(clock.clock()).build();
            follow(&store, Some(&clock), &steps).await;
        });
    }

    #[test]
    fn encrypted_memory_follows_the_model(steps in steps()) {
        block_on(async {
            let clock = TestClock::new();
            let store = Memory::builder().clock(clock.clock()).build();
            follow(&encrypted(store, fernet(), &clock), Some(&clock), &steps).await;
        });
    }

    #[test]
    fn prefixed_memory_under_aes_gcm_follows_the_model(steps in steps()) {
        block_on(async {
            let clock = TestClock::new();
            let store = Memory::builder().clock(clock.clock()).build();
            let store = Prefixed::new(store, "prefix").unwrap();
            follow(&encrypted(store, aes_gcm(), &clock), Some(&clock), &steps).await;
        });
    }
}

proptest! {
    // Each case makes a file and waits for the disk.
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sqlite_follows_the_model(steps in steps(), encrypt: bool) {
        block_on(async {
            let clock = TestClock::new();
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("kv.sqlite");
            let store = Sqlite::builder(path).clock(clock.clock()).open().await.unwrap();
            if encrypt {
                follow(&encrypted(store, aes_gcm(), &clock), Some(&clock), &steps).await;
            } else {
                follow(&store, Some(&clock), &steps).await;
            }
        });
    }

    #[test]
    fn disk_follows_the_model(steps in steps(), encrypt: bool) {
        block_on(async {
            let clock = TestClock::new();
            let directory = tempfile::tempdir().unwrap();
            let store = Disk::builder(directory.path()).clock(clock.clock()).open().await.unwrap();
            if encrypt {
                follow(&encrypted(store, aes_gcm(), &clock), Some(&clock), &steps).await;
            } else {
                follow(&store, Some(&clock), &steps).await;
            }
        });
    }
}
