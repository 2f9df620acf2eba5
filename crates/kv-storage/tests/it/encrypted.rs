//! What `Encrypted` defends against, and its keys: the same cases for every cipher.

mod conflicts;
mod warnings;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_storage::{
    Aes256Gcm, Cipher, Encrypted, ErrorKind, Fernet, KeyValue, Memory, Protected, SealedWith, Ttl,
    limits, testing::TestClock,
};
use secrecy::{ExposeSecret, SecretString};

use self::{
    conflicts::{
        others_who_always_write_in_between_are_a_conflict,
        whoever_is_left_alone_in_the_last_round_succeeds,
    },
    warnings::{
        a_refused_value_is_logged_without_what_is_secret, what_is_absent_or_expired_is_not_logged,
    },
};

const DEPLOYMENT: &str = "https://issuer.example";

/// A cipher with a ring of keys.
trait Ring: Cipher + Sized {
    fn ring(keys: &[SecretString]) -> Self;
}

impl Ring for Fernet {
    fn ring(keys: &[SecretString]) -> Self {
        Self::new(keys).unwrap()
    }
}

impl Ring for Aes256Gcm {
    fn ring(keys: &[SecretString]) -> Self {
        Self::new(keys).unwrap()
    }
}

/// Makes a test of every case for a cipher.
macro_rules! cases {
    ($($module:ident: $cipher:ident),+) => {$(
        mod $module {
            use super::*;

            cases! { @tests $cipher:
                a_value_copied_to_another_key_is_refused,
                a_value_copied_to_another_collection_is_refused,
                another_deployment_s_value_is_refused,
                a_planted_plaintext_is_refused,
                a_truncated_or_garbled_value_is_refused,
                a_value_sealed_with_another_key_is_refused,
                another_cipher_s_value_is_refused,
                lengthening_the_outer_expiry_does_not_revive_a_record,
                a_version_is_as_good_as_when_it_was_read,
                a_refused_value_is_logged_without_what_is_secret,
                what_is_absent_or_expired_is_not_logged,
                others_who_always_write_in_between_are_a_conflict,
                whoever_is_left_alone_in_the_last_round_succeeds,
                the_limit_is_the_caller_s_value_not_its_envelope,
                the_canary_stops_foreign_keys_and_lets_the_right_ones_pass,
                the_canary_stops_another_cipher,
                the_canary_follows_the_ring,
                the_first_processes_may_check_at_the_same_time,
                records_outlive_the_rotation_of_keys,
                protected_stores_are_taken_by_name_or_pointer,
                debug_shows_neither_keys_nor_values
            }
        }
    )+};
    (@tests $cipher:ident: $($case:ident),+) => {$(
        #[tokio::test]
        async fn $case() {
            super::$case::<$cipher>().await;
        }
    )+};
}

cases! { with_fernet: Fernet, with_aes_gcm: Aes256Gcm }

/// A store as an attacker sees it who can write to the database, and our view of it.
struct Scene<C> {
    clock: TestClock,
    bare: Arc<Memory>,
    key: SecretString,
    store: Encrypted<Arc<Memory>, C>,
}

impl<C: Ring> Scene<C> {
    fn new() -> Self {
        let clock = TestClock::new();
        let bare = Arc::new(Memory::builder().clock(clock.clock()).build());
        let key = Fernet::generate_key();
        let store = open(&bare, std::slice::from_ref(&key), DEPLOYMENT, &clock);
        Self { clock, bare, key, store }
    }

    fn with(&self, keys: &[SecretString], deployment: &str) -> Encrypted<Arc<Memory>, C> {
        open(&self.bare, keys, deployment, &self.clock)
    }

    async fn put(&self, collection: &str, key: &str) {
        let ttl = Ttl::After(Duration::from_mins(1));
        self.store.put(collection, key, "secret".into(), ttl).await.unwrap();
    }

    async fn stored(&self, collection: &str, key: &str) -> Bytes {
        self.bare.get(collection, key).await.unwrap().unwrap().value
    }

