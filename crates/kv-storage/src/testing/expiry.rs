//! What time does to records.

use std::time::Duration;

use super::{COLLECTION, Fixture, entries::read};
use crate::{KeyValue, Ttl, Version};

/// Short enough to wait for where time is real, long enough not to pass by chance.
const LIFE: Duration = Duration::from_secs(2);
const TTL: Ttl = Ttl::After(LIFE);

/// A second ttl that differs from the first by more than any precision.
const LONG_LIFE: Duration = Duration::from_secs(6);
const LONG_TTL: Ttl = Ttl::After(LONG_LIFE);

/// How much later than stated a record may be absent: stores round up to whole seconds.
const PRECISION: Duration = Duration::from_secs(1);

/// Reads see a record until its time has come, and no longer.
pub async fn an_expired_record_is_absent_to_reads(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "value".into(), TTL).await.unwrap();
    fixture.pass(LIFE / 2).await;
    assert_eq!(read(store, "k").await, Some("value".into()));
    fixture.pass(LIFE / 2 + PRECISION).await;
    assert_eq!(read(store, "k").await, None);
    assert_eq!(store.get_many(COLLECTION, &["k"]).await.unwrap(), [None]);
    assert_eq!(store.scan(COLLECTION, "", None, 10).await.unwrap().keys, Vec::<String>::new());
}

/// Nothing is removed where an expired record was.
pub async fn an_expired_record_is_absent_to_removals(fixture: &Fixture) {
    let store = fixture.store();
    for key in ["delete", "take", "compare"] {
        store.put(COLLECTION, key, "value".into(), TTL).await.unwrap();
    }
    let version = expired_version(fixture, "compare").await;
    assert!(!store.delete(COLLECTION, "delete").await.unwrap());
    assert_eq!(store.take(COLLECTION, "take").await.unwrap(), None);
    assert!(!store.compare_and_delete(COLLECTION, "compare", version).await.unwrap());
}

/// Neither a swap nor a new expiry brings an expired record back.
pub async fn an_expired_record_is_absent_to_swaps(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "value".into(), TTL).await.unwrap();
    let version = expired_version(fixture, "k").await;
    for ttl in [Ttl::Keep, TTL, Ttl::Forever] {
        let swapped = store.compare_and_swap(COLLECTION, "k", version, "new".into(), ttl).await;
        assert_eq!(swapped.unwrap(), None);
        assert_eq!(store.expire(COLLECTION, "k", ttl).await.unwrap(), None);
    }
    assert_eq!(read(store, "k").await, None);
}

/// An expired record does not keep a new one out.
pub async fn put_if_absent_replaces_an_expired_record(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "old".into(), TTL).await.unwrap();
    assert_eq!(store.put_if_absent(COLLECTION, "k", "new".into(), TTL).await.unwrap(), None);
    fixture.pass(LIFE + PRECISION).await;
    let made = store.put_if_absent(COLLECTION, "k", "new".into(), LONG_TTL).await.unwrap();
    assert!(made.is_some());
    fixture.pass(LIFE + PRECISION).await;
    assert_eq!(read(store, "k").await, Some("new".into()));
}

/// A record made with `Keep` never expires.
pub async fn a_new_record_has_no_expiry_to_keep(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "put", "value".into(), Ttl::Keep).await.unwrap();
    store.put_if_absent(COLLECTION, "absent", "value".into(), Ttl::Keep).await.unwrap();
    fixture.pass(LIFE + PRECISION).await;
    assert_eq!(read(store, "put").await, Some("value".into()));
    assert_eq!(read(store, "absent").await, Some("value".into()));
}

