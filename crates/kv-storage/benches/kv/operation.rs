//! What is measured of every store, and what one would do with the raw library instead.

use std::{array, sync::Arc, time::Duration};

use kv_storage::{KeyValue, Ttl};

use crate::{Data, TASKS, raw::Raw};

const COLLECTION: &str = "bench";

/// How many records `get_many` reads: what the raw library reads one by one.
const MANY: usize = 16;

/// How many keys a page of `scan` has.
const PAGE: usize = 100;

#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Get,
    GetMany,
    Put,
    PutDelete,
    PutIfAbsentTake,
    GetCompareAndSwap,
    PutCompareAndDelete,
    Expire,
    Scan,
}

pub(crate) const OPERATIONS: [Operation; 9] = [
    Operation::Get,
    Operation::GetMany,
    Operation::Put,
    Operation::PutDelete,
    Operation::PutIfAbsentTake,
    Operation::GetCompareAndSwap,
    Operation::PutCompareAndDelete,
    Operation::Expire,
    Operation::Scan,
];

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Put => "put",
            Self::PutDelete => "put, delete",
            Self::PutIfAbsentTake => "put_if_absent, take",
            Self::GetCompareAndSwap => "get, compare_and_swap",
            Self::PutCompareAndDelete => "put, compare_and_delete",
            Self::Expire => "expire",
            Self::Scan => "scan",
        }
    }
}

#[derive(Clone)]
pub(crate) enum Subject {
    Ours(Arc<dyn KeyValue>),
    Raw(Raw),
}

impl Subject {
    /// Writes the records that are there before anything is measured.
    pub(crate) async fn fill(&self, data: &Data) {
        for (index, key) in data.keys.iter().enumerate() {
            let value = data.value(index, 0);
            match self {
                Self::Ours(store) => {
                    store.put(COLLECTION, key, value, Ttl::Forever).await.unwrap();
                }
                Self::Raw(raw) => raw.put(key, value).await,
            }
        }
    }

    pub(crate) async fn run(&self, operation: Operation, data: &Data, task: usize, round: u64) {
        match self {
            Self::Ours(store) => ours(&**store, operation, data, task, round).await,
            Self::Raw(raw) => with_raw(raw, operation, data, task, round).await,
        }
    }
}

async fn ours(store: &dyn KeyValue, operation: Operation, data: &Data, task: usize, round: u64) {
    let ttl = Ttl::After(Duration::from_hours(1));
    let record = Data::record(task, round);
    let (key, fresh) = (&data.keys[record], &data.fresh[record]);
    let value = || data.value(task, round);
    match operation {
        Operation::Get => assert!(store.get(COLLECTION, key).await.unwrap().is_some()),
        Operation::GetMany => {
            let keys: [&str; MANY] = array::from_fn(|index| &*data.keys[task + TASKS[1] * index]);
            let found = store.get_many(COLLECTION, &keys).await.unwrap();
            assert_eq!(found.iter().flatten().count(), MANY);
        }
        Operation::Put => drop(store.put(COLLECTION, key, value(), ttl).await.unwrap()),
        Operation::PutDelete => {
            store.put(COLLECTION, fresh, value(), ttl).await.unwrap();
            assert!(store.delete(COLLECTION, fresh).await.unwrap());
        }
        Operation::PutIfAbsentTake => {
            let put = store.put_if_absent(COLLECTION, fresh, value(), ttl).await.unwrap();
            assert!(put.is_some());
            assert!(store.take(COLLECTION, fresh).await.unwrap().is_some());
        }
        Operation::GetCompareAndSwap => {
            let version = store.get(COLLECTION, key).await.unwrap().unwrap().version;
            let swap = store.compare_and_swap(COLLECTION, key, version, value(), ttl);
            assert!(swap.await.unwrap().is_some());
        }
        Operation::PutCompareAndDelete => {
            let version = store.put(COLLECTION, fresh, value(), ttl).await.unwrap();
            assert!(store.compare_and_delete(COLLECTION, fresh, version).await.unwrap());
        }
        Operation::Expire => {
            assert!(store.expire(COLLECTION, key, ttl).await.unwrap().is_some());
        }
        Operation::Scan => {
            let page = store.scan(COLLECTION, "", None, PAGE).await.unwrap();
            assert!(!page.keys.is_empty());
        }
    }
}

async fn with_raw(raw: &Raw, operation: Operation, data: &Data, task: usize, round: u64) {
    let record = Data::record(task, round);
    let (key, fresh) = (&data.keys[record], &data.fresh[record]);
    let value = || data.value(task, round);
    match operation {
        Operation::Get => assert!(raw.get(key).await > 0),
        Operation::GetMany => {
            for index in 0..MANY {
                assert!(raw.get(&data.keys[task + TASKS[1] * index]).await > 0);
            }
        }
        Operation::Put => raw.put(key, value()).await,
        Operation::PutDelete | Operation::PutIfAbsentTake => {
            raw.put(fresh, value()).await;
            raw.delete(fresh).await;
        }
        Operation::GetCompareAndSwap => raw.swap(key, value()).await,
        Operation::PutCompareAndDelete => {
            raw.put(fresh, value()).await;
            raw.delete_version(fresh, &value()).await;
        }
        Operation::Expire => raw.expire(key, value()).await,
        Operation::Scan => assert!(raw.list(PAGE).await > 0),
    }
}