    async fn plant(&self, collection: &str, key: &str, value: impl Into<Bytes>) {
        self.bare.put(collection, key, value.into(), Ttl::Forever).await.unwrap();
    }

    /// What lies there is absent to every operation, and a new record can take its place.
    async fn assert_refused(&self, collection: &str, key: &str) {
        let planted = self.stored(collection, key).await;
        let replant = || self.plant(collection, key, planted.clone());
        let store = &self.store;
        let refused = store.refused();
        assert_eq!(store.get(collection, key).await.unwrap(), None);
        assert_eq!(store.get_many(collection, &[key]).await.unwrap(), [None]);
        assert_eq!(store.refused(), refused + 2, "refusals are counted");
        assert_eq!(store.expire(collection, key, Ttl::Forever).await.unwrap(), None);
        let version = self.bare.get(collection, key).await.unwrap().unwrap().version;
        let swapped =
            store.compare_and_swap(collection, key, version, "new".into(), Ttl::Keep).await;
        assert_eq!(swapped.unwrap(), None);
        assert!(!store.delete(collection, key).await.unwrap());
        replant().await;
        assert_eq!(store.take(collection, key).await.unwrap(), None);
        replant().await;
        store.put(collection, key, "new".into(), Ttl::Keep).await.unwrap();
        assert_eq!(store.get(collection, key).await.unwrap().unwrap().value, "new");
        replant().await;
        assert!(
            store.put_if_absent(collection, key, "new".into(), Ttl::Keep).await.unwrap().is_some()
        );
        assert_eq!(store.get(collection, key).await.unwrap().unwrap().value, "new");
    }
}

fn open<C: Ring>(
    bare: &Arc<Memory>,
    keys: &[SecretString],
    deployment: &str,
    clock: &TestClock,
) -> Encrypted<Arc<Memory>, C> {
    Encrypted::new(Arc::clone(bare), C::ring(keys), deployment).with_clock(clock.clock())
}

#[tokio::test]
async fn a_fernet_value_is_the_documented_envelope() {
    let scene = Scene::<Fernet>::new();
    scene.put("codes", "a").await;
    let stored = scene.stored("codes", "a").await;
    let fernet = fernet::Fernet::new(scene.key.expose_secret()).unwrap();
    assert!(!stored.windows(6).any(|window| window == b"secret"));
    let envelope = fernet.decrypt(std::str::from_utf8(&stored).unwrap()).unwrap();
    let expires_at = (1_780_000_000_000_u64 + 60_000).to_be_bytes();
    let expected = [
        b"\x01\0\0\0\x16https://issuer.example\0\0\0\x05codes\0\0\0\x01a".as_slice(),
        &expires_at,
        b"secret",
    ];
    assert_eq!(envelope, expected.concat());
}

#[tokio::test]
async fn an_aes_gcm_value_is_the_documented_payload() {
    let scene = Scene::<Aes256Gcm>::new();
    scene.put("codes", "a").await;
    let stored = scene.stored("codes", "a").await;
    assert!(!stored.windows(6).any(|window| window == b"secret"));
    let binding = b"\x01\0\0\0\x16https://issuer.example\0\0\0\x05codes\0\0\0\x01a";
    let cipher = Aes256Gcm::ring(std::slice::from_ref(&scene.key));
    assert_eq!(cipher.open(binding, &stored), None, "the key is the deployment's");
    let payload = cipher.for_deployment(DEPLOYMENT).open(binding, &stored).unwrap();
    let expires_at = (1_780_000_000_000_u64 + 60_000).to_be_bytes();
    assert_eq!(*payload, [&expires_at, b"secret".as_slice()].concat());
    assert_eq!(stored.len(), b"secret".len() + 57);
}

async fn a_value_copied_to_another_key_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    scene.put("codes", "a").await;
    scene.plant("codes", "b", scene.stored("codes", "a").await).await;
    scene.assert_refused("codes", "b").await;
    assert!(scene.store.get("codes", "a").await.unwrap().is_some());
}

async fn a_value_copied_to_another_collection_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    scene.put("codes", "a").await;
    scene.plant("grants", "a", scene.stored("codes", "a").await).await;
    scene.assert_refused("grants", "a").await;
}

