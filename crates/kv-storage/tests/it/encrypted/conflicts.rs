//! Others who write in between whenever an operation has read and is about to write.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::FutureExt;
use kv_storage::{
    Aes256Gcm, Encrypted, Error, ErrorKind, Fernet, KeyValue, Memory, Result, Ttl,
    testing::{Fault, Faulty, Moment, Operation},
};

use super::{DEPLOYMENT, Ring};

/// How often an operation starts over, as `Encrypted` documents.
const ROUNDS: usize = 128;

/// A store in which somebody else writes before every write of ours, so many times.
struct Busy<C> {
    bare: Arc<Memory>,
    store: Encrypted<Faulty<Arc<Memory>>, C>,
    disturbed: Arc<AtomicUsize>,
}

impl<C: Ring> Busy<C> {
    fn new(times: usize) -> Self {
        let bare = Arc::new(Memory::new());
        let faulty = Faulty::new(Arc::clone(&bare));
        let disturbed = Arc::new(AtomicUsize::new(0));
        let (other, count) = (Arc::clone(&bare), Arc::clone(&disturbed));
        let disturb = Fault::run(Moment::Before, move |call| {
            count.fetch_add(1, Ordering::Relaxed);
            // What is there, under another version.
            let touch = other.expire(call.collection, call.key, Ttl::Keep);
            touch.now_or_never().unwrap().unwrap().unwrap();
        });
        faulty.faults().inject(disturb.on(Operation::CompareAndSwap).times(times));
        let store = Encrypted::new(faulty, C::ring(&[Fernet::generate_key()]), DEPLOYMENT);
        Self { bare, store, disturbed }
    }

    /// Each operation that reads before it writes, by itself.
    async fn rewrite(&self, which: &str) -> Result<()> {
        let store = &self.store;
        match which {
            "put" => store.put("c", "k", "new".into(), Ttl::Keep).await.map(drop),
            "expire" => store.expire("c", "k", Ttl::Forever).await.map(drop),
            _ => {
                self.bare.put("c", "k", "planted".into(), Ttl::Forever).await.unwrap();
                let written = store.put_if_absent("c", "k", "new".into(), Ttl::Forever).await;
                written.map(|written| assert!(written.is_some()))
            }
        }
    }
}

const REWRITES: [&str; 3] = ["put", "expire", "put_if_absent"];

pub(super) async fn others_who_always_write_in_between_are_a_conflict<C: Ring>() {
    for which in REWRITES {
        let busy = Busy::<C>::new(usize::MAX);
        busy.store.put("c", "k", "old".into(), Ttl::Forever).await.unwrap();
        let error: Error = busy.rewrite(which).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{which}");
        assert_eq!(
            error.to_string(),
            "rewrite an encrypted record: other writers kept getting in between"
        );
        assert_eq!(busy.disturbed.load(Ordering::Relaxed), ROUNDS, "{which}");
        let left = busy.store.get("c", "k").await.unwrap().map(|entry| entry.value);
        let expected = (which != "put_if_absent").then(|| "old".into());
        assert_eq!(left, expected, "{which} changed nothing");
    }
}

pub(super) async fn whoever_is_left_alone_in_the_last_round_succeeds<C: Ring>() {
    for which in REWRITES {
        let busy = Busy::<C>::new(ROUNDS - 1);
        busy.store.put("c", "k", "old".into(), Ttl::Forever).await.unwrap();
        busy.rewrite(which).await.unwrap();
        assert_eq!(busy.disturbed.load(Ordering::Relaxed), ROUNDS - 1, "{which}");
        let left = busy.store.get("c", "k").await.unwrap().unwrap().value;
        assert_eq!(left, if which == "expire" { "old" } else { "new" });
    }
}

/// A canary that is there whenever one is to be made, and gone whenever it is to be read.
#[tokio::test]
async fn a_canary_that_comes_and_goes_is_a_conflict() {
    let bare = Arc::new(Memory::new());
    let faulty = Faulty::new(Arc::clone(&bare));
    let (coming, going) = (Arc::clone(&bare), Arc::clone(&bare));
    let come = Fault::run(Moment::Before, move |call| {
        let put = coming.put(call.collection, call.key, "canary".into(), Ttl::Forever);
        put.now_or_never().unwrap().unwrap();
    });
    let go = Fault::run(Moment::Before, move |call| {
        going.delete(call.collection, call.key).now_or_never().unwrap().unwrap();
    });
    faulty.faults().inject(come.on(Operation::PutIfAbsent));
    faulty.faults().inject(go.on(Operation::Get));
    let cipher = Aes256Gcm::ring(&[Fernet::generate_key()]);
    let error = Encrypted::new(faulty, cipher, DEPLOYMENT).check_keys().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().starts_with("check the storage keys"), "{error}");
}
