//! Clients that are described by a document at their own URL: what honest ones get, and what a
//! hostile client, page or document host can do.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, extract::ConnectInfo};
use http::{Request, StatusCode};
use oauth_proxy::{ClientDocuments, Lifetimes, admin::GrantFilter};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request as Received, ResponseTemplate, matchers::any};

use crate::support::{
    Answer, BASE, Browser, Deployment, REDIRECT, Tokens, authorize_path, authorize_path_for,
    build_error, param,
};

/// Documents on this machine are for servers on this machine.
const LOCAL: &str = "http://localhost:8000";

pub(crate) fn on_loopback() -> Deployment {
    Deployment::at(LOCAL, |builder| {
        builder.client_documents(ClientDocuments::default().danger_loopback())
    })
}

/// Another process beside `deployment`, which knows no document.
pub(crate) fn replica(deployment: &Deployment) -> Deployment {
    deployment.replica_at(LOCAL, |builder| {
        builder.client_documents(ClientDocuments::default().danger_loopback())
    })
}

/// A host of documents.
pub(crate) struct Host(MockServer);

impl Host {
    /// With the document of an honest client.
    pub(crate) async fn new() -> (Self, String) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let host = Self::silent().await;
        let client = host.url(&format!("/client/{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        host.say(json_answer(&document(&client))).await;
        (host, client)
    }

    /// One that listens on nothing once it is dropped, unlike those that wiremock keeps for others.
    pub(crate) async fn silent() -> Self {
        Self(MockServer::builder().start().await)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.uri())
    }

    /// From now on this and nothing else, wherever it is asked.
    pub(crate) async fn say(&self, answer: ResponseTemplate) {
        self.0.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.0).await;
    }

    /// How often it was asked since it said something else.
    pub(crate) async fn asked(&self) -> usize {
        self.0.received_requests().await.unwrap().len()
    }
}

/// What a host says when it is asked for the document of this client.
type AnswerOf = dyn Fn(&str) -> ResponseTemplate;

pub(crate) fn document(client: &str) -> Value {
    json!({
        "client_id": client,
        "client_name": "Described app",
        "redirect_uris": [REDIRECT, "https://app.example/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    })
}

pub(crate) fn json_answer(body: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body.to_string(), "application/json")
}

pub(crate) async fn authorize(deployment: &Deployment, client: &str) -> Answer {
    deployment.get(&authorize_path_for(deployment.proxy.resource(), client, &[])).await
}

/// The same from a browser.
async fn visit(deployment: &Deployment, client: &str, extra: &[(&str, &str)]) -> Answer {
    let path = authorize_path_for(deployment.proxy.resource(), client, extra);
    let request = Request::get(path).header("accept", "text/html").body(Body::empty()).unwrap();
    deployment.send(request).await
}

/// The same from an address.
async fn authorize_from(deployment: &Deployment, peer: &str, client: &str) -> Answer {
    let path = authorize_path_for(deployment.proxy.resource(), client, &[]);
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    let peer: IpAddr = peer.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((peer, 4711))));
    deployment.send(request).await
}

#[tokio::test]
async fn a_client_with_a_document_logs_in_refreshes_and_revokes() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    deployment.storage.operations();
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(deployment.storage.operations(), 0, "asking stores nothing, and reads nothing");

    let code = deployment.code(&client).await;
    deployment.storage.operations();
    let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
    assert_eq!(deployment.storage.operations(), 3, "the budget of a redemption");
    let called = deployment.call(&tokens.access).await;
    assert_eq!(called.body, format!("alice {client} [openid]"));
    deployment.storage.operations();
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.storage.operations(), 2, "the budget of a refresh");
    let form = [("token", &*tokens.refresh), ("client_id", &client)];
    assert_eq!(deployment.post("/revoke", &form).await.status, StatusCode::OK);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);

    assert_eq!(host.asked().await, 1, "one document, one fetch");
    let registered = deployment.proxy.administration().clients(None, 10).await.unwrap();
    assert_eq!(registered.clients, [], "nothing was registered");
}

