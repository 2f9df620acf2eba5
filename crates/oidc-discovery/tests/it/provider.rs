//! A provider that does as it is told, and a clock likewise.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use oidc_discovery::{Clock, Discovery, DiscoveryBuilder};
use outbound_http::Client;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::path};

pub(crate) const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// A clock that stands still until it is told.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<SystemTime>>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))))
    }

    pub(crate) fn advance(&self, seconds: u64) {
        *self.0.lock().expect("the clock") += Duration::from_secs(seconds);
    }

    pub(crate) fn set_back(&self, seconds: u64) {
        *self.0.lock().expect("the clock") -= Duration::from_secs(seconds);
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Arc::new(move || *now.lock().expect("the clock"))
    }
}

/// What a path answers, and how often it was asked.
#[derive(Clone)]
pub(crate) struct Page {
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<ResponseTemplate>>,
}

impl Page {
    fn new(answer: ResponseTemplate) -> Self {
        Self { asked: Arc::default(), answer: Arc::new(Mutex::new(answer)) }
    }

    pub(crate) fn answer(&self, answer: ResponseTemplate) {
        *self.answer.lock().expect("the answer") = answer;
    }

    pub(crate) fn answer_json(&self, body: Value) {
        self.answer(ResponseTemplate::new(200).set_body_json(body));
    }

    pub(crate) fn break_down(&self) {
        self.answer(ResponseTemplate::new(500));
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Respond for Page {
    fn respond(&self, _request: &Request) -> ResponseTemplate {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.answer.lock().expect("the answer").clone()
    }
}

pub(crate) struct Provider {
    pub(crate) server: MockServer,
    pub(crate) clock: TestClock,
    pub(crate) metadata: Page,
    pub(crate) keys: Page,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
        let metadata = Page::new(json(document(&server.uri())));
        let keys = Page::new(json(key_set(&["a"])));
        for (at, page) in [(WELL_KNOWN, &metadata), ("/jwks", &keys)] {
            Mock::given(path(at)).respond_with(page.clone()).mount(&server).await;
        }
        Self { server, clock: TestClock::new(), metadata, keys }
    }

    pub(crate) fn issuer(&self) -> String {
        self.server.uri()
    }

    pub(crate) fn builder(&self) -> DiscoveryBuilder {
        let config_url = format!("{}{WELL_KNOWN}", self.issuer());
        let client = Client::builder().build().expect("a client");
        Discovery::builder(&config_url, client).clock(self.clock.clock())
    }

    pub(crate) fn discovery(&self) -> Discovery {
        self.builder().build().expect("a discovery")
    }
}

pub(crate) fn document(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
    })
}

pub(crate) fn key_set(kids: &[&str]) -> Value {
    let keys: Vec<_> = kids
        .iter()
        .map(|kid| json!({"kty": "RSA", "kid": kid, "n": "AQAB", "e": "AQAB"}))
        .collect();
    json!({ "keys": keys })
}