async fn another_deployment_s_value_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    let other = scene.with(std::slice::from_ref(&scene.key), "https://other.example");
    other.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
    scene.assert_refused("codes", "a").await;
}

async fn a_planted_plaintext_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    for planted in ["", "secret", "{\"sub\":\"admin\"}", "\u{1}\0\0\0"] {
        scene.plant("codes", "a", planted).await;
        scene.assert_refused("codes", "a").await;
    }
    // Even the very envelope that belongs there.
    let envelope = b"\x01\0\0\0\x16https://issuer.example\0\0\0\x05codes\0\0\0\x01a";
    let planted = [envelope.as_slice(), &[0xff; 8], b"secret"].concat();
    scene.plant("codes", "a", planted).await;
    scene.assert_refused("codes", "a").await;
}

async fn a_truncated_or_garbled_value_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    scene.put("codes", "a").await;
    let stored = scene.stored("codes", "a").await;
    let half = stored.slice(..stored.len() / 2);
    let mut garbled = stored.to_vec();
    garbled[stored.len() / 2] ^= 1;
    for planted in [half, garbled.into(), Bytes::from_static(b"\xff\xfe\xfd")] {
        scene.plant("codes", "a", planted).await;
        scene.assert_refused("codes", "a").await;
    }
}

async fn a_value_sealed_with_another_key_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    let foreign = scene.with(&[Fernet::generate_key()], DEPLOYMENT);
    foreign.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
    scene.assert_refused("codes", "a").await;
}

async fn another_cipher_s_value_is_refused<C: Ring>() {
    let scene = Scene::<C>::new();
    let keys = std::slice::from_ref(&scene.key);
    let fernet = open::<Fernet>(&scene.bare, keys, DEPLOYMENT, &scene.clock);
    let aes_gcm = open::<Aes256Gcm>(&scene.bare, keys, DEPLOYMENT, &scene.clock);
    let mut refused = 0;
    for other in [&fernet as &dyn KeyValue, &aes_gcm] {
        other.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
        if scene.store.get("codes", "a").await.unwrap().is_none() {
            scene.assert_refused("codes", "a").await;
            refused += 1;
        }
    }
    assert_eq!(refused, 1, "the cipher's own value is accepted");
}

async fn lengthening_the_outer_expiry_does_not_revive_a_record<C: Ring>() {
    let scene = Scene::<C>::new();
    let store = &scene.store;
    for key in ["get", "delete", "take", "keep", "expire", "absent"] {
        scene.put("codes", key).await;
        scene.bare.expire("codes", key, Ttl::Forever).await.unwrap().unwrap();
        assert!(store.get("codes", key).await.unwrap().is_some(), "not yet expired inside");
    }
    scene.clock.advance(Duration::from_mins(1));
    assert!(scene.bare.get("codes", "get").await.unwrap().is_some(), "the attack is set up");
    assert_eq!(store.get("codes", "get").await.unwrap(), None);
    assert_eq!(store.get_many("codes", &["get"]).await.unwrap(), [None]);
    assert!(!store.delete("codes", "delete").await.unwrap());
    assert_eq!(store.take("codes", "take").await.unwrap(), None);
    assert_eq!(store.expire("codes", "expire", Ttl::Forever).await.unwrap(), None);
    let made = store.put_if_absent("codes", "absent", "new".into(), Ttl::Forever).await.unwrap();
    assert!(made.is_some());
    store.put("codes", "keep", "new".into(), Ttl::Keep).await.unwrap();
    scene.clock.advance(Duration::from_hours(1));
    assert_eq!(store.get("codes", "keep").await.unwrap().unwrap().value, "new");
    assert_eq!(store.refused(), 0, "an expired record is not a forged one");
}