#[tokio::test]
async fn the_request_for_a_document_tells_nothing_about_people() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    authorize(&deployment, &client).await;
    let requests: Vec<Received> = host.0.received_requests().await.unwrap();
    let headers = &requests[0].headers;
    assert_eq!(headers["accept"], "application/json");
    for name in ["cookie", "authorization", "referer", "x-forwarded-for", "x-request-id"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn the_consent_page_shows_the_host_that_describes_the_client() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let address = host.0.address().to_string();
    let page = visit(&deployment, &client, &[]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.body.contains("The app is described by"), "{}", page.body);
    assert!(page.body.contains(&format!("<p class=\"host\">{address}</p>")), "{}", page.body);
    assert!(page.body.contains(&client), "{}", page.body);
    assert!(page.body.contains("It has not been verified"), "the name is no proof");
    assert!(page.body.contains("a program on your own computer"), "REDIRECT is on loopback");
    assert!(!page.body.contains("another site"), "{}", page.body);

    let mut document = document(&client);
    document["redirect_uris"] = json!(["https://elsewhere.example/callback"]);
    let other = host.url("/other");
    document["client_id"] = json!(other);
    host.say(json_answer(&document)).await;
    let resource = deployment.proxy.resource();
    let path = authorize_path_for(resource, &other, &[])
        .replace(&*encoded(REDIRECT), "https%3A%2F%2Felsewhere.example%2Fcallback");
    let page = deployment.get(&path).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(page.body.contains("Access goes to another site"), "{}", page.body);

    let registered = deployment.register().await;
    let page = visit(&deployment, &registered, &[]).await;
    assert!(!page.body.contains("described by"), "{}", page.body);
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn each_defect_of_an_answer_is_named_and_leads_nowhere() {
    let good = |client: &str| document(client).to_string();
    let too_long = |client: &str| {
        let mut document = document(client);
        document["padding"] = json!("x".repeat(5 * 1024));
        document.to_string()
    };
    let cases: Vec<(&str, Box<AnswerOf>)> = vec![
        ("404", Box::new(|_| ResponseTemplate::new(404))),
        ("410", Box::new(|_| ResponseTemplate::new(410))),
        ("403", Box::new(|_| ResponseTemplate::new(403))),
        (
            "redirects are not followed",
            Box::new(|_| ResponseTemplate::new(302).insert_header("location", "/elsewhere")),
        ),
        (
            "redirects are not followed",
            Box::new(|_| {
                ResponseTemplate::new(308).insert_header("location", "https://app.example/")
            }),
        ),
        (
            "201",
            Box::new(move |client| {
                ResponseTemplate::new(201).set_body_raw(good(client), "application/json")
            }),
        ),
        (
            "content type",
            Box::new(move |client| {
                ResponseTemplate::new(200).set_body_raw(document(client).to_string(), "text/html")
            }),
        ),
        (
            "content type",
            Box::new(move |client| {
                ResponseTemplate::new(200)
                    .set_body_raw(document(client).to_string(), "text/json+json")
            }),
        ),
        (
            "longer than 5120 bytes",
            Box::new(move |client| {
                ResponseTemplate::new(200).set_body_raw(too_long(client), "application/json")
            }),
        ),
        (
            "not a JSON object",
            Box::new(|_| ResponseTemplate::new(200).set_body_raw("<html>", "application/json")),
        ),
        ("not the URL", Box::new(|client| json_answer(&document(&format!("{client}/"))))),
        (
            "`client_secret`",
            Box::new(|client| {
                let mut document = document(client);
                document["client_secret"] = json!("shared with everybody");
                json_answer(&document)
            }),
        ),
    ];
    for (why, answer) in cases {
        let deployment = on_loopback();
        let host = Host::silent().await;
        let client = host.url("/client");
        host.say(answer(&client)).await;
        let refused = authorize(&deployment, &client).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
        let json = refused.json();
        let said = json["error_description"].as_str().unwrap();
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(json["registration_endpoint"], format!("{LOCAL}/register"));
        assert!(!refused.headers.contains_key("location"), "{why}");

        let page = visit(&deployment, &client, &[]).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{why}");
        assert!(page.body.contains("This app cannot be used here"), "{why}: {}", page.body);
        assert!(!page.body.contains("<form"), "{why}: {}", page.body);
        assert_eq!(host.asked().await, 1, "{why}: nothing else was fetched, and not again at once");
    }
}

#[tokio::test]
async fn a_redirect_uri_must_be_in_the_document() {
    let deployment = on_loopback();
    let (_host, client) = Host::new().await;
    let path = authorize_path_for(deployment.proxy.resource(), &client, &[])
        .replace(&*encoded(REDIRECT), "https%3A%2F%2Fevil.example%2Fcallback");
    let refused = deployment.get(&path).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
    assert!(!refused.headers.contains_key("location"));
    let any_port = authorize_path_for(deployment.proxy.resource(), &client, &[])
        .replace("127.0.0.1%3A7777", "127.0.0.1%3A50123");
    assert_eq!(deployment.get(&any_port).await.status, StatusCode::OK, "loopback ports aside");
}

/// The row "CIMD host gone" of the outage table (D7).
#[tokio::test]
async fn a_host_that_is_down_is_never_invalid_client() {
    let rows: Vec<(&str, Option<ResponseTemplate>, &str)> = vec![
        ("500", Some(ResponseTemplate::new(500)), "10"),
        ("503", Some(ResponseTemplate::new(503).insert_header("retry-after", "30")), "30"),
        ("429", Some(ResponseTemplate::new(429).insert_header("retry-after", "99999")), "600"),
        ("no answer", Some(ResponseTemplate::new(200).set_delay(Duration::from_mins(1))), "10"),
        ("nobody listens", None, "10"),
    ];
    for (ailment, answer, retry_after) in rows {
        let deployment = on_loopback();
        let (host, client) = Host::new().await;
        let code = deployment.code(&client).await;
        let tokens = deployment.login(&client).await;
        let mut browser = Browser::default();
        let state = browser.approve(&deployment, &client).await;
        if let Some(answer) = answer {
            host.say(answer).await;
        } else {
            drop(host);
        }

        // A process that has never seen the document.
        let fresh = replica(&deployment);
        let refused = authorize(&fresh, &client).await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        assert_eq!(refused.headers["retry-after"], retry_after, "{ailment}");
        let page = visit(&fresh, &client, &[]).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{ailment}");
        assert_eq!(page.headers["retry-after"], retry_after, "{ailment}");
        assert!(page.body.contains("Not available right now"), "{ailment}: {}", page.body);

        // Everything after the page needs no document.
        let back = browser.return_with_code(&fresh, &state).await.location().to_owned();
        assert!(param(&back, "code").is_some(), "{ailment}: {back}");
        Tokens::of(&fresh.redeem(&client, &code).await);
        let tokens = Tokens::of(&fresh.refresh(&client, &tokens.refresh).await);
        assert_eq!(fresh.call(&tokens.access).await.status, StatusCode::OK, "{ailment}");
        let form = [("token", &*tokens.refresh), ("client_id", &client)];
        assert_eq!(fresh.post("/revoke", &form).await.status, StatusCode::OK, "{ailment}");
        let ended = fresh.refresh(&client, &tokens.refresh).await;
        ended.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");

        // And whoever has a copy goes on with it.
        deployment.clock.advance(Duration::from_hours(2));
        assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK, "{ailment}");
    }
}

