//! `Faulty`: each fault, at the calls that it is meant for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kv_storage::{
    ErrorKind, KeyValue, Memory, Protected, Result, Ttl, Version,
    testing::{Fault, Faults, Faulty, Moment, Operation},
};
use tokio::time;

fn store() -> (Arc<Faulty<Memory>>, Faults) {
    let store = Faulty::new(Memory::new());
    let faults = store.faults();
    (Arc::new(store), faults)
}

async fn put(store: &impl KeyValue, collection: &str, key: &str) -> Result<Version> {
    store.put(collection, key, "value".into(), Ttl::Forever).await
}

async fn exists(store: &impl KeyValue, key: &str) -> bool {
    store.get("c", key).await.unwrap().is_some()
}

#[tokio::test]
async fn unavailable_means_that_nothing_happened() {
    let (store, faults) = store();
    faults.inject(Fault::unavailable().on(Operation::Put));
    for _ in 0..3 {
        assert_eq!(put(&store, "c", "k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert!(!exists(&store, "k").await);
    faults.clear();
    put(&store, "c", "k").await.unwrap();
}

#[tokio::test]
async fn outcome_unknown_means_that_it_was_done() {
    let (store, faults) = store();
    faults.inject(Fault::outcome_unknown().on_writes().once());
    assert_eq!(put(&store, "c", "k").await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert!(exists(&store, "k").await);
    faults.inject(Fault::error(Moment::Before, ErrorKind::OutcomeUnknown).once());
    assert_eq!(put(&store, "c", "new").await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert!(!exists(&store, "new").await, "the other half of not knowing");
}

#[tokio::test]
async fn a_fault_means_the_calls_that_it_names() {
    let (store, faults) = store();
    let operations = [Operation::Put, Operation::Take];
    let [first, second] = operations;
    faults.inject(Fault::unavailable().on(first).on(second).in_collection("c").nth(2));
    faults.inject(Fault::unavailable().when(|call| call.key == "never").after(1).times(2));
    let mut failed = Vec::new();
    for collection in ["d", "c", "c", "c"] {
        failed.push(put(&store, collection, "k").await.is_err());
    }
    assert_eq!(failed, [false, false, true, false]);
    let mut failed = Vec::new();
    for _ in 0..4 {
        failed.push(store.get("c", "never").await.is_err());
    }
    assert_eq!(failed, [false, true, true, false]);
}

#[tokio::test]
async fn every_operation_can_be_failed() {
    let (store, faults) = store();
    faults.inject(Fault::unavailable());
    let version = Version::from_bytes([0; 16]);
    let value = || "value".into();
    let outcomes = [
        store.get("c", "k").await.map(drop),
        store.get_many("c", &["k"]).await.map(drop),
        put(&store, "c", "k").await.map(drop),
        store.delete("c", "k").await.map(drop),
        store.take("c", "k").await.map(drop),
        store.put_if_absent("c", "k", value(), Ttl::Forever).await.map(drop),
        store.compare_and_swap("c", "k", version, value(), Ttl::Forever).await.map(drop),
        store.compare_and_delete("c", "k", version).await.map(drop),
        store.expire("c", "k", Ttl::Forever).await.map(drop),
        store.scan("c", "", None, 10).await.map(drop),
        store.health().await,
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_passes_and_changes_nothing() {
    let (store, faults) = store();
    faults.inject(Fault::delay(Moment::Before, Duration::from_secs(30)).once());
    let begun = time::Instant::now();
    put(&store, "c", "k").await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    assert!(exists(&store, "k").await);
}

#[tokio::test]
async fn a_call_is_held_where_it_should_be() {
    for (moment, done) in [(Moment::Before, false), (Moment::After, true)] {
        let (store, faults) = store();
        let (fault, gate) = Fault::hold(moment);
        faults.inject(fault.on(Operation::Put));
        let writer = Arc::clone(&store);
        let writing = tokio::spawn(async move { put(&writer, "c", "k").await });
        gate.reached().await;
        assert_eq!(exists(&store, "k").await, done);
        assert!(!writing.is_finished());
        gate.open();
        writing.await.unwrap().unwrap();
        put(&store, "c", "next").await.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_store_answers_nobody_until_it_is_restarted() {
    for (moment, done) in [(Moment::Before, false), (Moment::After, true)] {
        let (store, faults) = store();
        faults.inject(Fault::stop(moment).on(Operation::Put).once());
        let spawn = |key: &'static str| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put(&store, "c", key).await })
        };
        let first = spawn("k");
        faults.stopped().await;
        let second = spawn("later");
        tokio::task::yield_now().await;
        faults.restart();
        assert_eq!(exists(&store, "k").await, done);
        assert!(!first.is_finished());
        first.abort();
        second.abort();
    }
}

#[tokio::test]
async fn a_hook_sees_the_call() {
    let (store, faults) = store();
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    faults.inject(Fault::run(Moment::After, move |call| {
        assert_eq!((call.operation, call.collection, call.key), (Operation::Put, "c", "k"));
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    put(&store, "c", "k").await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn it_is_as_protected_as_what_it_wraps() {
    fn protected(_: &impl Protected) {}
    protected(&store().0);
}
