//! The key set: rotation, outage, and strangers who invent key ids.

use std::time::Duration;

use futures_util::future::join_all;
use oidc_discovery::Error;
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::provider::{Provider, key_set};

#[tokio::test]
async fn are_fetched_once_and_kept() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    let all = join_all((0..32).map(|_| discovery.keys_for(Some("a")))).await;
    assert!(all.into_iter().all(|keys| keys.is_ok_and(|keys| keys.contains("a"))));
    discovery.keys_for(None).await.expect("keys");
    assert_eq!((provider.metadata.asked(), provider.keys.asked()), (1, 1));
}

#[tokio::test]
async fn a_new_key_is_found_before_the_set_is_stale() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    discovery.keys().await.expect("keys");
    provider.keys.answer_json(key_set(&["b", "a"]));
    provider.clock.advance(30);
    let keys = discovery.keys_for(Some("b")).await.expect("keys");
    assert!(keys.contains("b") && keys.contains("a"));
    assert_eq!(provider.keys.asked(), 2);
    assert_eq!(provider.metadata.asked(), 1, "the metadata is still fresh");
}

#[tokio::test]
async fn invented_key_ids_do_not_hammer_the_provider() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    discovery.keys().await.expect("keys");
    for round in 1..=3 {
        provider.clock.advance(30);
        let ids: Vec<_> = (0..100).map(|number| format!("{round}-{number}")).collect();
        let all = join_all(ids.iter().map(|kid| discovery.keys_for(Some(kid)))).await;
        for (kid, keys) in ids.iter().zip(all) {
            assert!(!keys.expect("a set that has not the key").contains(kid));
        }
        assert_eq!(provider.keys.asked(), 1 + round, "once in 30 seconds");
    }
}

#[tokio::test]
async fn known_keys_are_served_stale_while_the_provider_is_down() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    discovery.keys().await.expect("keys");
    provider.keys.break_down();
    provider.metadata.break_down();
    for _ in 0..3 {
        provider.clock.advance(7200);
        assert!(discovery.keys_for(Some("a")).await.expect("the stale set").contains("a"));
        assert!(discovery.keys_for(None).await.expect("the stale set").contains("a"));
    }
}

#[tokio::test]
async fn an_unknown_key_during_an_outage_is_an_outage() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    discovery.keys().await.expect("keys");
    provider.keys.break_down();
    provider.clock.advance(30);
    for _ in 0..5 {
        let error = discovery.keys_for(Some("b")).await.expect_err("nothing can be said");
        assert!(matches!(error, Error::Status { status: 500, .. }), "{error:?}");
        assert!(discovery.keys_for(Some("a")).await.is_ok(), "the known key still serves");
    }
    assert_eq!(provider.keys.asked(), 2, "the failure is remembered");

    provider.keys.answer_json(key_set(&["b"]));
    provider.clock.advance(5);
    assert!(discovery.keys_for(Some("b")).await.expect("keys").contains("b"));
}

#[tokio::test]
async fn without_metadata_there_are_no_keys_and_the_error_says_so() {
    let provider = Provider::start().await;
    provider.metadata.break_down();
    let error = provider.discovery().keys().await.expect_err("no metadata");
    assert!(error.to_string().contains("/.well-known/openid-configuration"), "{error}");
    assert!(error.is_temporary());
    assert_eq!(provider.keys.asked(), 0);
}

#[tokio::test]
async fn an_exotic_key_does_not_spoil_the_set() {
    let provider = Provider::start().await;
    let mut set = key_set(&["a"]);
    let keys = set["keys"].as_array_mut().expect("keys");
    keys.insert(0, json!({"kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "pub": null}));
    keys.push(json!("no key"));
    provider.keys.answer_json(set);
    let keys = provider.discovery().keys_for(Some("a")).await.expect("keys");
    assert_eq!(keys.keys().len(), 2);
}

#[tokio::test]
async fn a_broken_set_is_refused_with_its_url() {
    let provider = Provider::start().await;
    for answer in [
        ResponseTemplate::new(200).set_body_string("oops"),
        ResponseTemplate::new(200).set_body_json(json!({"keys": null})),
    ] {
        provider.keys.answer(answer);
        let error = provider.discovery().keys().await.expect_err("no set");
        assert!(error.to_string().contains("/jwks"), "{error}");
    }
}

#[tokio::test]
async fn the_limits_are_settings() {
    let provider = Provider::start().await;
    let discovery = provider
        .builder()
        .min_refetch(Duration::from_secs(2))
        .failure_pause(Duration::from_secs(1))
        .max_age(Duration::from_secs(10))
        .build()
        .expect("a discovery");
    discovery.keys().await.expect("keys");
    provider.clock.advance(2);
    discovery.keys_for(Some("b")).await.expect("keys");
    assert_eq!(provider.keys.asked(), 2);
    provider.clock.advance(10);
    provider.keys.break_down();
    discovery.keys().await.expect("the stale set");
    provider.clock.advance(1);
    discovery.keys().await.expect("the stale set");
    assert_eq!(provider.keys.asked(), 4);
}
