//! Random operations against a map with a clock.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use kv_storage::{
    Aes256Gcm, Cipher, Disk, Encrypted, Entry, Fernet, KeyValue, Memory, Prefixed, Sqlite, Ttl,
    Version, testing::TestClock,
};
use proptest::prelude::*;

const COLLECTION: &str = "model";

#[derive(Clone, Debug)]
enum Operation {
    Get(Key),
    GetMany(Vec<Key>),
    Put(Key, u8, Life),
    Delete(Key),
    Take(Key),
    PutIfAbsent(Key, u8, Life),
    Swap(Key, Expected, u8, Life),
    DeleteVersion(Key, Expected),
    Expire(Key, Life),
    Scan(usize),
    Pass(u8),
}

/// Few keys, so that operations meet.
type Key = u8;

/// `None` keeps; else so many seconds, or forever from 5 on.
type Life = Option<u8>;

/// The key's present version, or the one that some earlier write answered.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Present,
    Earlier(prop::sample::Index),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    use Operation::{
        Delete, DeleteVersion, Expire, Get, GetMany, Pass, Put, PutIfAbsent, Scan, Swap, Take,
    };

    let key = || 0..3_u8;
    let value = any::<u8>;
    let life = || prop::option::of(0..7_u8);
    let expected = || {
        prop_oneof![
            3 => Just(Expected::Present),
            1 => any::<prop::sample::Index>().prop_map(Expected::Earlier),
        ]
    };
    let operation = prop_oneof![
        3 => key().prop_map(Get),
        1 => prop::collection::vec(key(), 0..4).prop_map(GetMany),
        4 => (key(), value(), life()).prop_map(|(key, value, life)| Put(key, value, life)),
        1 => key().prop_map(Delete),
        1 => key().prop_map(Take),
        3 => (key(), value(), life()).prop_map(|(key, value, life)| PutIfAbsent(key, value, life)),
        4 => (key(), expected(), value(), life())
            .prop_map(|(key, expected, value, life)| Swap(key, expected, value, life)),
        1 => (key(), expected()).prop_map(|(key, expected)| DeleteVersion(key, expected)),
        2 => (key(), life()).prop_map(|(key, life)| Expire(key, life)),
        1 => (0..4_usize).prop_map(Scan),
        3 => (1..4_u8).prop_map(Pass),
    ];
    prop::collection::vec(operation, 1..60)
}

/// What the store should be.
#[derive(Default)]
struct Model {
    records: HashMap<Key, Record>,
    versions: Vec<Version>,
    now: u64,
}

#[derive(Clone)]
struct Record {
    entry: Entry,
    expires_at: Option<u64>,
}

impl Model {
    fn live(&self, key: Key) -> Option<&Record> {
        let record = self.records.get(&key)?;
        record.expires_at.is_none_or(|at| at > self.now).then_some(record)
    }

    fn entry(&self, key: Key) -> Option<Entry> {
        self.live(key).map(|record| record.entry.clone())
    }

    fn version(&self, key: Key) -> Option<Version> {
        self.live(key).map(|record| record.entry.version)
    }

    fn write(&mut self, key: Key, value: Bytes, version: Version, life: Life) {
        assert!(!self.versions.contains(&version), "a version was used again");
        self.versions.push(version);
        let expires_at = match life {
            None => self.live(key).and_then(|record| record.expires_at),
            Some(seconds) if seconds >= 5 => None,
            Some(seconds) => Some(self.now + u64::from(seconds)),
        };
        self.records.insert(key, Record { entry: Entry { value, version }, expires_at });
    }

    fn expected(&self, key: Key, expected: Expected) -> Version {
        let none = Version::from_bytes([0; 16]);
        match expected {
            Expected::Present => self.version(key).unwrap_or(none),
            Expected::Earlier(_) if self.versions.is_empty() => none,
            Expected::Earlier(index) => *index.get(&self.versions),
        }
    }

    fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entry(key);
        self.records.remove(&key);
        entry
    }
}

fn ttl(life: Life) -> Ttl {
    match life {
        None => Ttl::Keep,
        Some(seconds) if seconds >= 5 => Ttl::Forever,
        Some(seconds) => Ttl::After(Duration::from_secs(seconds.into())),
    }
}

