//! What `Encrypted` defends against, and its keys.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kv_storage::{
    Encrypted, ErrorKind, Fernet, KeyValue, Memory, Protected, Ttl, limits, testing::TestClock,
};
use secrecy::{ExposeSecret, SecretString};

const DEPLOYMENT: &str = "https://issuer.example";

/// A store as an attacker sees it who can write to the database, and our view of it.
struct Scene {
    clock: TestClock,
    bare: Arc<Memory>,
    key: SecretString,
    store: Encrypted<Arc<Memory>, Fernet>,
}

impl Scene {
    fn new() -> Self {
        let clock = TestClock::new();
        let bare = Arc::new(Memory::builder().clock(clock.clock()).build());
        let key = Fernet::generate_key();
        let store = open(&bare, std::slice::from_ref(&key), DEPLOYMENT, &clock);
        Self { clock, bare, key, store }
    }

    fn with(&self, keys: &[SecretString], deployment: &str) -> Encrypted<Arc<Memory>, Fernet> {
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

fn open(
    bare: &Arc<Memory>,
    keys: &[SecretString],
    deployment: &str,
    clock: &TestClock,
) -> Encrypted<Arc<Memory>, Fernet> {
    let cipher = Fernet::new(keys).unwrap();
    Encrypted::new(Arc::clone(bare), cipher, deployment).with_clock(clock.clock())
}

#[tokio::test]
async fn nothing_of_the_value_rests_in_the_clear() {
    let scene = Scene::new();
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
async fn a_value_copied_to_another_key_is_refused() {
    let scene = Scene::new();
    scene.put("codes", "a").await;
    scene.plant("codes", "b", scene.stored("codes", "a").await).await;
    scene.assert_refused("codes", "b").await;
    assert!(scene.store.get("codes", "a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_value_copied_to_another_collection_is_refused() {
    let scene = Scene::new();
    scene.put("codes", "a").await;
    scene.plant("grants", "a", scene.stored("codes", "a").await).await;
    scene.assert_refused("grants", "a").await;
}

#[tokio::test]
async fn another_deployment_s_value_is_refused() {
    let scene = Scene::new();
    let other = scene.with(std::slice::from_ref(&scene.key), "https://other.example");
    other.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
    scene.assert_refused("codes", "a").await;
}

#[tokio::test]
async fn a_planted_plaintext_is_refused() {
    let scene = Scene::new();
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

#[tokio::test]
async fn a_truncated_or_garbled_value_is_refused() {
    let scene = Scene::new();
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

#[tokio::test]
async fn a_value_sealed_with_another_key_is_refused() {
    let scene = Scene::new();
    let foreign = scene.with(&[Fernet::generate_key()], DEPLOYMENT);
    foreign.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
    scene.assert_refused("codes", "a").await;
}

#[tokio::test]
async fn lengthening_the_outer_expiry_does_not_revive_a_record() {
    let scene = Scene::new();
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

#[tokio::test]
async fn the_limit_is_the_caller_s_value_not_its_envelope() {
    let scene = Scene::new();
    let too_large = Bytes::from(vec![0; limits::MAX_VALUE_BYTES + 1]);
    let refused = scene.store.put("codes", "a", too_large, Ttl::Forever).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn the_canary_stops_foreign_keys_and_lets_the_right_ones_pass() {
    let scene = Scene::new();
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

#[tokio::test]
async fn the_canary_follows_the_ring() {
    let scene = Scene::new();
    let (old, new) = (scene.key.clone(), Fernet::generate_key());
    scene.store.check_keys().await.unwrap();
    scene.with(&[old.clone(), new.clone()], DEPLOYMENT).check_keys().await.unwrap();
    let only_new = scene.with(std::slice::from_ref(&new), DEPLOYMENT);
    assert!(only_new.check_keys().await.is_err(), "the old key still seals");
    scene.with(&[new, old], DEPLOYMENT).check_keys().await.unwrap();
    only_new.check_keys().await.unwrap();
}

#[tokio::test]
async fn the_first_processes_may_check_at_the_same_time() {
    let scene = Arc::new(Scene::new());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let scene = Arc::clone(&scene);
        tasks.spawn(async move { scene.store.check_keys().await });
    }
    for checked in tasks.join_all().await {
        checked.unwrap();
    }
}

#[tokio::test]
async fn protected_stores_are_taken_by_name_or_pointer() {
    async fn take(store: impl Protected) {
        store.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
    }
    let scene = Scene::new();
    let shared: Arc<dyn Protected> = Arc::new(scene.store);
    take(Arc::clone(&shared)).await;
    take(Memory::new()).await;
    take(Box::new(Memory::new())).await;
    let as_key_value: Arc<dyn KeyValue> = shared;
    assert!(as_key_value.get("codes", "a").await.unwrap().is_some());
}

#[tokio::test]
async fn debug_shows_neither_keys_nor_values() {
    let scene = Scene::new();
    scene.put("codes", "a").await;
    let shown = format!("{:?} {:?}", scene.store, scene.store.get("codes", "a").await);
    assert!(!shown.contains("secret") && !shown.contains(scene.key.expose_secret()), "{shown}");
}