#[tokio::test]
async fn a_copy_serves_on_for_a_while_and_no_longer() {
    let lifetimes = {
        let mut lifetimes = Lifetimes::default();
        lifetimes.client_document_stale = Duration::from_secs(2);
        lifetimes
    };
    let deployment = Deployment::at(LOCAL, |builder| {
        let documents = ClientDocuments::default().danger_loopback();
        builder.client_documents(documents).lifetimes(lifetimes)
    });
    let (host, client) = Host::new().await;
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    deployment.clock.advance(Duration::from_mins(59));
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(host.asked().await, 1, "an hour if the host does not say");

    host.say(ResponseTemplate::new(500)).await;
    deployment.clock.advance(Duration::from_secs(61));
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(host.asked().await, 1, "nobody waits for a host twice in ten seconds");
    deployment.clock.advance(Duration::from_secs(2));
    let refused = authorize(&deployment, &client).await;
    refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");

    host.say(json_answer(&document(&client))).await;
    deployment.clock.advance(Duration::from_secs(10));
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    // It could serve on for another second, but its host says that it is gone.
    deployment.clock.advance(Duration::from_secs(60 * 60 + 1));
    host.say(ResponseTemplate::new(404)).await;
    let refused = authorize(&deployment, &client).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
}

#[tokio::test]
async fn the_host_says_how_long_a_document_is_good() {
    for (header, minutes, asked) in [
        ("max-age=7200", 119, 1),
        ("max-age=7200", 121, 2),
        ("no-store", 4, 1),
        ("no-store", 6, 2),
        ("max-age=31536000", 23 * 60, 1),
        ("max-age=31536000", 25 * 60, 2),
    ] {
        let deployment = on_loopback();
        let (host, client) = Host::new().await;
        let answer = json_answer(&document(&client)).insert_header("cache-control", header);
        host.say(answer).await;
        authorize(&deployment, &client).await;
        deployment.clock.advance(Duration::from_mins(minutes));
        assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
        assert_eq!(host.asked().await, asked, "{header} after {minutes} minutes");
    }
}

