//! What the clients of one person can do to those of others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use jwt_issuer::SigningAlgorithm;
use oauth_proxy::{ClientDocuments, Lifetimes};
use serde_json::json;
use wiremock::ResponseTemplate;

use super::{Signer, TYPE, assertion, described, redeem, refresh, tokens, with_keys_elsewhere};
use crate::{
    cimd::{Host, LOCAL, json_answer, on_loopback, replica},
    support::{Deployment, Tokens, person, until},
};

/// From now on somebody else logs in.
fn welcome_mallory(deployment: &Deployment) {
    deployment.provider.change(|plan| plan.identity = Some(person("mallory", &json!({}))));
}

/// As many clients of one's own as there are fetches at a time, whose keys never come.
#[tokio::test]
async fn one_person_keeps_nobody_else_from_their_keys() {
    const CROWD: usize = 64;
    let first = on_loopback();
    let (_host, _keys, honest) = with_keys_elsewhere().await;
    let theirs = tokens(&first, &honest).await;

    welcome_mallory(&first);
    let (crowd, stalling) = (Host::silent().await, Host::silent().await);
    let (place, base) = (stalling.url("/keys"), crowd.url(""));
    crowd
        .say_of(move |request| {
            let path = request.url.path();
            let keys = ("jwks_uri", json!(format!("{place}{path}")));
            json_answer(&described(&format!("{base}{path}"), keys))
        })
        .await;
    stalling.say(json_answer(&json!({})).set_delay(Duration::from_mins(1))).await;
    let mut codes = Vec::new();
    for number in 0..CROWD {
        let client = crowd.url(&format!("/{number}"));
        codes.push((first.code(&client).await, client));
    }
    let fresh = Arc::new(replica(&first));
    let done = Arc::new(AtomicUsize::new(0));
    let mut attack = Vec::new();
    for (code, client) in codes {
        let (fresh, done) = (Arc::clone(&fresh), Arc::clone(&done));
        attack.push(tokio::spawn(async move {
            let signed = assertion(&fresh, &Signer::new(&client, SigningAlgorithm::Es256));
            let form = [("client_assertion_type", TYPE), ("client_assertion", &*signed)];
            redeem(&fresh, &code, &form).await;
            done.fetch_add(1, Ordering::SeqCst);
        }));
    }
    until(async || done.load(Ordering::SeqCst) + stalling.asked().await >= CROWD).await;
    let signed = assertion(&fresh, &honest);
    Tokens::of(&refresh(&fresh, &theirs.refresh, &signed).await);
    for one in attack {
        one.abort();
    }
}

/// A wrong assertion has newer keys looked for, for whoever sent it and for nobody else.
#[tokio::test]
async fn a_wrong_assertion_takes_no_keys_from_others() {
    for inline in [true, false] {
        let mut lifetimes = Lifetimes::default();
        lifetimes.client_document_stale = Duration::ZERO;
        let deployment = Deployment::at(LOCAL, |builder| {
            let documents = ClientDocuments::default().danger_loopback();
            builder.client_documents(documents).lifetimes(lifetimes)
        });
        let (host, keys, honest) = with_keys_elsewhere().await;
        if inline {
            let said = described(&honest.client, ("jwks", honest.key_set()));
            host.say(json_answer(&said)).await;
        }
        let theirs = tokens(&deployment, &honest).await;
        welcome_mallory(&deployment);
        let code = deployment.code(&honest.client).await;

        deployment.clock.advance(Duration::from_mins(2));
        let place = if inline { &host } else { &keys };
        place.say(ResponseTemplate::new(500)).await;
        let forged = assertion(&deployment, &honest.rotated());
        let form = [("client_assertion_type", TYPE), ("client_assertion", &*forged)];
        let refused = redeem(&deployment, &code, &form).await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        assert_eq!(place.asked().await, 1);
        let signed = assertion(&deployment, &honest);
        Tokens::of(&refresh(&deployment, &theirs.refresh, &signed).await);
        assert_eq!(place.asked().await, 1, "inline: {inline}");
    }
}
