//! The metadata document: what is accepted, and how it is kept.

use std::{net::TcpListener, time::Duration};

use futures_util::future::join_all;
use oidc_discovery::{Discovery, Error};
use outbound_http::Client;
use serde_json::json;
use wiremock::ResponseTemplate;

use crate::provider::{Provider, document};

#[tokio::test]
async fn is_fetched_when_asked_for_and_kept_while_fresh() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    assert_eq!(provider.metadata.asked(), 0, "nothing is fetched by itself");

    let metadata = discovery.metadata().await.expect("metadata");
    assert_eq!(metadata.token_endpoint, format!("{}/token", provider.issuer()));
    provider.clock.advance(3599);
    discovery.metadata().await.expect("metadata");
    assert_eq!(provider.metadata.asked(), 1);
    provider.clock.advance(1);
    discovery.clone().metadata().await.expect("metadata");
    assert_eq!(provider.metadata.asked(), 2);
}

#[tokio::test]
async fn is_fetched_once_for_everybody() {
    let provider = Provider::start().await;
    provider.metadata.answer(
        ResponseTemplate::new(200)
            .set_body_json(document(&provider.issuer()))
            .set_delay(Duration::from_millis(50)),
    );
    let discovery = provider.discovery();
    let all = join_all((0..32).map(|_| discovery.metadata())).await;
    assert!(all.into_iter().all(|metadata| metadata.is_ok()));
    assert_eq!(provider.metadata.asked(), 1);
}

#[tokio::test]
async fn a_failure_is_shared_and_not_repeated_at_once() {
    let provider = Provider::start().await;
    provider.metadata.break_down();
    let discovery = provider.discovery();
    let all = join_all((0..32).map(|_| discovery.metadata())).await;
    assert!(all.into_iter().all(|metadata| metadata.is_err()));
    provider.clock.advance(4);
    assert!(discovery.metadata().await.is_err());
    assert_eq!(provider.metadata.asked(), 1, "a provider that is down is not hammered");

    provider.metadata.answer_json(document(&provider.issuer()));
    provider.clock.advance(1);
    assert!(discovery.metadata().await.is_ok(), "recovery is noticed");
    assert_eq!(provider.metadata.asked(), 2);
}

#[tokio::test]
async fn is_served_stale_while_the_provider_is_down() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    let first = discovery.metadata().await.expect("metadata");

    provider.metadata.break_down();
    for round in 1..=3 {
        provider.clock.advance(3600);
        for _ in 0..5 {
            assert_eq!(discovery.metadata().await.expect("the stale document"), first);
        }
        assert_eq!(provider.metadata.asked(), 1 + round, "one attempt a round");
    }

    let mut newer = document(&provider.issuer());
    newer["scopes_supported"] = json!(["openid"]);
    provider.metadata.answer_json(newer);
    provider.clock.advance(5);
    assert_eq!(discovery.metadata().await.expect("the new one").scopes_supported, ["openid"]);
}

#[tokio::test]
async fn a_refetch_keeps_nobody_waiting_but_one() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    discovery.metadata().await.expect("metadata");
    provider.clock.advance(3600);
    provider.metadata.answer(ResponseTemplate::new(200).set_delay(Duration::from_hours(1)));

    let refetching = {
        let discovery = discovery.clone();
        tokio::spawn(async move { discovery.metadata().await })
    };
    let asked = async {
        while provider.metadata.asked() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("the refetch has begun");
    assert!(discovery.metadata().await.is_ok(), "answered while the other waits");
    assert!(!refetching.is_finished());

    // The one who fetched goes away, and leaves the turn to the next.
    refetching.abort();
    assert!(refetching.await.expect_err("aborted").is_cancelled());
    provider.metadata.answer_json(document(&provider.issuer()));
    assert!(discovery.metadata().await.is_ok());
    assert_eq!(provider.metadata.asked(), 3);
}

