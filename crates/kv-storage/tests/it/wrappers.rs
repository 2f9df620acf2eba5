//! What is particular to `Prefixed` and `Limited`, and what every wrapper does.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kv_storage::{
    Aes256Gcm, Encrypted, Entry, ErrorKind, KeyValue, Limited, Memory, Metered, Prefixed, Result,
    Sqlite, Ttl, Version, limits, testing::Faulty,
};
use secrecy::SecretString;

const DEPLOYMENT: &str = "https://issuer.example";

fn encrypted<S: KeyValue>(store: S, key: &SecretString) -> Encrypted<S, Aes256Gcm> {
    Encrypted::new(store, Aes256Gcm::new(std::slice::from_ref(key)).unwrap(), DEPLOYMENT)
}

async fn put(store: &impl KeyValue, collection: &str, value: impl Into<Bytes>) -> Result<Version> {
    store.put(collection, "k", value.into(), Ttl::Forever).await
}

async fn get(store: &impl KeyValue, collection: &str) -> Option<Bytes> {
    store.get(collection, "k").await.unwrap().map(|entry: Entry| entry.value)
}

#[tokio::test]
async fn prefixes_are_apart_whatever_the_collections_are_called() {
    let shared = Arc::new(Memory::new());
    let prefixed = |prefix| Prefixed::new(Arc::clone(&shared), prefix).unwrap();
    let stores = [prefixed("a"), prefixed("ab"), prefixed("b")];
    let collections = ["c", "b_c", "_b_c", "bc", "a_c", "_"];
    for (index, store) in stores.iter().enumerate() {
        for collection in collections {
            assert_eq!(get(store, collection).await, None, "{index} {collection}");
            put(store, collection, format!("{index} {collection}")).await.unwrap();
        }
    }
    for (index, store) in stores.iter().enumerate() {
        for collection in collections {
            assert_eq!(get(store, collection).await, Some(format!("{index} {collection}").into()));
            assert_eq!(store.scan(collection, "", None, 10).await.unwrap().keys, ["k"]);
            assert!(store.delete(collection, "k").await.unwrap());
        }
    }
}

#[tokio::test]
async fn the_inner_prefix_comes_first() {
    let shared = Arc::new(Memory::new());
    let inner = Prefixed::new(Arc::clone(&shared), "inner").unwrap();
    let outer = Prefixed::new(Limited::new(inner, 10).unwrap(), "outer").unwrap();
    put(&outer, "c", "value").await.unwrap();
    assert_eq!(get(&shared, "inner_outer_c").await, Some("value".into()));
    assert_eq!(outer.physical_collection("c"), "inner_outer_c");
    let pointer: Box<dyn KeyValue> = Box::new(outer);
    assert_eq!(pointer.physical_collection("c"), "inner_outer_c");
    let encrypted = encrypted(pointer, &Aes256Gcm::generate_key());
    assert_eq!(encrypted.physical_collection("c"), "inner_outer_c");
}

#[tokio::test]
async fn bad_prefixes_are_refused() {
    let longest = "p".repeat(Prefixed::<Memory>::MAX_PREFIX_BYTES);
    let too_long = format!("{longest}p");
    for prefix in ["", "A", "a_", "_", "a_b", "a1", "a-b", "a/", "é", " ", &too_long] {
        let error = Prefixed::new(Memory::new(), prefix).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{prefix:?}");
        assert_eq!(error.to_string(), "a prefix must be 1 to 31 of a-z");
    }
    let store = Prefixed::new(Memory::new(), &longest).unwrap();
    put(&store, &"c".repeat(limits::MAX_COLLECTION_BYTES / 2), "value").await.unwrap();
}

#[tokio::test]
async fn a_collection_that_gets_too_long_is_refused_by_name() {
    let store = Prefixed::new(Memory::new(), "prefix").unwrap();
    let room = limits::MAX_COLLECTION_BYTES - "prefix_".len();
    put(&store, &"c".repeat(room), "value").await.unwrap();
    let error = put(&store, &"c".repeat(room + 1), "value").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("prefix: give a shorter prefix"), "{error}");
}

