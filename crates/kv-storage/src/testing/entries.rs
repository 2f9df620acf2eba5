//! What the operations do to one record, time aside.

use std::collections::HashSet;

use bytes::Bytes;

use super::{COLLECTION, Fixture};
use crate::{ErrorKind, KeyValue, Result, Ttl, Version, limits};

/// A record that was never written is `None` to every operation.
pub async fn nothing_is_none(fixture: &Fixture) {
    let store = fixture.store();
    assert_eq!(store.get(COLLECTION, "k").await.unwrap(), None);
    assert_eq!(store.get_many(COLLECTION, &["k"]).await.unwrap(), [None]);
    assert_eq!(store.take(COLLECTION, "k").await.unwrap(), None);
    assert!(!store.delete(COLLECTION, "k").await.unwrap());
}

/// `get` gives the value and the version that `put` answered.
pub async fn what_was_put_is_read_back(fixture: &Fixture) {
    let store = fixture.store();
    let version = store.put(COLLECTION, "k", "value".into(), Ttl::Forever).await.unwrap();
    for _ in 0..2 {
        let entry = store.get(COLLECTION, "k").await.unwrap().unwrap();
        assert_eq!((&*entry.value, entry.version), (&b"value"[..], version));
    }
}

/// `put` writes over what is there.
pub async fn put_replaces(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "a longer first value".into(), Ttl::Forever).await.unwrap();
    let version = store.put(COLLECTION, "k", "second".into(), Ttl::Forever).await.unwrap();
    let entry = store.get(COLLECTION, "k").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.version), (&b"second"[..], version));
}

/// No two writes have the same version, whatever they are and even with equal values.
pub async fn every_write_draws_a_new_version(fixture: &Fixture) {
    let store = fixture.store();
    let value = || Bytes::from("same");
    let mut versions = Vec::new();
    for _ in 0..8 {
        versions.extend(store.put_if_absent(COLLECTION, "k", value(), Ttl::Forever).await.unwrap());
        versions.push(store.put(COLLECTION, "k", value(), Ttl::Keep).await.unwrap());
        let present = store.put(COLLECTION, "k", value(), Ttl::Forever).await.unwrap();
        versions.push(present);
        versions.extend(
            store.compare_and_swap(COLLECTION, "k", present, value(), Ttl::Keep).await.unwrap(),
        );
        versions.extend(store.expire(COLLECTION, "k", Ttl::Keep).await.unwrap());
        versions.extend(store.expire(COLLECTION, "k", Ttl::Forever).await.unwrap());
        assert_eq!(version(store, "k").await, versions.last().copied());
        assert!(store.delete(COLLECTION, "k").await.unwrap());
    }
    assert_eq!(versions.len(), 6 * 8, "every write answered a version");
    assert_eq!(versions.iter().collect::<HashSet<_>>().len(), versions.len());
}

/// A value may be empty or hold any bytes.
pub async fn values_are_opaque(fixture: &Fixture) {
    let store = fixture.store();
    let every_byte: Vec<u8> = (0..=255).collect();
    for value in [&b""[..], b"\0", b"\xff\xfe", b"{\"json\":true}", &every_byte] {
        let value = Bytes::copy_from_slice(value);
        store.put(COLLECTION, "k", value.clone(), Ttl::Forever).await.unwrap();
        assert_eq!(read(store, "k").await, Some(value));
    }
}

/// A value of [`limits::MAX_VALUE_BYTES`] is accepted, by wrappers too.
pub async fn the_largest_value_is_kept(fixture: &Fixture) {
    let store = fixture.store();
    let value = Bytes::from(vec![0xa5; limits::MAX_VALUE_BYTES]);
    store.put(COLLECTION, "k", value.clone(), Ttl::Forever).await.unwrap();
    assert_eq!(read(store, "k").await, Some(value));
}