/// `Keep` neither lengthens nor lifts what was stated before.
pub async fn keep_keeps_the_expiry(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "put", "old".into(), TTL).await.unwrap();
    let version = store.put(COLLECTION, "swap", "old".into(), TTL).await.unwrap();
    store.put(COLLECTION, "expire", "old".into(), TTL).await.unwrap();
    store.put(COLLECTION, "forever", "old".into(), Ttl::Forever).await.unwrap();
    fixture.pass(LIFE / 2).await;
    store.put(COLLECTION, "put", "new".into(), Ttl::Keep).await.unwrap();
    store
        .compare_and_swap(COLLECTION, "swap", version, "new".into(), Ttl::Keep)
        .await
        .unwrap()
        .unwrap();
    store.expire(COLLECTION, "expire", Ttl::Keep).await.unwrap().unwrap();
    store.put(COLLECTION, "forever", "new".into(), Ttl::Keep).await.unwrap();
    assert_eq!(read(store, "put").await, Some("new".into()));
    assert_eq!(read(store, "swap").await, Some("new".into()));
    fixture.pass(LIFE / 2 + PRECISION).await;
    for key in ["put", "swap", "expire"] {
        assert_eq!(read(store, key).await, None, "{key}");
    }
    assert_eq!(read(store, "forever").await, Some("new".into()));
}

/// A record that is written with `Keep` where an expired one was is a new one.
pub async fn keep_does_not_revive_an_expiry(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "k", "old".into(), TTL).await.unwrap();
    fixture.pass(LIFE + PRECISION).await;
    store.put(COLLECTION, "k", "new".into(), Ttl::Keep).await.unwrap();
    assert_eq!(read(store, "k").await, Some("new".into()));
    fixture.pass(LIFE + PRECISION).await;
    assert_eq!(read(store, "k").await, Some("new".into()));
}

/// `put` with a duration or `Forever` replaces the expiry, shorter or longer.
pub async fn every_write_states_its_expiry(fixture: &Fixture) {
    let store = fixture.store();
    for (key, before) in [("lifted", TTL), ("longer", TTL), ("shorter", LONG_TTL)] {
        store.put(COLLECTION, key, "old".into(), before).await.unwrap();
    }
    store.put(COLLECTION, "given", "old".into(), Ttl::Forever).await.unwrap();
    let writes = [("lifted", Ttl::Forever), ("longer", LONG_TTL), ("shorter", TTL), ("given", TTL)];
    for (key, ttl) in writes {
        store.put(COLLECTION, key, "new".into(), ttl).await.unwrap();
    }
    fixture.pass(LIFE + PRECISION).await;
    for (key, present) in [("lifted", true), ("longer", true), ("shorter", false), ("given", false)]
    {
        assert_eq!(read(store, key).await.is_some(), present, "{key}");
    }
    fixture.pass(LONG_LIFE).await;
    assert!(read(store, "lifted").await.is_some());
    assert!(read(store, "longer").await.is_none());
}

/// `compare_and_swap` with a duration or `Forever` replaces the expiry.
pub async fn compare_and_swap_obeys_its_ttl(fixture: &Fixture) {
    let store = fixture.store();
    for (key, before, ttl) in
        [("lifted", TTL, Ttl::Forever), ("longer", TTL, LONG_TTL), ("shorter", Ttl::Forever, TTL)]
    {
        let version = store.put(COLLECTION, key, "old".into(), before).await.unwrap();
        let swapped = store.compare_and_swap(COLLECTION, key, version, "new".into(), ttl).await;
        assert!(swapped.unwrap().is_some());
    }
    fixture.pass(LIFE + PRECISION).await;
    for (key, present) in [("lifted", true), ("longer", true), ("shorter", false)] {
        assert_eq!(read(store, key).await.is_some(), present, "{key}");
    }
}

/// `expire` with a duration or `Forever` replaces the expiry.
pub async fn expire_obeys_its_ttl(fixture: &Fixture) {
    let store = fixture.store();
    for (key, before, ttl) in
        [("lifted", TTL, Ttl::Forever), ("longer", TTL, LONG_TTL), ("shorter", Ttl::Forever, TTL)]
    {
        store.put(COLLECTION, key, "value".into(), before).await.unwrap();
        assert!(store.expire(COLLECTION, key, ttl).await.unwrap().is_some());
    }
    fixture.pass(LIFE + PRECISION).await;
    for (key, present) in [("lifted", true), ("longer", true), ("shorter", false)] {
        assert_eq!(read(store, key).await.is_some(), present, "{key}");
    }
}