#[tokio::test]
async fn a_changed_document_is_for_new_logins() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let tokens = deployment.login(&client).await;
    let mut browser = Browser::default();
    let page = {
        let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
        browser.get(&deployment, &path).await
    };

    let mut changed = document(&client);
    changed["redirect_uris"] = json!(["https://app.example/callback"]);
    host.say(json_answer(&changed)).await;
    deployment.clock.advance(Duration::from_hours(1));
    let refused = authorize(&deployment, &client).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);

    // Too old by now, but not because of its age: a page of this minute fares no better.
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
}

#[tokio::test]
async fn an_open_page_ends_with_its_redirect_uri() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let answer = json_answer(&document(&client)).insert_header("cache-control", "no-store");
    host.say(answer).await;
    let mut browser = Browser::default();
    let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
    let page = browser.get(&deployment, &path).await;
    let mut changed = document(&client);
    changed["redirect_uris"] = json!(["https://app.example/callback"]);
    host.say(json_answer(&changed)).await;
    deployment.clock.advance(Duration::from_mins(6));
    authorize(&deployment, &client).await;

    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    assert!(answer.body.contains("not registered here"), "{}", answer.body);
}

#[tokio::test]
async fn an_open_page_ends_with_its_document() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let mut browser = Browser::default();
    let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
    let page = browser.get(&deployment, &path).await;
    let approve = async |browser: &mut Browser, at: &Deployment| {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
        browser.post(at, "/consent", &form).await
    };
    host.say(ResponseTemplate::new(404)).await;
    // A process that never had the document heard that there is none, too.
    let other = replica(&deployment);
    authorize(&other, &client).await.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
    let refused = approve(&mut browser, &other).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    assert!(refused.body.contains("not registered here"), "{}", refused.body);

    // One that heard nothing goes by what the person saw.
    let third = replica(&deployment);
    let answer = approve(&mut browser, &third).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
}