/// Same deployment, same keys, same collection, same key: only the prefix differs.
#[tokio::test]
async fn a_value_copied_to_another_prefix_is_refused() {
    let shared = Arc::new(Memory::new());
    let key = Aes256Gcm::generate_key();
    let open = |prefix| encrypted(Prefixed::new(Arc::clone(&shared), prefix).unwrap(), &key);
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let live = open("live")
        .on_refused(move |collection| listener.lock().unwrap().push(collection.to_owned()));
    let staging = open("staging");
    put(&staging, "grants", "forged").await.unwrap();
    let copied = get(&shared, "staging_grants").await.unwrap();
    put(&shared, "live_grants", copied.clone()).await.unwrap();
    assert_eq!(get(&live, "grants").await, None);
    assert_eq!(live.refused(), 1);
    assert_eq!(*told.lock().unwrap(), ["grants"]);
    put(&shared, "grants", copied).await.unwrap();
    assert_eq!(get(&encrypted(shared, &key), "grants").await, None);
}

#[tokio::test]
async fn encrypting_is_outermost() {
    let key = Aes256Gcm::generate_key();
    let sealed = || encrypted(Memory::new(), &key);
    let pointer: Arc<dyn KeyValue> = Arc::new(sealed());
    let errors = [
        Prefixed::new(sealed(), "prefix").unwrap_err(),
        Prefixed::new(Box::new(sealed()), "prefix").unwrap_err(),
        Prefixed::new(Arc::clone(&pointer), "prefix").unwrap_err(),
        Limited::new(sealed(), 1000).unwrap_err(),
        Limited::new(pointer, 1000).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("goes inside Encrypted, not around it"), "{error}");
    }
}

#[tokio::test]
async fn a_limit_refuses_larger_values_and_changes_nothing() {
    let inner = Arc::new(Memory::new());
    let store = Limited::new(Arc::clone(&inner), 4).unwrap();
    let version = put(&store, "c", "1234").await.unwrap();
    let outcomes = [
        put(&store, "c", "12345").await.map(drop),
        store.put_if_absent("c", "new", "12345".into(), Ttl::Forever).await.map(drop),
        store.compare_and_swap("c", "k", version, "12345".into(), Ttl::Keep).await.map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(
            error.to_string(),
            "a value of 5 bytes is over the limit of 4: write less, or give Limited more"
        );
    }
    assert_eq!(inner.get("c", "k").await.unwrap().unwrap().version, version);
    assert_eq!(inner.get("c", "new").await.unwrap(), None);

    // What is larger already stays readable and removable.
    put(&inner, "c", "123456").await.unwrap();
    assert_eq!(get(&store, "c").await, Some("123456".into()));
    assert!(store.delete("c", "k").await.unwrap());
}

#[tokio::test]
async fn a_limit_counts_what_rests() {
    let inner = Limited::new(Memory::new(), 100).unwrap();
    let store = encrypted(inner, &Aes256Gcm::generate_key());
    put(&store, "c", vec![0; 43]).await.unwrap();
    let error = put(&store, "c", vec![0; 44]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().starts_with("a value of 101 bytes is over the limit of 100: "));
}

#[tokio::test]
async fn every_wrapper_closes_what_it_wraps() {
    type Store = Arc<Sqlite>;
    type Wrapper = fn(Store) -> Box<dyn KeyValue>;
    let wrappers: [(&str, Wrapper); 7] = [
        ("Encrypted", |store| Box::new(encrypted(store, &Aes256Gcm::generate_key()))),
        ("Prefixed", |store| Box::new(Prefixed::new(store, "prefix").unwrap())),
        ("Limited", |store| Box::new(Limited::new(store, 1000).unwrap())),
        ("Metered", |store| Box::new(Metered::new(store).unwrap())),
        ("Faulty", |store| Box::new(Faulty::new(store))),
        ("Box", |store| Box::new(Box::new(store))),
        ("Arc", |store| Box::new(Arc::new(store))),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (name, wrapper) in wrappers {
        let inner = Sqlite::open(directory.path().join(format!("{name}.sqlite"))).await.unwrap();
        let inner = Arc::new(inner);
        let store = wrapper(Arc::clone(&inner));
        put(&store, "c", "value").await.unwrap();
        store.close().await;
        for health in [inner.health().await, store.health().await] {
            assert_eq!(health.unwrap_err().kind(), ErrorKind::Unavailable, "{name}");
        }
    }
}
