//! Random operations against a map with a clock.
//!
//! What draws the bytes of the steps, and makes them fewer when something is wrong, is up to you:
//! with `proptest`, `vec(any::<Bytes>(), 1..60)`.

use std::{collections::HashMap, fmt, time::Duration};

use crate::{Entry, KeyValue, Ttl, Version, testing::TestClock};

/// What one step is read from; any bytes are one.
pub type Bytes = [u8; 5];

/// The collection that the steps are about.
const COLLECTION: &str = "model";

/// Few keys, so that operations meet.
const KEYS: u8 = 3;

/// A second for the model, where the store's clock cannot be turned: nothing ends meanwhile.
const LONG_SECOND: u64 = 3600;

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(Key),
    GetMany([Key; 3]),
    Put(Key, u8, Life),
    Delete(Key),
    Take(Key),
    PutIfAbsent(Key, u8, Life),
    Swap(Key, Expected, u8, Life),
    DeleteVersion(Key, Expected),
    Expire(Key, Life),
    Scan(usize),
    Pass(u64),
}

type Key = u8;

/// `None` keeps; else so many seconds, or forever from 5 on.
type Life = Option<u64>;

/// The key's present version, or the one that some earlier write answered.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Present,
    Earlier(u8),
}

impl From<Bytes> for Step {
    fn from([kind, key, value, life, expected]: Bytes) -> Self {
        let key = key % KEYS;
        let life = (life % 8).checked_sub(1).map(u64::from);
        let earlier = expected % 4 == 0;
        let expected = if earlier { Expected::Earlier(expected / 4) } else { Expected::Present };
        match kind % 24 {
            0..3 => Self::Get(key),
            3 => Self::GetMany([key, value % KEYS, (value / KEYS) % KEYS]),
            4..8 => Self::Put(key, value, life),
            8 => Self::Delete(key),
            9 => Self::Take(key),
            10..13 => Self::PutIfAbsent(key, value, life),
            13..17 => Self::Swap(key, expected, value, life),
            17 => Self::DeleteVersion(key, expected),
            18..20 => Self::Expire(key, life),
            20 => Self::Scan(usize::from(value % 4)),
            _ => Self::Pass(u64::from(value % 3) + 1),
        }
    }
}

/// What the store should be.
#[derive(Default)]
struct Model {
    records: HashMap<Key, Record>,
    versions: Vec<Version>,
    now: u64,
    /// What was done so far.
    done: Vec<Step>,
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

    fn write(&mut self, key: Key, value: bytes::Bytes, version: Version, life: Life) {
        assert!(!self.versions.contains(&version), "a version was used again: {:?}", self.done);
        self.versions.push(version);
        let expires_at = match life {
            None => self.live(key).and_then(|record| record.expires_at),
            Some(seconds) if seconds >= 5 => None,
            Some(seconds) => Some(self.now + seconds),
        };
        self.records.insert(key, Record { entry: Entry { value, version }, expires_at });
    }

    fn expected(&self, key: Key, expected: Expected) -> Version {
        let none = Version::from_bytes([0; 16]);
        match expected {
            Expected::Present => self.version(key).unwrap_or(none),
            Expected::Earlier(_) if self.versions.is_empty() => none,
            Expected::Earlier(index) => self.versions[usize::from(index) % self.versions.len()],
        }
    }

    fn remove(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entry(key);
        self.records.remove(&key);
        entry
    }

    /// Compares what the last step answered.
    fn compare<T: PartialEq + fmt::Debug>(&self, answered: &T, expected: &T) {
        assert_eq!(answered, expected, "the last of these steps: {:?}", self.done);
    }
}