/// Keys may be empty, odd or long, and are compared byte by byte.
pub async fn keys_are_any_text(fixture: &Fixture) {
    let store = fixture.store();
    let longest = "k".repeat(limits::MAX_KEY_BYTES);
    let almost_the_longest = format!("{}j", "k".repeat(limits::MAX_KEY_BYTES - 1));
    let keys = [
        "",
        " ",
        "k",
        "K",
        "k ",
        "k\0",
        "k\0k",
        "/",
        "..",
        "../k",
        "k/k",
        "%2e",
        "k:k",
        "*",
        "?",
        "[k]",
        "{k}",
        "'",
        "\"",
        "\\",
        "\n",
        "\r\n",
        "\u{e9}",
        "e\u{301}",
        "ключ",
        "鍵",
        "🔑",
        "\u{feff}k",
        &longest,
        &almost_the_longest,
    ];
    for (index, key) in keys.into_iter().enumerate() {
        let written = store
            .put_if_absent(COLLECTION, key, index.to_string().into(), Ttl::Forever)
            .await
            .unwrap();
        assert!(written.is_some(), "{key:?} is taken for another key");
    }
    for (index, key) in keys.into_iter().enumerate() {
        assert_eq!(read(store, key).await, Some(index.to_string().into()), "{key:?}");
        assert!(store.delete(COLLECTION, key).await.unwrap(), "{key:?}");
    }
}

/// The same key in two collections is two records.
pub async fn collections_are_separate(fixture: &Fixture) {
    let store = fixture.store();
    store.put("first", "k", "1".into(), Ttl::Forever).await.unwrap();
    store.put("second", "k", "2".into(), Ttl::Forever).await.unwrap();
    assert!(store.delete("first", "k").await.unwrap());
    assert_eq!(store.get("first", "k").await.unwrap(), None);
    assert_eq!(&*store.get("second", "k").await.unwrap().unwrap().value, b"2");
}

/// Every operation refuses a key beyond [`limits::MAX_KEY_BYTES`].
pub async fn long_keys_are_refused(fixture: &Fixture) {
    let store = fixture.store();
    let key = "k".repeat(limits::MAX_KEY_BYTES + 1);
    for outcome in every_operation(store, COLLECTION, &key, Bytes::new()).await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::TooLarge);
    }
}

/// Every write refuses a value beyond [`limits::MAX_STORED_BYTES`], says so in the words of
/// [`limits::check_value`], and changes nothing.
pub async fn large_values_are_refused(fixture: &Fixture) {
    let store = fixture.store();
    let present = store.put(COLLECTION, "k", "small".into(), Ttl::Forever).await.unwrap();
    let value = Bytes::from(vec![0; limits::MAX_STORED_BYTES + 1]);
    let outcomes = [
        store.put(COLLECTION, "k", value.clone(), Ttl::Forever).await.map(drop),
        store.put_if_absent(COLLECTION, "new", value.clone(), Ttl::Forever).await.map(drop),
        store.compare_and_swap(COLLECTION, "k", present, value, Ttl::Forever).await.map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let said = format!("of {} bytes is over the limit of ", limits::MAX_STORED_BYTES + 1);
        assert!(error.to_string().contains(&said), "{error}");
    }
    assert_eq!(version(store, "k").await, Some(present));
    assert_eq!(read(store, "new").await, None);
}

/// Every operation refuses a collection whose name is not of `[a-z_]+`.
pub async fn bad_collection_names_are_refused(fixture: &Fixture) {
    let store = fixture.store();
    let long = "c".repeat(limits::MAX_COLLECTION_BYTES + 1);
    for collection in ["", "Upper", "digit1", "a-b", "a b", "a/b", "é", &long] {
        for outcome in every_operation(store, collection, "k", Bytes::new()).await {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Misconfigured, "{collection:?}");
        }
    }
}