/// `expire` changes the version, by which swaps then go, and not the value.
pub async fn expire_keeps_the_value(fixture: &Fixture) {
    let store = fixture.store();
    let before = store.put(COLLECTION, "k", "value".into(), TTL).await.unwrap();
    let after = store.expire(COLLECTION, "k", LONG_TTL).await.unwrap().unwrap();
    assert_eq!(read(store, "k").await, Some("value".into()));
    let swap = |version| store.compare_and_swap(COLLECTION, "k", version, "new".into(), Ttl::Keep);
    assert_eq!(swap(before).await.unwrap(), None);
    assert!(swap(after).await.unwrap().is_some());
}

/// A duration of zero is valid: such a record was never there.
pub async fn zero_is_absent_at_once(fixture: &Fixture) {
    let store = fixture.store();
    let zero = Ttl::After(Duration::ZERO);
    store.put(COLLECTION, "put", "value".into(), zero).await.unwrap();
    assert!(store.put_if_absent(COLLECTION, "new", "value".into(), zero).await.unwrap().is_some());
    let version = store.put(COLLECTION, "swap", "value".into(), Ttl::Forever).await.unwrap();
    let swapped = store.compare_and_swap(COLLECTION, "swap", version, "new".into(), zero).await;
    assert!(swapped.unwrap().is_some());
    store.put(COLLECTION, "expire", "value".into(), Ttl::Forever).await.unwrap();
    assert!(store.expire(COLLECTION, "expire", zero).await.unwrap().is_some());
    for key in ["put", "new", "swap", "expire"] {
        assert_eq!(read(store, key).await, None, "{key}");
    }
}

/// A duration beyond what can be counted does not wrap around.
pub async fn the_longest_duration_never_ends(fixture: &Fixture) {
    let store = fixture.store();
    store.put(COLLECTION, "put", "value".into(), Ttl::After(Duration::MAX)).await.unwrap();
    store.put(COLLECTION, "expire", "value".into(), TTL).await.unwrap();
    store.expire(COLLECTION, "expire", Ttl::After(Duration::MAX)).await.unwrap().unwrap();
    fixture.pass(LIFE + PRECISION).await;
    assert_eq!(read(store, "put").await, Some("value".into()));
    assert_eq!(read(store, "expire").await, Some("value".into()));
}

/// A clock that is set back makes records live longer, by as much at most; it neither takes what is
/// live nor spoils what is written then. Tries it where the clock can be turned.
pub async fn a_clock_that_is_set_back_takes_nothing(fixture: &Fixture) {
    let Some(clock) = &fixture.clock else { return };
    let store = fixture.store();
    store.put(COLLECTION, "ended", "old".into(), TTL).await.unwrap();
    store.put(COLLECTION, "live", "value".into(), LONG_TTL).await.unwrap();
    clock.advance(LIFE + PRECISION);
    assert_eq!(read(store, "ended").await, None);

    clock.set_back(LIFE);
    // Whether it is still there is the store's affair, but all operations agree on it.
    let ended = read(store, "ended").await;
    assert!(ended.as_ref().is_none_or(|value| value == "old"));
    let made = store.put_if_absent(COLLECTION, "ended", "new".into(), TTL).await.unwrap();
    assert_eq!(made.is_some(), ended.is_none());
    assert_eq!(read(store, "live").await, Some("value".into()));
    store.put(COLLECTION, "since", "value".into(), TTL).await.unwrap();
    clock.advance(LIFE / 2);
    assert_eq!(read(store, "since").await, Some("value".into()));
    clock.advance(LIFE / 2 + PRECISION);
    assert_eq!(read(store, "since").await, None);
    assert_eq!(read(store, "ended").await, None);
    assert_eq!(read(store, "live").await, Some("value".into()));
    clock.advance(LONG_LIFE);
    assert_eq!(read(store, "live").await, None);
}

/// The version of a record that has expired by now.
async fn expired_version(fixture: &Fixture, key: &str) -> Version {
    let entry = fixture.store().get(COLLECTION, key).await.unwrap().unwrap();
    fixture.pass(LIFE + PRECISION).await;
    entry.version
}
