//! Listing keys.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::{self, JoinSet};

use super::{COLLECTION, Fixture};
use crate::{KeyValue, Ttl};

/// Nothing comes of nothing.
pub async fn an_empty_collection_has_no_keys(fixture: &Fixture) {
    assert_eq!(scan(fixture, "", 10).await, BTreeSet::new());
}

/// All pages together hold every key, whatever their size.
pub async fn pages_hold_every_key(fixture: &Fixture) {
    let keys: BTreeSet<String> = (0..57).map(|index| format!("key/{index}")).collect();
    put_all(fixture, &keys).await;
    for limit in [1, 2, 10, 57, 1000] {
        assert_eq!(scan(fixture, "", limit).await, keys, "{limit} a page");
        assert_eq!(scan(fixture, "key/", limit).await, keys, "{limit} a page");
    }
}

/// A scan with limit zero does not stand still.
pub async fn a_limit_of_zero_still_gets_on(fixture: &Fixture) {
    let keys = BTreeSet::from(["a".into(), "b".into()]);
    put_all(fixture, &keys).await;
    assert_eq!(scan(fixture, "", 0).await, keys);
}

/// No character of a prefix is a wildcard, and only whole prefixes match.
pub async fn prefixes_are_literal(fixture: &Fixture) {
    let odd = ["%", "_", "*", "?", "[a]", "{a}", "\\", "a", "A", "ab", "b", "", "\0", "\u{10ffff}"];
    let keys = odd.map(|prefix| format!("{prefix}/1")).into();
    put_all(fixture, &keys).await;
    for prefix in odd {
        let prefix = format!("{prefix}/");
        assert_eq!(scan(fixture, &prefix, 3).await, BTreeSet::from([format!("{prefix}1")]));
    }
    assert_eq!(scan(fixture, "a", 3).await, BTreeSet::from(["a/1".into(), "ab/1".into()]));
    assert_eq!(scan(fixture, "c", 3).await, BTreeSet::new());
    assert_eq!(scan(fixture, "", 3).await, keys);
}

/// A prefix may end in any character.
pub async fn prefixes_are_not_only_ascii(fixture: &Fixture) {
    let keys = ["é", "éa", "ê", "e", "🔑1", "🔑2", "\u{7f}", "\u{80}"].map(String::from).into();
    put_all(fixture, &keys).await;
    assert_eq!(scan(fixture, "é", 1).await, BTreeSet::from(["é".into(), "éa".into()]));
    assert_eq!(scan(fixture, "🔑", 1).await, BTreeSet::from(["🔑1".into(), "🔑2".into()]));
    assert_eq!(scan(fixture, "\u{7f}", 1).await, BTreeSet::from(["\u{7f}".into()]));
}

/// A scan stays in its collection.
pub async fn other_collections_are_not_listed(fixture: &Fixture) {
    let store = fixture.store();
    store.put("conformanc", "before", "value".into(), Ttl::Forever).await.unwrap();
    store.put("conformance_", "after", "value".into(), Ttl::Forever).await.unwrap();
    store.put(COLLECTION, "own", "value".into(), Ttl::Forever).await.unwrap();
    assert_eq!(scan(fixture, "", 10).await, BTreeSet::from(["own".into()]));
}

/// Deleting and adding keys between the pages hides none of the others.
pub async fn keys_that_stay_are_found_while_others_change(fixture: &Fixture) {
    let store = fixture.store();
    let staying: BTreeSet<String> = (0..20).map(|index| format!("{index}/stays")).collect();
    let going: BTreeSet<String> = (0..20).map(|index| format!("{index}/goes")).collect();
    put_all(fixture, &staying).await;
    put_all(fixture, &going).await;
    let mut seen = BTreeSet::new();
    let mut cursor = None;
    loop {
        let page = store.scan(COLLECTION, "", cursor, 3).await.unwrap();
        for key in &page.keys {
            if going.contains(key) {
                store.delete(COLLECTION, key).await.unwrap();
                let new = format!("{key}/new");
                store.put(COLLECTION, &new, "value".into(), Ttl::Forever).await.unwrap();
            }
        }
        seen.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(seen.is_superset(&staying), "{seen:?}");
}

/// How many tasks write, and how many scan, at the same time.
const WRITERS: usize = 4;
const SCANNERS: usize = 4;

/// How often each of them scans everything.
const SCANS: usize = 5;

/// Far more pages than there are keys: a scan must end although others write.
const MANY_PAGES: usize = 10_000;

/// Several tasks that scan while several others write find every key that stays, even if its
/// record is rewritten all the time, and none that was gone before.
pub async fn scans_beside_writers_find_what_stays_and_nothing_that_is_gone(fixture: &Fixture) {
    let staying: BTreeSet<String> = (0..40).map(|index| format!("stays/{index}")).collect();
    let gone: BTreeSet<String> = (0..10).map(|index| format!("gone/{index}")).collect();
    put_all(fixture, &staying).await;
    put_all(fixture, &gone).await;
    for key in &gone {
        assert!(fixture.store().delete(COLLECTION, key).await.unwrap());
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, done) = (Arc::clone(fixture.store()), Arc::clone(&done));
        writers.spawn(async move {
            for round in (0..40).cycle() {
                let stays = format!("stays/{}", (round + 10 * writer) % 40);
                store.put(COLLECTION, &stays, "new".into(), Ttl::Forever).await.unwrap();
                // In turns ten more and ten fewer, which come before the others in some order.
                let key = format!("{}/{writer}", round % 10);
                if round / 10 % 2 == 0 {
                    store.put(COLLECTION, &key, "value".into(), Ttl::Forever).await.unwrap();
                } else {
                    assert!(store.delete(COLLECTION, &key).await.unwrap());
                }
                task::yield_now().await;
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    }
    let mut scanners = JoinSet::new();
    for scanner in 0..SCANNERS {
        let (store, staying) = (Arc::clone(fixture.store()), staying.clone());
        scanners.spawn(async move {
            for _ in 0..SCANS {
                let mut seen = BTreeSet::new();
                let mut cursor = None;
                for page in 0.. {
                    assert!(page < MANY_PAGES, "a scan does not end while others write");
                    let page = store.scan(COLLECTION, "", cursor, 3 + scanner).await.unwrap();
                    seen.extend(page.keys);
                    cursor = page.next;
                    if cursor.is_none() {
                        break;
                    }
                    task::yield_now().await;
                }
                assert!(seen.is_superset(&staying), "{seen:?}");
                assert!(!seen.iter().any(|key| key.starts_with("gone")), "{seen:?}");
            }
        });
    }
    let mut scanned = Vec::new();
    while let Some(ended) = scanners.join_next().await {
        scanned.push(ended);
    }
    done.store(true, Ordering::Relaxed);
    writers.join_all().await;
    for ended in scanned {
        ended.unwrap();
    }
}

async fn put_all(fixture: &Fixture, keys: &BTreeSet<String>) {
    for key in keys {
        fixture.store().put(COLLECTION, key, "value".into(), Ttl::Forever).await.unwrap();
    }
}

async fn scan(fixture: &Fixture, prefix: &str, limit: usize) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut cursor = None;
    loop {
        let page = fixture.store().scan(COLLECTION, prefix, cursor, limit).await.unwrap();
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            return keys;
        }
    }
}
