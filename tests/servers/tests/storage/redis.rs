//! kv-storage on Redis: single, Sentinel, Cluster.

mod access;
mod acl;
mod closing;
mod conformance;
mod failover;
mod layout;
mod listing;
mod outage;
mod processes;
mod storms;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl};
use test_servers::{Redis as Server, redis::resp::Reply};

/// How long servers may need to come round, on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Gives every store on a shared server a prefix of its own.
fn with_prefix(url: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}prefix=t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Writes a record under each key until it succeeds; what goes wrong meanwhile must be an outage.
async fn write_until_it_works(store: &Redis, keys: &[String]) {
    let deadline = Instant::now() + DEADLINE;
    for key in keys {
        while let Err(error) = store.put("afterwards", key, "value".into(), Ttl::Forever).await {
            let outage = [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown];
            assert!(outage.contains(&error.kind()), "{error}");
            assert!(Instant::now() < deadline, "it does not work again: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The slot of a key of Redis.
fn slot(node: &Server, key: &str) -> u16 {
    let Reply::Number(slot) = node.command(&["CLUSTER", "KEYSLOT", key]).unwrap() else { panic!() };
    slot.try_into().unwrap()
}