/// `get_many` answers in the order of the keys, repeated and absent ones included.
pub async fn get_many_keeps_the_order(fixture: &Fixture) {
    let store = fixture.store();
    for key in ["a", "b", "c"] {
        store.put(COLLECTION, key, key.into(), Ttl::Forever).await.unwrap();
    }
    let keys = ["c", "absent", "a", "c", "b"];
    let found = store.get_many(COLLECTION, &keys).await.unwrap();
    let values: Vec<_> = found.into_iter().map(|entry| entry.map(|entry| entry.value)).collect();
    let expected = ["c", "", "a", "c", "b"].map(|key| (!key.is_empty()).then(|| key.into()));
    assert_eq!(values, expected);
    assert_eq!(store.get_many(COLLECTION, &[]).await.unwrap(), []);
}

/// `delete` removes the record and tells whether there was one.
pub async fn delete_says_whether_there_was_something(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "value".into(), Ttl::Forever).await.unwrap();
    assert!(store.delete(COLLECTION, "k").await.unwrap());
    assert_eq!(read(store, "k").await, None);
    assert!(!store.delete(COLLECTION, "k").await.unwrap());
}

/// `take` gives what `get` would, once.
pub async fn take_reads_and_removes(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "value".into(), Ttl::Forever).await.unwrap();
    let entry = store.get(COLLECTION, "k").await.unwrap();
    assert_eq!(store.take(COLLECTION, "k").await.unwrap(), entry);
    assert_eq!(store.take(COLLECTION, "k").await.unwrap(), None);
    assert_eq!(read(store, "k").await, None);
}

/// `put_if_absent` leaves what is there alone.
pub async fn put_if_absent_writes_once(fixture: &Fixture) {
    let store = fixture.store();
    let first = store.put_if_absent(COLLECTION, "k", "1".into(), Ttl::Forever).await.unwrap();
    assert_eq!(version(store, "k").await, first);
    let second = store.put_if_absent(COLLECTION, "k", "2".into(), Ttl::Forever).await.unwrap();
    assert_eq!(second, None);
    assert_eq!(read(store, "k").await, Some("1".into()));
    store.delete(COLLECTION, "k").await.unwrap();
    let third = store.put_if_absent(COLLECTION, "k", "3".into(), Ttl::Forever).await.unwrap();
    assert_eq!(version(store, "k").await, third);
}

/// `compare_and_swap` replaces the very record of that version; a failed one changes nothing.
pub async fn compare_and_swap_needs_the_version(fixture: &Fixture) {
    let store = fixture.store();
    let first = store.put(COLLECTION, "k", "1".into(), Ttl::Forever).await.unwrap();
    let second = store.compare_and_swap(COLLECTION, "k", first, "2".into(), Ttl::Keep).await;
    let second = second.unwrap().unwrap();
    for ttl in [Ttl::Keep, Ttl::Forever] {
        let again = store.compare_and_swap(COLLECTION, "k", first, "3".into(), ttl).await;
        assert_eq!(again.unwrap(), None);
    }
    let entry = store.get(COLLECTION, "k").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.version), (&b"2"[..], second));
}

/// `compare_and_swap` on an absent key fails, whatever the version, and makes nothing.
pub async fn compare_and_swap_never_creates(fixture: &Fixture) {
    let store = fixture.store();
    let deleted = store.put(COLLECTION, "k", "1".into(), Ttl::Forever).await.unwrap();
    store.delete(COLLECTION, "k").await.unwrap();
    for expected in [deleted, Version::from_bytes([0; 16]), Version::random().unwrap()] {
        for ttl in [Ttl::Keep, Ttl::Forever] {
            let swapped = store.compare_and_swap(COLLECTION, "k", expected, "2".into(), ttl).await;
            assert_eq!(swapped.unwrap(), None);
        }
    }
    assert_eq!(read(store, "k").await, None);
}

