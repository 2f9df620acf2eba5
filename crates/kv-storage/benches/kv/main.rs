//! Every backend, every wrapper and both ciphers, each beside the raw library in the same run.
//!
//! The name of a measurement is `OPERATION/BYTES-TASKS/STORE`; a store whose name begins with `raw`
//! is the one that the others are compared with.

#![expect(clippy::unwrap_used, reason = "a benchmark is a program")]

mod ciphers;
mod raw;
mod stores;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kv_storage::{KeyValue, Ttl};
use tokio::{runtime::Runtime, task::JoinSet};

use self::{raw::Raw, stores::Stores};

const COLLECTION: &str = "bench";
const SIZES: [usize; 2] = [256, 4096];
const TASKS: [usize; 2] = [1, 64];

/// How many records are there before anything is measured; each task reads and writes its own.
const RECORDS: usize = 1024;

/// How many different values are written in turn.
const VALUES: usize = 64;

/// What is measured of every store.
const OPERATIONS: [&str; 5] = ["get", "put", "compare_and_swap", "put_if_absent_take", "scan"];

/// What is measured of the raw libraries as well.
const RAW_OPERATIONS: [&str; 2] = ["get", "put"];

fn key(index: usize) -> String {
    // As long as our usual keys, which are hashes.
    format!("{:043}", index % RECORDS)
}

/// Values that do not compress and differ from each other.
fn values(bytes: usize) -> Vec<Bytes> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..VALUES).map(|_| (0..bytes / 8).flat_map(|_| next()).collect::<Vec<_>>().into()).collect()
}

/// Runs `operation` for `rounds` times in each of `tasks` tasks at once; how long all took.
async fn spread<F>(
    tasks: usize,
    rounds: u64,
    operation: impl Fn(usize, u64) -> F + Clone + Send + 'static,
) -> Duration
where
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    if tasks == 1 {
        for round in 0..rounds {
            operation(0, round).await;
        }
        return begun.elapsed();
    }
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let operation = operation.clone();
        running.spawn(async move {
            for round in 0..rounds {
                operation(task, round).await;
            }
        });
    }
    running.join_all().await;
    begun.elapsed()
}

async fn fill(store: &dyn KeyValue, values: &[Bytes]) {
    for index in 0..RECORDS {
        let value = values[index % VALUES].clone();
        store.put(COLLECTION, &key(index), value, Ttl::Forever).await.unwrap();
    }
}

/// Which record a task uses in a round: its own ones in turn.
fn record(task: usize, round: u64) -> String {
    key(task + 64 * (usize::try_from(round).unwrap() % (RECORDS / 64)))
}

async fn operate(
    operation: &'static str,
    store: Arc<dyn KeyValue>,
    values: Arc<Vec<Bytes>>,
    tasks: usize,
    rounds: u64,
) -> Duration {
    let ttl = Ttl::After(Duration::from_hours(1));
    spread(tasks, rounds, move |task, round| {
        let (store, values) = (Arc::clone(&store), Arc::clone(&values));
        async move {
            let key = record(task, round);
            let value = values[(task + usize::try_from(round).unwrap()) % VALUES].clone();
            match operation {
                "get" => assert!(store.get(COLLECTION, &key).await.unwrap().is_some()),
                "put" => drop(store.put(COLLECTION, &key, value, ttl).await.unwrap()),
                "compare_and_swap" => {
                    let present = store.get(COLLECTION, &key).await.unwrap().unwrap();
                    let swap =
                        store.compare_and_swap(COLLECTION, &key, present.version, value, ttl);
                    assert!(swap.await.unwrap().is_some());
                }
                "put_if_absent_take" => {
                    let key = format!("{key}/{task}");
                    let put = store.put_if_absent(COLLECTION, &key, value, ttl).await.unwrap();
                    assert!(put.is_some());
                    assert!(store.take(COLLECTION, &key).await.unwrap().is_some());
                }
                _ => {
                    let page = store.scan(COLLECTION, "", None, 100).await.unwrap();
                    assert!(!page.keys.is_empty());
                }
            }
        }
    })
    .await
}

/// Every store, then the raw libraries.
fn stores(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let stores = runtime.block_on(Stores::open());
    for bytes in SIZES {
        let values = Arc::new(values(bytes));
        for (name, store) in stores.all() {
            runtime.block_on(fill(&**store, &values));
            for operation in OPERATIONS {
                for tasks in TASKS {
                    let mut group =
                        criterion.benchmark_group(format!("{operation}/{bytes}-{tasks}"));
                    group.throughput(Throughput::Elements(tasks.try_into().unwrap()));
                    group.bench_function(*name, |bencher| {
                        bencher.to_async(&runtime).iter_custom(|rounds| {
                            operate(
                                operation,
                                Arc::clone(store),
                                Arc::clone(&values),
                                tasks,
                                rounds,
                            )
                        });
                    });
                    group.finish();
                }
            }
        }
        for (name, raw) in stores.raw() {
            runtime.block_on(async {
                for index in 0..RECORDS {
                    raw.put(&key(index), values[index % VALUES].clone()).await;
                }
            });
            for operation in RAW_OPERATIONS {
                for tasks in TASKS {
                    let mut group =
                        criterion.benchmark_group(format!("{operation}/{bytes}-{tasks}"));
                    group.throughput(Throughput::Elements(tasks.try_into().unwrap()));
                    group.bench_function(*name, |bencher| {
                        bencher.to_async(&runtime).iter_custom(|rounds| {
                            operate_raw(operation, raw.clone(), Arc::clone(&values), tasks, rounds)
                        });
                    });
                    group.finish();
                }
            }
        }
    }
    runtime.block_on(stores.close());
}

async fn operate_raw(
    operation: &'static str,
    raw: Raw,
    values: Arc<Vec<Bytes>>,
    tasks: usize,
    rounds: u64,
) -> Duration {
    spread(tasks, rounds, move |task, round| {
        let (raw, values) = (raw.clone(), Arc::clone(&values));
        async move {
            let key = record(task, round);
            if operation == "get" {
                assert!(raw.get(&key).await > 0);
            } else {
                let value = &values[(task + usize::try_from(round).unwrap()) % VALUES];
                raw.put(&key, value.clone()).await;
            }
        }
    })
    .await
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .without_plots()
}

criterion_group! { name = all; config = quick(); targets = ciphers::ciphers, stores }
criterion_main!(all);
