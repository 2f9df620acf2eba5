//! What a hostile client or page can do with the documents of others, and with this server.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;
use wiremock::ResponseTemplate;

use super::{Host, authorize, authorize_from, document, json_answer, on_loopback, replica};
use crate::support::{Deployment, Tokens, authorize_path, authorize_path_for, until};

#[tokio::test]
async fn a_hostile_page_cannot_hammer_a_host() {
    for something in [ResponseTemplate::new(404), json_answer(&json!({"its": "own answer"}))] {
        let deployment = on_loopback();
        let (host, client) = Host::new().await;
        assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
        host.say(something).await;
        let ask = async |peer, path: &str| authorize_from(&deployment, peer, &host.url(path)).await;
        for number in 0..15 {
            ask("8.8.8.8", &format!("/victim?{number}")).await;
        }
        assert_eq!(host.asked().await, 10, "in this hour");
        let refused = ask("8.8.8.8", "/late").await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        let left: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=3600).contains(&left), "{left}");
        let others = ask("8.8.4.4", "/late").await;
        others.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
        assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK, "known already");

        // What was good is asked for again, whoever spent what.
        host.say(json_answer(&document(&client))).await;
        deployment.clock.advance(Duration::from_hours(1));
        for number in 0..15 {
            ask("8.8.8.8", &format!("/victim?{number}")).await;
        }
        let known = authorize_from(&deployment, "8.8.8.8", &client).await;
        assert_eq!((known.status, host.asked().await), (StatusCode::OK, 11));

        deployment.clock.advance(Duration::from_hours(1));
        let answer = ask("8.8.8.8", "/late").await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
    }
}

/// One address has a share of what is fetched at a time, whatever it asks for.
#[tokio::test]
async fn one_address_holds_up_nobody_elses_client() {
    const CROWD: usize = 64;
    let deployment = Arc::new(on_loopback());
    let (_host, client) = Host::new().await;
    let stalling = [(); 8].map(|()| Host::silent());
    let stalling = futures_util::future::join_all(stalling).await;
    for host in &stalling {
        host.say(ResponseTemplate::new(404).set_delay(Duration::from_mins(1))).await;
    }
    let asked = async || {
        futures_util::future::join_all(stalling.iter().map(Host::asked)).await.iter().sum::<usize>()
    };
    let done = Arc::new(AtomicUsize::new(0));
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let (deployment, done) = (Arc::clone(&deployment), Arc::clone(&done));
        let client = stalling[number % stalling.len()].url(&format!("/client/{number}"));
        crowd.push(tokio::spawn(async move {
            authorize_from(&deployment, "8.8.8.8", &client).await;
            done.fetch_add(1, Ordering::SeqCst);
        }));
    }
    until(async || done.load(Ordering::SeqCst) + asked().await >= CROWD).await;
    let answer = authorize_from(&deployment, "8.8.4.4", &client).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(asked().await, 8, "its share");
    for one in crowd {
        one.abort();
    }
}

/// What strangers spent is no matter for a client with logins, and a new process learns of it at
/// their next refresh.
#[tokio::test]
async fn a_client_in_use_is_asked_for_whatever_strangers_spent() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let tokens = deployment.login(&client).await;
    let fresh = replica(&deployment);
    for number in 0..15 {
        authorize_from(&fresh, "8.8.8.8", &host.url(&format!("/victim?{number}"))).await;
    }
    let refused = authorize_from(&fresh, "8.8.8.8", &client).await;
    refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    Tokens::of(&fresh.refresh(&client, &tokens.refresh).await);
    let known = authorize_from(&fresh, "8.8.8.8", &client).await;
    assert_eq!(known.status, StatusCode::OK, "{}", known.body);
}

#[tokio::test]
async fn a_page_makes_nobodys_browser_ask_for_new_documents() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
    let load = |name: &'static str, value: &'static str| {
        deployment.send(Request::get(&path).header(name, value).body(Body::empty()).unwrap())
    };
    for (name, value) in [
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "iframe"),
        ("sec-fetch-dest", "empty"),
        ("sec-purpose", "prefetch"),
    ] {
        let refused = load(name, value).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
        assert!(refused.body.contains("a person opens"), "{}", refused.body);
    }
    assert_eq!(host.asked().await, 0);
    assert_eq!(load("sec-fetch-dest", "document").await.status, StatusCode::OK);
    assert_eq!(load("sec-fetch-dest", "image").await.status, StatusCode::OK, "it is known now");
    assert_eq!(host.asked().await, 1);
}

#[tokio::test]
async fn no_url_leads_into_our_own_network() {
    let deployment = Deployment::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for client in [
        format!("https://127.0.0.1:{port}/client"),
        format!("http://127.0.0.1:{port}/client"),
        format!("https://localhost:{port}/client"),
        format!("https://[::ffff:127.0.0.1]:{port}/client"),
        format!("https://0x7f.1:{port}/client"),
        "https://10.0.0.1/client".to_owned(),
        "https://192.168.0.1/client".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "https://localhost/client".to_owned(),
        "https://intranet/client".to_owned(),
        "https://app.example:22/client".to_owned(),
        "https://user:hunter2@app.example/client".to_owned(),
        "https://app.example/../client".to_owned(),
    ] {
        let refused = deployment.get(&authorize_path(&client, &[])).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
        assert!(!refused.body.contains("hunter2"), "{}", refused.body);
    }
    assert!(listener.accept().is_err(), "nobody connected");
}

/// A code or refresh token says whose it is; a name is not enough.
#[tokio::test]
async fn a_client_cannot_use_what_is_anothers() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let other = host.url("/other");
    let (code, tokens) = (deployment.code(&client).await, deployment.login(&client).await);
    for thief in [other, deployment.register().await] {
        let refused = deployment.redeem(&thief, &code).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
        let refused = deployment.refresh(&thief, &tokens.refresh).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
        let form = [("token", &*tokens.refresh), ("client_id", &*thief)];
        assert_eq!(deployment.post("/revoke", &form).await.status, StatusCode::OK);
    }
    Tokens::of(&deployment.redeem(&client, &code).await);
    Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
}