/// Does the same to the store and to the model, and compares what they answer.
async fn follow(store: &impl KeyValue, clock: &TestClock, operations: Vec<Operation>) {
    let mut model = Model::default();
    for operation in operations {
        match operation {
            Operation::Get(key) => {
                let found = store.get(COLLECTION, &name(key)).await.unwrap();
                assert_eq!(found, model.entry(key));
            }
            Operation::GetMany(keys) => {
                let names: Vec<_> = keys.iter().copied().map(name).collect();
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                let found = store.get_many(COLLECTION, &names).await.unwrap();
                let expected: Vec<_> = keys.into_iter().map(|key| model.entry(key)).collect();
                assert_eq!(found, expected);
            }
            Operation::Put(key, value, life) => {
                let value = Bytes::from(vec![value]);
                let version = store.put(COLLECTION, &name(key), value.clone(), ttl(life)).await;
                model.write(key, value, version.unwrap(), life);
            }
            Operation::Delete(key) => {
                let deleted = store.delete(COLLECTION, &name(key)).await.unwrap();
                assert_eq!(deleted, model.remove(key).is_some());
            }
            Operation::Take(key) => {
                let taken = store.take(COLLECTION, &name(key)).await.unwrap();
                assert_eq!(taken, model.remove(key));
            }
            Operation::PutIfAbsent(key, value, life) => {
                let value = Bytes::from(vec![value]);
                let name = name(key);
                let put = store.put_if_absent(COLLECTION, &name, value.clone(), ttl(life));
                let written = put.await.unwrap();
                assert_eq!(written.is_some(), model.live(key).is_none());
                if let Some(version) = written {
                    model.write(key, value, version, life);
                }
            }
            Operation::Swap(key, expected, value, life) => {
                let value = Bytes::from(vec![value]);
                let expected = model.expected(key, expected);
                let swapped = store
                    .compare_and_swap(COLLECTION, &name(key), expected, value.clone(), ttl(life))
                    .await
                    .unwrap();
                assert_eq!(swapped.is_some(), model.version(key) == Some(expected));
                if let Some(version) = swapped {
                    model.write(key, value, version, life);
                }
            }
            Operation::DeleteVersion(key, expected) => {
                let expected = model.expected(key, expected);
                let deleted = store.compare_and_delete(COLLECTION, &name(key), expected).await;
                let matches = model.version(key) == Some(expected);
                assert_eq!(deleted.unwrap(), matches);
                if matches {
                    model.remove(key);
                }
            }
            Operation::Expire(key, life) => {
                let expired = store.expire(COLLECTION, &name(key), ttl(life)).await.unwrap();
                let present = model.entry(key);
                assert_eq!(expired.is_some(), present.is_some());
                if let (Some(version), Some(entry)) = (expired, present) {
                    model.write(key, entry.value, version, life);
                }
            }
            Operation::Scan(limit) => {
                let mut found = Vec::new();
                let mut cursor = None;
                loop {
                    let page = store.scan(COLLECTION, "", cursor, limit).await.unwrap();
                    found.extend(page.keys);
                    cursor = page.next;
                    if cursor.is_none() {
                        break;
                    }
                }
                found.sort_unstable();
                found.dedup();
                let live = (0..3).filter(|&key| model.live(key).is_some());
                assert_eq!(found, live.map(name).collect::<Vec<_>>());
            }
            Operation::Pass(seconds) => {
                clock.advance(Duration::from_secs(seconds.into()));
                model.now += u64::from(seconds);
            }
        }
    }
}

fn name(key: Key) -> String {
    format!("key/{key}")
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
    fn memory_follows_the_model(operations in operations()) {
        block_on(async {
            let clock = TestClock::new();
            let store = Memory::builder().clock(clock.clock()).build();
            follow(&store, &clock, operations).await;
        });
    }

    #[test]
    fn encrypted_memory_follows_the_model(operations in operations()) {
        block_on(async {
            let clock = TestClock::new();
            let store = Memory::builder().clock(clock.clock()).build();
            follow(&encrypted(store, fernet(), &clock), &clock, operations).await;
        });
    }

    #[test]
    fn prefixed_memory_under_aes_gcm_follows_the_model(operations in operations()) {
        block_on(async {
            let clock = TestClock::new();
            let store = Memory::builder().clock(clock.clock()).build();
            let store = Prefixed::new(store, "prefix").unwrap();
            follow(&encrypted(store, aes_gcm(), &clock), &clock, operations).await;
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
    fn sqlite_follows_the_model(operations in operations(), encrypt: bool) {
        block_on(async {
            let clock = TestClock::new();
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("kv.sqlite");
            let store = Sqlite::builder(path).clock(clock.clock()).open().await.unwrap();
            if encrypt {
                follow(&encrypted(store, aes_gcm(), &clock), &clock, operations).await;
            } else {
                follow(&store, &clock, operations).await;
            }
        });
    }

    #[test]
    fn disk_follows_the_model(operations in operations(), encrypt: bool) {
        block_on(async {
            let clock = TestClock::new();
            let directory = tempfile::tempdir().unwrap();
            let store = Disk::builder(directory.path()).clock(clock.clock()).open().await.unwrap();
            if encrypt {
                follow(&encrypted(store, aes_gcm(), &clock), &clock, operations).await;
            } else {
                follow(&store, &clock, operations).await;
            }
        });
    }
}
