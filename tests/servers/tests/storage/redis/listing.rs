//! Listings while servers are restarted, slots move and tables grow.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kv_storage::{Cursor, ErrorKind, KeyValue, Page, Redis, Ttl};
use test_servers::{Redis as Server, RedisCluster};
use tokio::task::JoinSet;

use super::DEADLINE;

/// More pages than any listing of these tests needs, however often it goes over everything.
const PAGES: usize = 200;

/// Lists what is left, page by page.
async fn list(store: &Redis, mut cursor: Option<Cursor>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for _ in 0..PAGES {
        let Some(next) = cursor else { return seen };
        let page = page(store, next).await;
        seen.extend(page.keys);
        cursor = page.next;
    }
    panic!("the listing does not end");
}

/// The same page again, until the servers agree on who has the slots.
async fn page(store: &Redis, cursor: Cursor) -> Page {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match store.scan("many", "", Some(cursor.clone()), 10).await {
            Ok(page) => return page,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A server that was restarted lists its keys in another order, and its old cursors lie.
#[tokio::test]
async fn a_scan_outlives_a_restart() {
    let mut server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    let keys: BTreeSet<String> = (0..500).map(|index| index.to_string()).collect();
    for key in &keys {
        store.put("many", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    let page = store.scan("many", "", None, 50).await.unwrap();
    server.restart().unwrap();
    let mut seen = list(&store, page.next).await;
    seen.extend(page.keys);
    assert_eq!(seen, keys);
}

/// A cluster, of which one master is listed already, and keys of one slot at another.
struct Listing {
    cluster: RedisCluster,
    store: Redis,
    slot: u16,
    /// The position of the master that is listed already.
    listed: usize,
    keys: BTreeSet<String>,
    next: Option<Cursor>,
}

impl Listing {
    async fn start(before: impl FnOnce(&RedisCluster, u16, usize)) -> Self {
        let mut cluster = RedisCluster::start().unwrap();
        let store = Redis::open(&cluster.url()).await.unwrap();
        let masters = cluster.masters();
        // They are listed in the order of their addresses.
        let listed = (0..masters).min_by_key(|&position| cluster.node(position).port()).unwrap();
        let home = (listed + 1) % masters;
        let tagged = |tag: u32| (tag, super::slot(cluster.node(0), &format!("kv:many:{{{tag}}}")));
        let tags: Vec<_> = (0..100).map(tagged).collect();
        let at_home = |&(_, slot): &(u32, u16)| cluster.master_of(slot) == home;
        let (tag, slot) = tags.into_iter().find(at_home).unwrap();
        let keys: BTreeSet<String> = (0..30).map(|index| format!("{{{tag}}}{index}")).collect();
        for key in &keys {
            store.put("many", key, "value".into(), Ttl::Forever).await.unwrap();
        }
        before(&cluster, slot, listed);
        let page = store.scan("many", "", None, 10).await.unwrap();
        assert_eq!(page.keys, Vec::<String>::new(), "the first master has none");
        Self { cluster, store, slot, listed, keys, next: page.next }
    }

    /// Nothing but listing tells the store what has moved.
    async fn finish(self) {
        assert_eq!(list(&self.store, self.next).await, self.keys);
    }
}

#[tokio::test]
async fn a_slot_that_moves_to_where_was_listed_already_is_listed() {
    let listing = Listing::start(|_, _, _| {}).await;
    listing.cluster.begin_move(listing.slot, listing.listed).unwrap();
    listing.cluster.end_move(listing.slot, listing.listed).unwrap();
    listing.finish().await;
}

/// The slot is on its way before the first page and after the last.
#[tokio::test]
async fn keys_of_a_slot_that_is_on_its_way_all_the_time_are_listed() {
    let listing = Listing::start(|cluster, slot, to| cluster.begin_move(slot, to).unwrap()).await;
    listing.cluster.move_keys(listing.slot, listing.listed, 20).unwrap();
    listing.finish().await;
}

/// Another master than before, with the same slots, is listed from its first key.
#[tokio::test]
async fn a_listing_goes_on_at_a_replica_that_took_over() {
    let mut listing = Listing::start(|_, _, _| {}).await;
    let home = listing.cluster.master_of(listing.slot);
    let replica = listing.cluster.masters() + home;
    listing.cluster.node(replica).command(&["CLUSTER", "FAILOVER", "TAKEOVER"]).unwrap();
    listing.cluster.wait_for_failover(home).unwrap();
    listing.finish().await;
}

/// Redis moves its keys to a table of another size while writers make and remove records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_grows_and_shrinks_hides_no_key() {
    let server = Server::start().unwrap();
    let store = Arc::new(Redis::open(&server.url()).await.unwrap());
    // Few beside those that come and go: the table shrinks once nine in ten places are free.
    let keys: BTreeSet<String> = (0..100).map(|index| index.to_string()).collect();
    for key in &keys {
        store.put("many", key, "value".into(), Ttl::Forever).await.unwrap();
    }
    let writer = Arc::clone(&store);
    let (begun, mut sizes) = tokio::sync::watch::channel(0_usize);
    let writing = tokio::spawn(async move {
        for round in 0.. {
            let mut puts = JoinSet::new();
            for index in 0..1100 {
                let writer = Arc::clone(&writer);
                puts.spawn(async move {
                    let key = index.to_string();
                    writer.put("others", &key, "value".into(), Ttl::Forever).await.unwrap();
                    key
                });
            }
            let mut deletes = JoinSet::new();
            for key in puts.join_all().await {
                let writer = Arc::clone(&writer);
                deletes.spawn(async move { writer.delete("others", &key).await.unwrap() });
            }
            deletes.join_all().await;
            if begun.send(round + 1).is_err() {
                break;
            }
        }
    });
    // Pages of listings are spread over several rounds of growing and shrinking.
    while *sizes.borrow_and_update() < 2 {
        let page = store.scan("many", "", None, 10).await.unwrap();
        let mut seen = list(&store, page.next).await;
        seen.extend(page.keys);
        assert_eq!(seen, keys);
    }
    drop(sizes);
    writing.await.unwrap();
}
