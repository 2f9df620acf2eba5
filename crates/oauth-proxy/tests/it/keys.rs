//! Keys in use (D8): which algorithm, what is published, and rotation among replicas.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use jwt_issuer::{KeyRing, MasterKey, SigningAlgorithm};
use kv_storage::{KeyValue, Memory};
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