#[tokio::test]
async fn a_clock_that_is_set_back_makes_nothing_fresh() {
    let provider = Provider::start().await;
    let discovery = provider.discovery();
    discovery.metadata().await.expect("metadata");
    provider.clock.set_back(1_000_000);
    discovery.metadata().await.expect("metadata");
    assert_eq!(provider.metadata.asked(), 2);
}

#[tokio::test]
async fn cache_control_shortens_the_life() {
    let provider = Provider::start().await;
    provider.metadata.answer(
        ResponseTemplate::new(200)
            .insert_header("cache-control", "public, max-age=60")
            .set_body_json(document(&provider.issuer())),
    );
    let discovery = provider.discovery();
    for (seconds, asked) in [(0, 1), (59, 1), (1, 2)] {
        provider.clock.advance(seconds);
        discovery.metadata().await.expect("metadata");
        assert_eq!(provider.metadata.asked(), asked, "{seconds}");
    }
}

#[tokio::test]
async fn another_issuer_is_refused_by_name() {
    let provider = Provider::start().await;
    let issuer = provider.issuer();
    provider.metadata.answer_json(document("https://evil.example"));
    let error = provider.discovery().metadata().await.expect_err("another issuer");
    assert!(matches!(error, Error::IssuerMismatch { .. }), "{error:?}");
    assert!(!error.is_temporary());
    let message = error.to_string();
    assert!(
        message.contains("\"https://evil.example\"") && message.contains(&format!("{issuer:?}"))
    );

    // Auth0 ends its issuer with a slash, which the document's URL cannot show.
    let mut slashed = document(&issuer);
    slashed["issuer"] = json!(format!("{issuer}/"));
    provider.metadata.answer_json(slashed);
    let metadata = provider.discovery().metadata().await.expect("the same issuer");
    assert_eq!(metadata.issuer, format!("{issuer}/"));

    let named = provider.builder().expected_issuer(&issuer).build().expect("a discovery");
    assert!(named.metadata().await.is_err(), "an issuer that was named is exact");
}

#[tokio::test]
async fn an_issuer_elsewhere_can_be_named() {
    let provider = Provider::start().await;
    let mut elsewhere = document(&provider.issuer());
    elsewhere["issuer"] = json!("https://guid.ciam.example/guid/v2.0");
    provider.metadata.answer_json(elsewhere);
    let discovery = provider
        .builder()
        .expected_issuer("https://guid.ciam.example/guid/v2.0")
        .build()
        .expect("a discovery");
    assert!(discovery.metadata().await.is_ok());
}

#[tokio::test]
async fn what_is_no_document_says_where_and_why() {
    let provider = Provider::start().await;
    for (answer, words) in [
        (ResponseTemplate::new(404), "status 404"),
        (ResponseTemplate::new(302).insert_header("location", "/login"), "status 302"),
        (ResponseTemplate::new(200).set_body_string("<html>"), "not JSON"),
        (ResponseTemplate::new(200).set_body_bytes(*b"\xff"), "not text"),
        (ResponseTemplate::new(200).set_body_json(json!({})), "issuer"),
    ] {
        provider.metadata.answer(answer);
        let error = provider.discovery().metadata().await.expect_err(words);
        let message = error.to_string();
        assert!(message.contains(words) && message.contains(&provider.issuer()), "{message}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_a_temporary_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config_url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let client = Client::builder().build().expect("a client");
    let discovery = Discovery::new(&config_url, client).expect("nothing is fetched yet");
    let error = discovery.metadata().await.expect_err("nobody is there");
    assert!(matches!(error, Error::Fetch { .. }) && error.is_temporary(), "{error:?}");
}

#[test]
fn plain_http_to_another_machine_must_be_asked_for() {
    let builder = || {
        let client = Client::builder().build().expect("a client");
        Discovery::builder("http://idp:8080/realms/a?secret=x", client)
    };
    let error = builder().build().expect_err("not secure");
    assert!(error.to_string().contains("http://idp:8080/realms/a"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert!(builder().danger_allow_http().build().is_ok());
}