/// Whoever has a version had the record while it was live. By an operation that goes by the version
/// alone it may be late, and the store decides: as documented, for looking would cost a read.
async fn a_version_is_as_good_as_when_it_was_read<C: Ring>() {
    let scene = Scene::<C>::new();
    let store = &scene.store;
    let ttl = Ttl::After(Duration::from_mins(1));
    for lengthened in [false, true] {
        let mut versions = Vec::new();
        for key in ["keep", "swap", "delete"] {
            scene.put("codes", key).await;
            if lengthened {
                scene.bare.expire("codes", key, Ttl::Forever).await.unwrap().unwrap();
            }
            versions.push(store.get("codes", key).await.unwrap().unwrap().version);
        }
        scene.clock.advance(Duration::from_mins(1));
        let [keep, swap, delete] = versions.try_into().unwrap();
        let kept = store.compare_and_swap("codes", "keep", keep, "new".into(), Ttl::Keep).await;
        assert_eq!(kept.unwrap(), None);
        let swapped = store.compare_and_swap("codes", "swap", swap, "new".into(), ttl).await;
        assert_eq!(swapped.unwrap().is_some(), lengthened);
        let deleted = store.compare_and_delete("codes", "delete", delete).await.unwrap();
        assert_eq!(deleted, lengthened);

        // Nobody gets at the version of what has expired.
        assert_eq!(store.get("codes", "keep").await.unwrap(), None);
        assert_eq!(store.take("codes", "keep").await.unwrap(), None);
    }
}

async fn the_limit_is_the_caller_s_value_not_its_envelope<C: Ring>() {
    let scene = Scene::<C>::new();
    let too_large = Bytes::from(vec![0; limits::MAX_VALUE_BYTES + 1]);
    let refused = scene.store.put("codes", "a", too_large, Ttl::Forever).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    assert_eq!(
        refused.to_string(),
        "a value of 1048577 bytes is over the limit of 1048576: keep what is larger elsewhere, or \
         in parts"
    );
}

async fn the_canary_stops_foreign_keys_and_lets_the_right_ones_pass<C: Ring>() {
    let scene = Scene::<C>::new();
    scene.store.check_keys().await.unwrap();
    scene.store.check_keys().await.unwrap();
    let foreign_key = Fernet::generate_key();
    let foreign = scene.with(std::slice::from_ref(&foreign_key), DEPLOYMENT);
    let error = foreign.check_keys().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("encrypted with other keys"), "{error}");
    assert!(!error.to_string().contains(foreign_key.expose_secret()));
    scene.store.check_keys().await.unwrap();

    // Another deployment in the same store has a canary of its own.
    scene.with(&[foreign_key], "https://other.example").check_keys().await.unwrap();
    scene.store.check_keys().await.unwrap();
}

async fn the_canary_stops_another_cipher<C: Ring>() {
    let scene = Scene::<C>::new();
    let keys = std::slice::from_ref(&scene.key);
    scene.store.check_keys().await.unwrap();
    let fernet = open::<Fernet>(&scene.bare, keys, DEPLOYMENT, &scene.clock);
    let aes_gcm = open::<Aes256Gcm>(&scene.bare, keys, DEPLOYMENT, &scene.clock);
    let checked = [fernet.check_keys().await, aes_gcm.check_keys().await];
    let [error] =
        checked.into_iter().filter_map(Result::err).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("or with another cipher"), "{error}");
}

async fn records_outlive_the_rotation_of_keys<C: Ring>() {
    let scene = Scene::<C>::new();
    let (old, new) = (scene.key.clone(), Fernet::generate_key());
    scene.put("codes", "old").await;
    let added = scene.with(&[old.clone(), new.clone()], DEPLOYMENT);
    let promoted = scene.with(&[new.clone(), old.clone()], DEPLOYMENT);
    promoted.put("codes", "new", "secret".into(), Ttl::Forever).await.unwrap();
    for store in [&added, &promoted] {
        for key in ["old", "new"] {
            assert_eq!(store.get("codes", key).await.unwrap().unwrap().value, "secret");
        }
    }
    assert_eq!(scene.store.get("codes", "new").await.unwrap(), None, "the first key seals");

    // A write seals anew; what was not written since goes with the old key.
    promoted.expire("codes", "old", Ttl::Keep).await.unwrap().unwrap();
    scene.put("codes", "forgotten").await;
    let removed = scene.with(&[new], DEPLOYMENT);
    for (key, kept) in [("old", true), ("new", true), ("forgotten", false)] {
        assert_eq!(removed.get("codes", key).await.unwrap().is_some(), kept, "{key}");
    }
}

