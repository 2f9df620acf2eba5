//! Many tasks at one record.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{COLLECTION, Fixture, entries::read};
use crate::{KeyValue, Ttl, Version};

/// Of many `take`s, one gets the record.
pub async fn take_has_one_winner(fixture: &Fixture) {
    for round in 0..fixture.rounds() {
        let key = format!("take/{round}");
        put(fixture, &key).await;
        let taken = fixture
            .race(|store, _| {
                let key = key.clone();
                async move { store.take(COLLECTION, &key).await.unwrap().is_some() }
            })
            .await;
        assert_eq!(winners(taken), 1);
    }
}

/// Of many `delete`s, one removes the record.
pub async fn delete_has_one_winner(fixture: &Fixture) {
    for round in 0..fixture.rounds() {
        let key = format!("delete/{round}");
        put(fixture, &key).await;
        let deleted = fixture
            .race(|store, _| {
                let key = key.clone();
                async move { store.delete(COLLECTION, &key).await.unwrap() }
            })
            .await;
        assert_eq!(winners(deleted), 1);
    }
}

/// Of many `put_if_absent`s, one writes, and its value stays.
pub async fn put_if_absent_has_one_winner(fixture: &Fixture) {
    for round in 0..fixture.rounds() {
        put_if_absent_race(fixture, format!("absent/{round}")).await;
    }
}

/// The same where an expired record lies.
pub async fn put_if_absent_over_an_expired_record_has_one_winner(fixture: &Fixture) {
    let life = Duration::from_secs(1);
    for round in 0..fixture.rounds() {
        let key = format!("expired/{round}");
        let value = Bytes::from("old");
        fixture.store().put(COLLECTION, &key, value, Ttl::After(life)).await.unwrap();
    }
    fixture.pass(2 * life).await;
    for round in 0..fixture.rounds() {
        put_if_absent_race(fixture, format!("expired/{round}")).await;
    }
}

async fn put_if_absent_race(fixture: &Fixture, key: String) {
    let written = fixture
        .race(|store, index| {
            let key = key.clone();
            async move {
                let value = index.to_string().into();
                let written = store.put_if_absent(COLLECTION, &key, value, Ttl::Forever).await;
                written.unwrap().map(|_| Bytes::from(index.to_string()))
            }
        })
        .await;
    let winning: Vec<_> = written.into_iter().flatten().collect();
    assert_eq!(winning.len(), 1);
    assert_eq!(read(fixture.store(), &key).await.as_ref(), winning.first());
}

/// Of many swaps of one version, one succeeds, and its value stays.
pub async fn compare_and_swap_has_one_winner(fixture: &Fixture) {
    for round in 0..fixture.rounds() {
        let key = format!("swap/{round}");
        let expected = put(fixture, &key).await;
        let swapped = fixture
            .race(|store, index| {
                let key = key.clone();
                async move {
                    // Each kind of ttl takes another way through a wrapper.
                    let ttl = if index % 2 == 0 { Ttl::Keep } else { Ttl::Forever };
                    let value = Bytes::from(index.to_string());
                    let swap =
                        store.compare_and_swap(COLLECTION, &key, expected, value.clone(), ttl);
                    swap.await.unwrap().map(|_| value)
                }
            })
            .await;
        let winning: Vec<_> = swapped.into_iter().flatten().collect();
        assert_eq!(winning.len(), 1);
        assert_eq!(read(fixture.store(), &key).await.as_ref(), winning.first());
    }
}

/// Of many removals of one version, one succeeds.
pub async fn compare_and_delete_has_one_winner(fixture: &Fixture) {
    for round in 0..fixture.rounds() {
        let key = format!("compare/{round}");
        let expected = put(fixture, &key).await;
        let deleted = fixture
            .race(|store, _| {
                let key = key.clone();
                async move { store.compare_and_delete(COLLECTION, &key, expected).await.unwrap() }
            })
            .await;
        assert_eq!(winners(deleted), 1);
    }
}

/// Operations of different kinds that all need one version have one winner among them.
pub async fn swap_and_delete_and_take_have_one_winner(fixture: &Fixture) {
    for round in 0..fixture.rounds() {
        let key = format!("mixed/{round}");
        let expected = put(fixture, &key).await;
        let succeeded = fixture
            .race(|store, index| {
                let key = key.clone();
                async move {
                    match index % 3 {
                        0 => store
                            .compare_and_swap(COLLECTION, &key, expected, "new".into(), Ttl::Keep)
                            .await
                            .unwrap()
                            .is_some(),
                        1 => store.compare_and_delete(COLLECTION, &key, expected).await.unwrap(),
                        _ => {
                            let taken = store.take(COLLECTION, &key).await.unwrap();
                            taken.is_some_and(|entry| entry.version == expected)
                        }
                    }
                }
            })
            .await;
        assert_eq!(winners(succeeded), 1);
    }
}

/// Every task counts up by one, starting over when another was faster: none is lost.
pub async fn counting_by_compare_and_swap_loses_nothing(fixture: &Fixture) {
    fixture.store().put(COLLECTION, "count", "0".into(), Ttl::Forever).await.unwrap();
    let counted = fixture.race(|store, _| count_up(store)).await;
    let sum = counted.len().to_string();
    assert_eq!(read(fixture.store(), "count").await, Some(sum.into()));
}

async fn count_up(store: Arc<dyn KeyValue>) {
    loop {
        let entry = store.get(COLLECTION, "count").await.unwrap().unwrap();
        let count: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let next = Bytes::from((count + 1).to_string());
        // Lets others in between, which on a fast store hardly happens by itself.
        tokio::task::yield_now().await;
        let swap = store.compare_and_swap(COLLECTION, "count", entry.version, next, Ttl::Keep);
        if swap.await.unwrap().is_some() {
            return;
        }
    }
}

/// `Keep` and `expire` may have to read first, but succeed however many there are.
pub async fn writers_that_keep_the_expiry_all_succeed(fixture: &Fixture) {
    put(fixture, "keep").await;
    fixture
        .race(|store, index| async move {
            if index % 2 == 0 {
                store.put(COLLECTION, "keep", index.to_string().into(), Ttl::Keep).await.unwrap();
            } else {
                store.expire(COLLECTION, "keep", Ttl::Keep).await.unwrap().unwrap();
            }
        })
        .await;
    assert!(read(fixture.store(), "keep").await.is_some());
}

/// A read sees one write whole: never a part of it, nor parts of two.
pub async fn values_are_never_torn(fixture: &Fixture) {
    let value =
        |index: usize| Bytes::from(vec![u8::try_from(index % 251).unwrap(); 10_000 + index]);
    fixture.store().put(COLLECTION, "whole", value(0), Ttl::Forever).await.unwrap();
    fixture
        .race(|store, index| async move {
            if index % 4 == 0 {
                store.put(COLLECTION, "whole", value(index), Ttl::Forever).await.unwrap();
            }
            let read = read(&store, "whole").await.unwrap();
            assert_eq!(read, value(read.len() - 10_000));
        })
        .await;
}

async fn put(fixture: &Fixture, key: &str) -> Version {
    fixture.store().put(COLLECTION, key, "value".into(), Ttl::Forever).await.unwrap()
}

fn winners(succeeded: Vec<bool>) -> usize {
    succeeded.into_iter().filter(|&won| won).count()
}