/// `compare_and_delete` removes the very record of that version only.
pub async fn compare_and_delete_needs_the_version(fixture: &Fixture) {
    let store = fixture.store();
    let first = store.put(COLLECTION, "k", "1".into(), Ttl::Forever).await.unwrap();
    let second = store.put(COLLECTION, "k", "2".into(), Ttl::Forever).await.unwrap();
    assert!(!store.compare_and_delete(COLLECTION, "k", first).await.unwrap());
    assert_eq!(version(store, "k").await, Some(second));
    assert!(store.compare_and_delete(COLLECTION, "k", second).await.unwrap());
    assert_eq!(read(store, "k").await, None);
    assert!(!store.compare_and_delete(COLLECTION, "k", second).await.unwrap());
}

/// The version of a record that was deleted and made anew, with the same value, is stale.
pub async fn a_version_does_not_outlive_its_record(fixture: &Fixture) {
    let store = fixture.store();
    let old = store.put(COLLECTION, "k", "same".into(), Ttl::Forever).await.unwrap();
    store.delete(COLLECTION, "k").await.unwrap();
    store.put(COLLECTION, "k", "same".into(), Ttl::Forever).await.unwrap();
    let swapped = store.compare_and_swap(COLLECTION, "k", old, "new".into(), Ttl::Forever).await;
    assert_eq!(swapped.unwrap(), None);
    assert!(!store.compare_and_delete(COLLECTION, "k", old).await.unwrap());
    assert_eq!(read(store, "k").await, Some("same".into()));
}

/// `expire` on an absent key makes nothing.
pub async fn expire_needs_a_record(fixture: &Fixture) {
    let store = fixture.store();
    for ttl in [Ttl::Keep, Ttl::Forever] {
        assert_eq!(store.expire(COLLECTION, "k", ttl).await.unwrap(), None);
    }
    assert_eq!(read(store, "k").await, None);
}

/// A store that works says so.
pub async fn health_is_good(fixture: &Fixture) {
    fixture.store().health().await.unwrap();
}

/// A store that was closed fails every operation with the same kind of error, if it held anything
/// that it could let go of (see [`Fixture::with_closing`]); closing it once more changes nothing.
pub async fn closing_is_final(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "value".into(), Ttl::Forever).await.unwrap();
    store.close().await;
    store.close().await;
    let outcomes = every_operation(store, COLLECTION, "k", "new".into()).await;
    let health = store.health().await;
    let closed = health.is_err();
    assert!(closed || !fixture.closing, "closing does not reach the store");
    for outcome in outcomes.into_iter().chain([health]) {
        match outcome {
            Ok(()) => assert!(!closed, "some operations go on"),
            Err(error) => {
                assert!(closed, "some operations fail: {error}");
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            }
        }
    }
}

pub(super) async fn read(store: &impl KeyValue, key: &str) -> Option<Bytes> {
    store.get(COLLECTION, key).await.unwrap().map(|entry| entry.value)
}

async fn version(store: &impl KeyValue, key: &str) -> Option<Version> {
    store.get(COLLECTION, key).await.unwrap().map(|entry| entry.version)
}

async fn every_operation(
    store: &impl KeyValue,
    collection: &str,
    key: &str,
    value: Bytes,
) -> [Result<()>; 10] {
    let version = Version::from_bytes([0; 16]);
    let ttl = Ttl::Forever;
    [
        store.get(collection, key).await.map(drop),
        store.get_many(collection, &[key]).await.map(drop),
        store.put(collection, key, value.clone(), ttl).await.map(drop),
        store.put_if_absent(collection, key, value.clone(), ttl).await.map(drop),
        store.compare_and_swap(collection, key, version, value, ttl).await.map(drop),
        store.compare_and_delete(collection, key, version).await.map(drop),
        store.delete(collection, key).await.map(drop),
        store.take(collection, key).await.map(drop),
        store.expire(collection, key, ttl).await.map(drop),
        store.scan(collection, key, None, 1).await.map(drop),
    ]
}