#[tokio::test]
async fn the_canary_shows_the_cipher() {
    let bare = Arc::new(Memory::new());
    let detect = async || SealedWith::detect(&bare, DEPLOYMENT).await.unwrap();
    assert_eq!(detect().await, None);
    let keys = [Fernet::generate_key()];
    let clock = TestClock::new();
    open::<Fernet>(&bare, &keys, DEPLOYMENT, &clock).check_keys().await.unwrap();
    assert_eq!(detect().await, Some(SealedWith::Fernet));
    assert_eq!(SealedWith::detect(&bare, "https://other.example").await.unwrap(), None);
    bare.delete("kv_canary", DEPLOYMENT).await.unwrap();
    open::<Aes256Gcm>(&bare, &keys, DEPLOYMENT, &clock).check_keys().await.unwrap();
    assert_eq!(detect().await, Some(SealedWith::Aes256Gcm));
    bare.put("kv_canary", DEPLOYMENT, "planted".into(), Ttl::Forever).await.unwrap();
    assert_eq!(detect().await, None);
}

async fn the_canary_follows_the_ring<C: Ring>() {
    let scene = Scene::<C>::new();
    let (old, new) = (scene.key.clone(), Fernet::generate_key());
    scene.store.check_keys().await.unwrap();
    scene.with(&[old.clone(), new.clone()], DEPLOYMENT).check_keys().await.unwrap();
    let only_new = scene.with(std::slice::from_ref(&new), DEPLOYMENT);
    assert!(only_new.check_keys().await.is_err(), "the old key still seals");
    scene.with(&[new, old], DEPLOYMENT).check_keys().await.unwrap();
    only_new.check_keys().await.unwrap();
}

async fn the_first_processes_may_check_at_the_same_time<C: Ring>() {
    let scene = Arc::new(Scene::<C>::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move { scene.store.check_keys().await });
    }
    for checked in tasks.join_all().await {
        checked.unwrap();
    }
}

async fn protected_stores_are_taken_by_name_or_pointer<C: Ring>() {
    async fn take(store: impl Protected) {
        store.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
    }
    let scene = Scene::<C>::new();
    let shared: Arc<dyn Protected> = Arc::new(scene.store);
    take(Arc::clone(&shared)).await;
    take(Memory::new()).await;
    take(Box::new(Memory::new())).await;
    let as_key_value: Arc<dyn KeyValue> = shared;
    assert!(as_key_value.get("codes", "a").await.unwrap().is_some());
}

async fn debug_shows_neither_keys_nor_values<C: Ring>() {
    let scene = Scene::<C>::new();
    scene.put("codes", "a").await;
    let shown = format!("{:?} {:?}", scene.store, scene.store.get("codes", "a").await);
    assert!(!shown.contains("secret") && !shown.contains(scene.key.expose_secret()), "{shown}");
}

#[tokio::test]
async fn a_store_tells_what_sealed_it_and_not_what_would() {
    let inner = Arc::new(Memory::new());
    let key = Fernet::generate_key();
    let keys = std::slice::from_ref(&key);
    let aes_gcm = Encrypted::new(Arc::clone(&inner), Aes256Gcm::new(keys).unwrap(), DEPLOYMENT);
    let fernet = Encrypted::new(inner, Fernet::new(keys).unwrap(), DEPLOYMENT);
    assert_eq!(aes_gcm.sealed_with().await.unwrap(), None);
    fernet.check_keys().await.unwrap();
    assert_eq!(aes_gcm.check_keys().await.unwrap_err().kind(), ErrorKind::Misconfigured);
    for seen in [aes_gcm.sealed_with().await, fernet.sealed_with().await] {
        assert_eq!(seen.unwrap(), Some(SealedWith::Fernet));
    }
}