/// Does the same to the store and to the model, and compares what they answer.
///
/// `clock` is the one that the store was made with; without one, nothing expires in the course of
/// this but what is to be absent at once. What is in the collection `model` is removed before.
pub async fn follow(store: &impl KeyValue, clock: Option<&TestClock>, steps: &[Bytes]) {
    for key in 0..KEYS {
        store.delete(COLLECTION, &name(key)).await.unwrap();
    }
    let second = Duration::from_secs(if clock.is_some() { 1 } else { LONG_SECOND });
    let mut model = Model::default();
    for &bytes in steps {
        let step = Step::from(bytes);
        model.done.push(step);
        match (step, clock) {
            (Step::Pass(seconds), Some(clock)) => {
                clock.advance(Duration::from_secs(seconds));
                model.now += seconds;
            }
            (Step::Pass(_), None) => {}
            (step, _) => take(store, &mut model, step, second).await,
        }
    }
}

async fn take(store: &impl KeyValue, model: &mut Model, step: Step, second: Duration) {
    let ttl = |life: Life| match life {
        None => Ttl::Keep,
        Some(seconds) if seconds >= 5 => Ttl::Forever,
        Some(seconds) => Ttl::After(second * u32::try_from(seconds).unwrap()),
    };
    match step {
        Step::Get(key) => {
            let found = store.get(COLLECTION, &name(key)).await.unwrap();
            model.compare(&found, &model.entry(key));
        }
        Step::GetMany(keys) => {
            let names = keys.map(name);
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let found = store.get_many(COLLECTION, &names).await.unwrap();
            model.compare(&found, &keys.map(|key| model.entry(key)).to_vec());
        }
        Step::Put(key, value, life) => {
            let value = bytes::Bytes::from(vec![value]);
            let version = store.put(COLLECTION, &name(key), value.clone(), ttl(life)).await;
            model.write(key, value, version.unwrap(), life);
        }
        Step::Delete(key) => {
            let deleted = store.delete(COLLECTION, &name(key)).await.unwrap();
            let present = model.remove(key).is_some();
            model.compare(&deleted, &present);
        }
        Step::Take(key) => {
            let taken = store.take(COLLECTION, &name(key)).await.unwrap();
            let present = model.remove(key);
            model.compare(&taken, &present);
        }
        Step::PutIfAbsent(key, value, life) => {
            let value = bytes::Bytes::from(vec![value]);
            let name = name(key);
            let put = store.put_if_absent(COLLECTION, &name, value.clone(), ttl(life));
            let written = put.await.unwrap();
            model.compare(&written.is_some(), &model.live(key).is_none());
            if let Some(version) = written {
                model.write(key, value, version, life);
            }
        }
        Step::Swap(key, expected, value, life) => {
            let value = bytes::Bytes::from(vec![value]);
            let expected = model.expected(key, expected);
            let name = name(key);
            let swap =
                store.compare_and_swap(COLLECTION, &name, expected, value.clone(), ttl(life));
            let swapped = swap.await.unwrap();
            model.compare(&swapped.is_some(), &(model.version(key) == Some(expected)));
            if let Some(version) = swapped {
                model.write(key, value, version, life);
            }
        }
        Step::DeleteVersion(key, expected) => {
            let expected = model.expected(key, expected);
            let deleted = store.compare_and_delete(COLLECTION, &name(key), expected).await;
            let matches = model.version(key) == Some(expected);
            model.compare(&deleted.unwrap(), &matches);
            if matches {
                model.remove(key);
            }
        }
        Step::Expire(key, life) => {
            let expired = store.expire(COLLECTION, &name(key), ttl(life)).await.unwrap();
            let present = model.entry(key);
            model.compare(&expired.is_some(), &present.is_some());
            if let (Some(version), Some(entry)) = (expired, present) {
                model.write(key, entry.value, version, life);
            }
        }
        Step::Scan(limit) => {
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
            let live = (0..KEYS).filter(|&key| model.live(key).is_some());
            model.compare(&found, &live.map(name).collect());
        }
        Step::Pass(_) => {}
    }
}

fn name(key: Key) -> String {
    format!("key/{key}")
}
