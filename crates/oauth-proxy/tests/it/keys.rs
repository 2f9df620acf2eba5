//! Keys in use (D8): which algorithm, what is published, and rotation among replicas.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use jwt_issuer::{KeyRing, MasterKey, SigningAlgorithm};
use kv_storage::{Encrypted, Fernet, KeyValue, Memory};
use oauth_proxy::SigningKeysError;
use secrecy::SecretString;
use serde_json::Value;

use crate::support::{Deployment, TestClock, Tokens};

fn key(byte: u8) -> MasterKey {
    MasterKey::new(&[byte; 32]).unwrap()
}

fn ring(keys: &[u8]) -> KeyRing {
    let (first, older) = keys.split_first().unwrap();
    older.iter().fold(KeyRing::new(key(*first)), |ring, older| ring.with_older(key(*older)))
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

async fn published(deployment: &Deployment) -> Vec<String> {
    let set = deployment.get("/.well-known/jwks.json").await.json();
    let keys = set["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_others_verify_is_published_and_short() {
    for algorithm in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let deployment = Deployment::with(|builder| builder.signing_algorithm(algorithm));
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        assert_eq!(tokens.expires_in, 600, "{algorithm}: at most ten minutes");
        let header = header(&tokens.access);
        assert_eq!(header["alg"], algorithm.as_str());
        assert_eq!(header["typ"], "at+jwt");
        let kid = header["kid"].as_str().unwrap().to_owned();
        assert!(published(&deployment).await.contains(&kid), "{algorithm}");
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
        let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 600, "{algorithm}: refreshed as well");
        deployment.clock.advance(Duration::from_secs(605));
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_shorter_life_stays_shorter() {
    let lifetimes = {
        let mut lifetimes = oauth_proxy::Lifetimes::default();
        lifetimes.access_token = Duration::from_mins(2);
        lifetimes
    };
    let deployment = Deployment::with(|builder| {
        builder.signing_algorithm(SigningAlgorithm::EdDsa).lifetimes(lifetimes)
    });
    let client = deployment.register().await;
    assert_eq!(deployment.login(&client).await.expires_in, 120);
}

#[tokio::test]
async fn keys_before_and_after_their_time_are_published() {
    let with = |keys: &[u8]| {
        let keys = ring(keys);
        Deployment::with(|builder| {
            builder.signing_algorithm(SigningAlgorithm::Es256).signing_keys(keys)
        })
    };
    let (before, rotated, promoted) = (with(&[7]), with(&[7, 8]), with(&[8, 7]));
    let both = published(&rotated).await;
    for kid in published(&before).await.iter().chain(&published(&promoted).await) {
        assert!(both.contains(kid), "{kid}");
    }
    let client = promoted.register().await;
    let kid = header(&promoted.login(&client).await.access)["kid"].as_str().unwrap().to_owned();
    assert!(both.contains(&kid) && !published(&before).await.contains(&kid));
}

/// Replicas that are restarted one by one, each time with the next ring.
#[tokio::test]
async fn rotation_among_replicas_logs_nobody_out() {
    for algorithm in SigningAlgorithm::ALL {
        let clock = TestClock::wall();
        let store: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
        let replica = |keys: &[u8]| {
            let keys = ring(keys);
            Deployment::on(Arc::clone(&store), clock.clone(), |builder| {
                builder.signing_algorithm(algorithm).signing_keys(keys)
            })
        };
        let rings: [&[u8]; 4] = [&[1], &[1, 2], &[2, 1], &[2]];
        let (mut a, mut b) = (replica(rings[0]), replica(rings[0]));
        let client = a.register().await;
        // One who refreshes all the time, one who comes back now and then.
        let (mut busy, mut rare) = (a.login(&client).await, b.login(&client).await);
        for ring in &rings[1..] {
            if ring.len() == 1 {
                // Removal comes after the longest lifetime: whoever is still there came back.
                busy = Tokens::of(&a.refresh(&client, &busy.refresh).await);
                rare = Tokens::of(&b.refresh(&client, &rare.refresh).await);
            }
            a = replica(ring);
            for _ in 0..3 {
                assert_eq!(a.call(&busy.access).await.status, StatusCode::OK);
                assert_eq!(b.call(&busy.access).await.status, StatusCode::OK);
                busy = Tokens::of(&a.refresh(&client, &busy.refresh).await);
                busy = Tokens::of(&b.refresh(&client, &busy.refresh).await);
            }
            // Somebody who logs in at the one goes on at the other.
            let tokens = a.login(&client).await;
            Tokens::of(&b.refresh(&client, &tokens.refresh).await);
            let tokens = b.login(&client).await;
            Tokens::of(&a.refresh(&client, &tokens.refresh).await);
            b = replica(ring);
        }
        assert_eq!(a.call(&rare.access).await.status, StatusCode::OK, "{algorithm}");
        Tokens::of(&b.refresh(&client, &rare.refresh).await);
    }
}

#[tokio::test]
async fn a_change_of_algorithm_logs_nobody_out() {
    let clock = TestClock::wall();
    let store: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
    let replica = |algorithm| {
        Deployment::on(Arc::clone(&store), clock.clone(), |builder| {
            builder.signing_algorithm(algorithm)
        })
    };
    let (old, new) = (replica(SigningAlgorithm::Hs256), replica(SigningAlgorithm::EdDsa));
    let client = old.register().await;
    let tokens = old.login(&client).await;
    assert_eq!(new.call(&tokens.access).await.status, StatusCode::OK);
    let tokens = Tokens::of(&new.refresh(&client, &tokens.refresh).await);
    assert_eq!(header(&tokens.access)["alg"], "EdDSA");
    assert_eq!(old.call(&tokens.access).await.status, StatusCode::OK);
    Tokens::of(&old.refresh(&client, &tokens.refresh).await);
}

/// A process with these keys on the store; whether it may start.
async fn start(store: &Arc<dyn KeyValue>, keys: &[u8]) -> Result<Deployment, SigningKeysError> {
    let keys = ring(keys);
    let deployment =
        Deployment::on(Arc::clone(store), TestClock::wall(), |builder| builder.signing_keys(keys));
    deployment.proxy.check_signing_keys().await.map(|()| deployment)
}

fn foreign(started: Result<Deployment, SigningKeysError>) -> String {
    match started.map(|_| ()).unwrap_err() {
        SigningKeysError::Foreign { current, found } => {
            assert!(!found.is_empty());
            current
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_process_without_the_key_that_signs_does_not_start() {
    let store: Arc<dyn KeyValue> = Arc::new(Memory::new());
    let id = |byte| key(byte).id().to_string();
    start(&store, &[1]).await.unwrap();
    start(&store, &[1]).await.unwrap();
    // Foreign or new keys, one or many.
    assert_eq!(foreign(start(&store, &[2]).await), id(1));
    assert_eq!(foreign(start(&store, &[2, 3]).await), id(1));
    // A rotation, replica after replica; the one of yesterday may come back in between.
    start(&store, &[1, 2]).await.unwrap();
    start(&store, &[1]).await.unwrap();
    start(&store, &[2, 1]).await.unwrap();
    start(&store, &[1, 2]).await.unwrap();
    // After the promotion the first key is needed, and the old one no more.
    assert_eq!(foreign(start(&store, &[1]).await), id(2));
    start(&store, &[2]).await.unwrap();
    // A promotion without a rotation before it: the others would not understand us.
    assert_eq!(foreign(start(&store, &[3]).await), id(2));
}

#[tokio::test]
async fn the_record_of_signing_keys_follows_the_storage_key() {
    let inner: Arc<dyn KeyValue> = Arc::new(Memory::new());
    let (old, new) = (Fernet::generate_key(), Fernet::generate_key());
    let store = |keys: &[SecretString]| -> Arc<dyn KeyValue> {
        let cipher = Fernet::new(keys).unwrap();
        Arc::new(Encrypted::new(Arc::clone(&inner), cipher, "https://proxy.example"))
    };
    start(&store(std::slice::from_ref(&old)), &[1]).await.unwrap();
    // The new storage key is promoted, and then the old one retired.
    start(&store(&[new.clone(), old]), &[1]).await.unwrap();
    let retired = store(&[new]);
    assert_eq!(foreign(start(&retired, &[2]).await), key(1).id().to_string());
    start(&retired, &[1]).await.unwrap();
}

#[tokio::test]
async fn many_that_start_at_once_agree() {
    let store: Arc<dyn KeyValue> = Arc::new(Memory::new());
    for ring in [[1, 2], [2, 1]] {
        let starts = (0..16).map(|_| start(&store, &ring));
        for started in futures_util::future::join_all(starts).await {
            started.unwrap();
        }
    }
    assert_eq!(foreign(start(&store, &[1]).await), key(2).id().to_string());
}

#[tokio::test]
async fn lost_keys_can_be_given_up_by_name() {
    let store: Arc<dyn KeyValue> = Arc::new(Memory::new());
    let old = start(&store, &[1]).await.unwrap();
    let client = old.register().await;
    let tokens = old.login(&client).await;
    foreign(start(&store, &[2]).await);
    let keys = ring(&[2]);
    let new =
        Deployment::on(Arc::clone(&store), old.clock.clone(), |builder| builder.signing_keys(keys));
    new.proxy.danger_replace_signing_keys().await.unwrap();
    start(&store, &[2]).await.unwrap();
    foreign(start(&store, &[1]).await);
    // That is what it costs; the registration stays.
    assert_eq!(new.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    let answer = new.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    new.login(&client).await;
}

#[tokio::test]
async fn a_store_that_is_down_is_not_a_verdict_on_the_keys() {
    let deployment = Deployment::new();
    deployment.storage.fail("key_rings");
    let error = deployment.proxy.check_signing_keys().await.unwrap_err();
    assert!(matches!(error, SigningKeysError::Storage(_)), "{error}");
    deployment.storage.heal();
    deployment.proxy.check_signing_keys().await.unwrap();
}