#[tokio::test]
async fn of_32_simultaneous_logins_one_fetches() {
    let deployment = Arc::new(on_loopback());
    for round in 0..20 {
        let (host, client) = Host::new().await;
        let answer = if round % 2 == 0 {
            json_answer(&document(&client)).set_delay(Duration::from_millis(20))
        } else {
            ResponseTemplate::new(500).set_delay(Duration::from_millis(20))
        };
        host.say(answer).await;
        let all: Vec<_> = (0..32)
            .map(|_| {
                let (deployment, client) = (Arc::clone(&deployment), client.clone());
                tokio::spawn(async move { authorize(&deployment, &client).await.status.as_u16() })
            })
            .collect();
        let expected = if round % 2 == 0 { 200 } else { 503 };
        for one in all {
            assert_eq!(one.await.unwrap(), expected, "round {round}");
        }
        assert_eq!(host.asked().await, 1, "round {round}");
    }
}

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

#[tokio::test]
async fn without_documents_a_url_is_nobodys_id() {
    let deployment = Deployment::with(|builder| builder.client_documents(ClientDocuments::off()));
    let client = "https://app.example/client";
    let metadata = deployment.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata.get("client_id_metadata_document_supported"), None);
    let refused = deployment.get(&authorize_path(client, &[])).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
    assert!(refused.body.contains("register again"), "{}", refused.body);
    let refused = deployment.refresh(client, "nonsense").await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");

    let on = Deployment::new();
    let metadata = on.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let refused = on.refresh(client, "nonsense").await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn only_the_listed_hosts_describe_clients() {
    let deployment = Deployment::with(|builder| {
        builder.client_documents(ClientDocuments::only(["app.example"]))
    });
    let client = "https://other.example/client";
    let refused = deployment.get(&authorize_path(client, &[])).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
    assert!(refused.body.contains("does not accept"), "{}", refused.body);
    let refused = deployment.refresh(client, "nonsense").await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
}

#[test]
fn what_cannot_be_a_host_or_is_dangerous_is_refused() {
    let error =
        build_error(|builder| builder.client_documents(ClientDocuments::only(["10.0.0.1"])));
    assert!(error.contains("`10.0.0.1`"), "{error}");
    let loopback = ClientDocuments::default().danger_loopback();
    let error = build_error(|builder| builder.client_documents(loopback));
    assert!(error.contains("base URL on loopback"), "{BASE} is not: {error}");
}

#[tokio::test]
async fn an_operator_ends_the_grants_of_a_client_by_its_url() {
    let deployment = on_loopback();
    let (_host, client) = Host::new().await;
    let (one, two) = (deployment.login(&client).await, deployment.login(&client).await);
    let administration = deployment.proxy.administration();
    let filter = GrantFilter::Client(client.clone());
    let page = administration.grants(&filter, None, 10).await.unwrap();
    assert_eq!(page.grants.len(), 2);
    assert_eq!(page.grants[0].client_name.as_deref(), Some("Described app"));
    assert_eq!(administration.revoke(&filter).await.unwrap(), 2);
    for tokens in [&one, &two] {
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    }

    deployment.clock.advance(Duration::from_mins(1));
    let tokens = deployment.login(&client).await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, &client).await;
    assert_eq!(administration.delete_client(&client).await.unwrap(), Some(1));
    let refused = deployment.refresh(&client, &tokens.refresh).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    let back = browser.return_with_code(&deployment, &state).await.location().to_owned();
    assert_eq!(param(&back, "error").as_deref(), Some("access_denied"), "it was in flight");
    assert_eq!(administration.delete_client(&client).await.unwrap(), None, "nothing is left");
    deployment.clock.advance(Duration::from_mins(1));
    deployment.login(&client).await;

    let manage = Request::get(format!("/register/{}", encoded(&client)))
        .header("authorization", "Bearer nonsense")
        .body(Body::empty())
        .unwrap();
    let refused = deployment.send(manage).await;
    refused.assert_error(StatusCode::UNAUTHORIZED, "invalid_token");
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
