//! Records that this crate has not written.

use kv_storage::{ErrorKind, KeyValue, Ttl, Version};

/// The keys, in the collection `c`, under which a test plants what cannot be read.
pub(crate) const KEYS: [&str; 4] = ["deleted", "kept", "put", "taken"];

/// Only what is meant to remove or replace a record touches one that cannot be read, and
/// [`take`](KeyValue::take) is among it.
pub(crate) async fn go_when_they_are_taken(store: &dyn KeyValue) {
    for key in KEYS {
        let kind = store.get("c", key).await.unwrap_err().kind();
        assert_eq!(kind, ErrorKind::Corrupt, "{key}");
    }
    assert!(store.delete("c", "deleted").await.unwrap());
    let put = store.put("c", "put", "value".into(), Ttl::Keep).await.unwrap();
    let taken = store.take("c", "taken").await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Corrupt, "{taken}");
    assert_eq!(store.get("c", "deleted").await.unwrap(), None);
    assert_eq!(store.get("c", "put").await.unwrap().unwrap().version, put);
    assert_eq!(store.get("c", "taken").await.unwrap(), None, "it can be redeemed by nobody");
    assert_eq!(store.take("c", "taken").await.unwrap(), None);

    let (value, other) = (|| "value".into(), Version::from_bytes([0; 16]));
    let expired = store.expire("c", "kept", Ttl::Forever).await;
    assert_eq!(expired.unwrap_err().kind(), ErrorKind::Corrupt);
    // Whether it is the record of no version or an error, it is not written.
    for outcome in [
        store.put_if_absent("c", "kept", value(), Ttl::Forever).await,
        store.compare_and_swap("c", "kept", other, value(), Ttl::Forever).await,
        store.compare_and_delete("c", "kept", other).await.map(|done| done.then_some(other)),
    ] {
        match outcome {
            Ok(written) => assert_eq!(written, None),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
    }
    assert_eq!(store.get("c", "kept").await.unwrap_err().kind(), ErrorKind::Corrupt);
}
