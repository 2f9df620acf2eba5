//! `Metered`: what is recorded of each operation, and what never is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kv_storage::{
    Aes256Gcm, Encrypted, ErrorKind, KeyValue, Memory, Metered, Protected, Ttl,
    testing::{Fault, Faulty, Moment, Operation},
};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

/// Keeps what was recorded as `name{label=value,…}` and how often.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, u64>>>);

struct Series(Recorded, String);

impl Series {
    fn add(&self, count: u64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += count;
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {
        panic!("nothing here is absolute");
    }
}

impl HistogramFn for Series {
    fn record(&self, seconds: f64) {
        assert!((0.0..600.0).contains(&seconds), "{seconds}");
        self.add(1);
    }
}

impl Recorded {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn count(&self, operation: &str, collection: &str, outcome: &str) -> u64 {
        let name = format!(
            "kv_storage_operations_total{{operation={operation},collection={collection},\
             outcome={outcome}}}"
        );
        self.0.lock().unwrap().get(&name).copied().unwrap_or_default()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("there is no gauge");
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

/// Runs it on this thread with a recorder of its own.
fn recorded(work: impl Future<Output = ()>) -> Recorded {
    let recorded = Recorded::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorded, || runtime.block_on(work));
    recorded
}

#[test]
fn operations_are_counted_by_what_they_came_to() {
    let recorded = recorded(async {
        let store = Metered::new(Memory::new()).unwrap();
        let ttl = Ttl::Forever;
        let version = store.put("codes", "hunter2", "hunter2".into(), ttl).await.unwrap();
        store.get("codes", "hunter2").await.unwrap();
        store.get("codes", "absent").await.unwrap();
        store.get_many("codes", &["hunter2", "absent"]).await.unwrap();
        store.put_if_absent("codes", "hunter2", "value".into(), ttl).await.unwrap();
        let swap = store.compare_and_swap("codes", "hunter2", version, "new".into(), ttl);
        swap.await.unwrap();
        store.compare_and_delete("codes", "hunter2", version).await.unwrap();
        store.expire("codes", "hunter2", ttl).await.unwrap();
        store.scan("codes", "hunter", None, 10).await.unwrap();
        store.take("codes", "hunter2").await.unwrap();
        store.delete("codes", "hunter2").await.unwrap();
        store.health().await.unwrap();
    });
    for (operation, collection, outcome) in [
        ("put", "codes", "done"),
        ("get", "codes", "done"),
        ("get", "codes", "none"),
        ("get_many", "codes", "done"),
        ("put_if_absent", "codes", "none"),
        ("compare_and_swap", "codes", "done"),
        ("compare_and_delete", "codes", "none"),
        ("expire", "codes", "done"),
        ("scan", "codes", "done"),
        ("take", "codes", "done"),
        ("delete", "codes", "none"),
        ("health", "", "done"),
    ] {
        assert_eq!(recorded.count(operation, collection, outcome), 1, "{operation} {outcome}");
    }
    let all = recorded.0.lock().unwrap();
    assert_eq!(all["kv_storage_operation_seconds{operation=get}"], 2);
    assert!(!format!("{all:?}").contains("hunter"), "no keys and no values: {all:?}");
}

#[test]
fn errors_are_counted_by_their_kind() {
    let recorded = recorded(async {
        let faulty = Faulty::new(Memory::new());
        let faults = faulty.faults();
        let store = Metered::new(faulty).unwrap();
        for kind in [
            ErrorKind::Unavailable,
            ErrorKind::OutcomeUnknown,
            ErrorKind::Corrupt,
            ErrorKind::Conflict,
            ErrorKind::TooLarge,
            ErrorKind::Misconfigured,
        ] {
            faults.inject(Fault::error(Moment::Before, kind).once());
            assert_eq!(store.delete("codes", "k").await.unwrap_err().kind(), kind);
        }
        assert!(store.get("Not A Collection", "k").await.is_err());
        faults.inject(Fault::stop(Moment::Before).on(Operation::Take));
        let take = tokio::time::timeout(Duration::from_millis(1), store.take("codes", "k"));
        assert!(take.await.is_err(), "the caller hangs up");
    });
    for outcome in
        ["unavailable", "outcome_unknown", "corrupt", "conflict", "too_large", "misconfigured"]
    {
        assert_eq!(recorded.count("delete", "codes", outcome), 1, "{outcome}");
    }
    assert_eq!(recorded.count("get", "", "misconfigured"), 1, "a bad name makes no label");
    assert_eq!(recorded.count("take", "codes", "abandoned"), 1);
}

#[tokio::test]
async fn encrypting_is_outermost() {
    fn protected(_: &impl Protected) {}
    let encrypted = |store| {
        let cipher = Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap();
        Encrypted::new(store, cipher, "https://issuer.example")
    };
    let metered = Metered::new(Memory::new()).unwrap();
    protected(&metered);
    let sealed = encrypted(metered);
    sealed.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let error = Metered::new(sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("Metered goes inside Encrypted"), "{error}");
}
