//! Clients that are described by a document at their own URL: what they get, what people see of
//! them, and what an operator decides.

mod host;
mod strangers;

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{body::Body, extract::ConnectInfo};
use http::{Request, StatusCode};
use oauth_proxy::{ClientDocuments, admin::GrantFilter};
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request as Received, ResponseTemplate, matchers::any};

use crate::support::{
    Answer, BASE, Browser, Deployment, REDIRECT, Tokens, authorize_path, authorize_path_for,
    build_error, param,
};

/// Documents on this machine are for servers on this machine.
pub(crate) const LOCAL: &str = "http://localhost:8000";

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

    /// The same, with an answer for each request.
    pub(crate) async fn say_of(
        &self,
        answer: impl Fn(&Received) -> ResponseTemplate + Send + Sync + 'static,
    ) {
        self.0.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.0).await;
    }

    /// How often it was asked since it said something else.
    pub(crate) async fn asked(&self) -> usize {
        self.0.received_requests().await.unwrap().len()
    }
}

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
