//! One deployment in memory, and people who use it.

mod probe;
mod provider;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    routing::any,
};
use http::{HeaderMap, Request, Response, StatusCode, header};
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::{KeyValue, Memory};
use oauth_proxy::{AccessPolicy, Clock, Lifetimes, OAuthProxy, OAuthProxyBuilder};
use serde_json::{Value, json};
use token_verifier::Principal;
use tower::ServiceExt;
use url::{Url, form_urlencoded};

pub(crate) use probe::{Fault, Probe, Undone};
pub(crate) use provider::{FakeProvider, person};

pub(crate) const BASE: &str = "https://proxy.example";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:7777/callback";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A clock that only tests move.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)))
    }

    /// Starts at the real present, for stores with a clock of their own; moves like the others.
    #[expect(clippy::disallowed_methods, reason = "the store under test uses the system's clock")]
    pub(crate) fn wall() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(Arc::new(AtomicU64::new(now.as_secs())))
    }
}

/// A deployment.
pub(crate) struct Deployment {
    pub(crate) proxy: OAuthProxy,
    pub(crate) router: Router,
    pub(crate) clock: TestClock,
    pub(crate) provider: Arc<FakeProvider>,
    pub(crate) storage: Probe,
}

impl Deployment {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with_lifetimes(change: impl FnOnce(&mut Lifetimes)) -> Self {
        let mut lifetimes = Lifetimes::default();
        change(&mut lifetimes);
        Self::with(|builder| builder.lifetimes(lifetimes))
    }

    pub(crate) fn with(change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder) -> Self {
        Self::at(BASE, change)
    }

    /// With another base URL.
    pub(crate) fn at(
        base_url: &str,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
    ) -> Self {
        let clock = TestClock::new();
        let memory = Memory::builder().clock(clock.clock()).build();
        Self::start(base_url, Arc::new(memory), clock, change)
    }

    pub(crate) fn on(
        storage: Arc<dyn KeyValue>,
        clock: TestClock,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
    ) -> Self {
        Self::start(BASE, storage, clock, change)
    }

    fn start(
        base_url: &str,
        storage: Arc<dyn KeyValue>,
        clock: TestClock,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
    ) -> Self {
        Self::before(Arc::new(FakeProvider::default()), base_url, storage, clock, change)
    }

    /// Another process with the same storage, keys and provider.
    pub(crate) fn replica(&self) -> Self {
        self.replica_with(|_| {})
    }

    pub(crate) fn replica_with(&self, change: impl FnOnce(&mut Lifetimes)) -> Self {
        let mut lifetimes = Lifetimes::default();
        change(&mut lifetimes);
        self.replica_of(|builder| builder.lifetimes(lifetimes))
    }

    /// The same with other settings.
    pub(crate) fn replica_of(
        &self,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
    ) -> Self {
        let (provider, storage) = (Arc::clone(&self.provider), Arc::clone(self.storage.inner()));
        Self::before(provider, BASE, storage, self.clock.clone(), change)
    }

    /// The same at another base URL.
    pub(crate) fn replica_at(
        &self,
        base_url: &str,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
    ) -> Self {
        let (provider, storage) = (Arc::clone(&self.provider), Arc::clone(self.storage.inner()));
        Self::before(provider, base_url, storage, self.clock.clone(), change)
    }

    fn before(
        provider: Arc<FakeProvider>,
        base_url: &str,
        storage: Arc<dyn KeyValue>,
        clock: TestClock,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder,
    ) -> Self {
        let storage = Probe::new(storage);
        let builder = OAuthProxy::builder(base_url, Arc::clone(&provider) as _)
            .danger_unencrypted_storage(storage.clone())
            .signing_keys(KeyRing::new(MasterKey::new(&[7; 32]).unwrap()))
            .access(AccessPolicy::any_user())
            .clock(clock.clock());
        Self::of(change(builder).build().unwrap(), clock, provider, storage)
    }

    /// Around a proxy that was built by hand.
    pub(crate) fn of(
        proxy: OAuthProxy,
        clock: TestClock,
        provider: Arc<FakeProvider>,
        storage: Probe,
    ) -> Self {
        let path = Url::parse(proxy.resource()).unwrap().path().to_owned();
        let resource = Router::new().route(
            &path,
            any(|principal: Principal| async move {
                let scopes = principal.scopes().join(" ");
                format!("{} {} [{scopes}]", principal.subject(), principal.client_id().unwrap())
            }),
        );
        let router = proxy.clone().protect(resource);
        Self { proxy, router, clock, provider, storage }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::read(self.router.clone().oneshot(request).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(form_request(path, form).body(encoded(form)).unwrap()).await
    }

    /// A public client that was registered just now.
    pub(crate) async fn register(&self) -> String {
        let metadata = json!({"redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "none", "client_name": "Test client",
            "grant_types": ["authorization_code", "refresh_token"]});
        self.register_with(&metadata).await.json()["client_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn register_with(&self, metadata: &Value) -> Answer {
        let request = Request::post("/register")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(metadata.to_string()))
            .unwrap();
        let answer = self.send(request).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer
    }

    /// The whole login of a person who approves; a code of ours.
    pub(crate) async fn code(&self, client: &str) -> String {
        let mut browser = Browser::default();
        let back = browser.login(self, client).await;
        param(&back, "code").unwrap_or_else(|| panic!("no code in {back}"))
    }

    pub(crate) async fn redeem(&self, client: &str, code: &str) -> Answer {
        self.post("/token", &redemption(client, code)).await
    }

    /// Tokens of a fresh login.
    pub(crate) async fn login(&self, client: &str) -> Tokens {
        let code = self.code(client).await;
        Tokens::of(&self.redeem(client, &code).await)
    }

    pub(crate) async fn refresh(&self, client: &str, token: &str) -> Answer {
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", client)];
        self.post("/token", &form).await
    }

    pub(crate) async fn call(&self, access_token: &str) -> Answer {
        let request = Request::post("/mcp")
            .header(header::AUTHORIZATION, format!("Bearer {access_token}"))
            .body(Body::empty())
            .unwrap();
        self.send(request).await
    }
}

/// What keeps a deployment from being built.
pub(crate) fn build_error(change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder) -> String {
    let builder = OAuthProxy::builder(BASE, Arc::new(FakeProvider::default()))
        .storage(Memory::new())
        .signing_keys(KeyRing::new(MasterKey::new(&[7; 32]).unwrap()))
        .access(AccessPolicy::any_user());
    change(builder).build().unwrap_err().to_string()
}

/// Polls a condition; a test that waits for ever fails.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "the condition did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The form of an honest redemption.
pub(crate) fn redemption<'a>(client: &'a str, code: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

/// The query of an honest authorization request.
pub(crate) fn authorize_path(client: &str, extra: &[(&str, &str)]) -> String {
    authorize_path_for("https://proxy.example/mcp", client, extra)
}

/// As [`authorize_path`], for another resource.
pub(crate) fn authorize_path_for(resource: &str, client: &str, extra: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs([
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "the client's state"),
        ("resource", resource),
    ]);
    query.extend_pairs(extra);
    format!("/authorize?{}", query.finish())
}

pub(crate) fn form_request(path: &str, form: &[(&str, &str)]) -> http::request::Builder {
    let _ = form;
    Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
}

pub(crate) fn encoded(form: &[(&str, &str)]) -> Body {
    Body::from(form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish())
}

/// A query parameter of a URL.
pub(crate) fn param(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1024 * 1024).await.unwrap();
        let body = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(crate) fn location(&self) -> &str {
        self.headers.get(header::LOCATION).unwrap_or_else(|| panic!("{self:?}")).to_str().unwrap()
    }

    /// Asserts an OAuth error as JSON.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: StatusCode, code: &str) {
        assert_eq!((self.status, self.json()["error"].as_str()), (status, Some(code)), "{self:?}");
    }

    /// The value of a hidden field of the form on the page.
    pub(crate) fn field(&self, name: &str) -> String {
        let marker = format!("name=\"{name}\" value=\"");
        let start = self.body.find(&marker).unwrap_or_else(|| panic!("no {name} in {}", self.body));
        let rest = &self.body[start + marker.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }
}

/// What a client has after a login.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: u64,
}

impl Tokens {
    #[track_caller]
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let json = answer.json();
        Self {
            access: json["access_token"].as_str().unwrap().to_owned(),
            refresh: json["refresh_token"].as_str().unwrap().to_owned(),
            expires_in: json["expires_in"].as_u64().unwrap(),
        }
    }
}

/// A browser with its cookies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) async fn get(&mut self, deployment: &Deployment, path: &str) -> Answer {
        let request = self.with_cookies(Request::get(path)).body(Body::empty()).unwrap();
        self.keep(deployment.send(request).await)
    }

    pub(crate) async fn post(
        &mut self,
        deployment: &Deployment,
        path: &str,
        form: &[(&str, &str)],
    ) -> Answer {
        let request = self.with_cookies(form_request(path, form)).body(encoded(form)).unwrap();
        self.keep(deployment.send(request).await)
    }

    /// Opens the consent page and answers it; what the server says to that.
    pub(crate) async fn answer_consent(
        &mut self,
        deployment: &Deployment,
        client: &str,
        action: &str,
    ) -> Answer {
        let path = authorize_path_for(deployment.proxy.resource(), client, &[]);
        let page = self.get(deployment, &path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let form = [("request", &*request), ("csrf", &csrf), ("action", action)];
        self.post(deployment, "/consent", &form).await
    }

    /// The `state` that went to the provider after approval.
    pub(crate) async fn approve(&mut self, deployment: &Deployment, client: &str) -> String {
        let answer = self.answer_consent(deployment, client, "approve").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        param(answer.location(), "state").unwrap()
    }

    /// The provider returns with a code; where the client's redirect leads.
    pub(crate) async fn return_with_code(
        &mut self,
        deployment: &Deployment,
        state: &str,
    ) -> Answer {
        let path = format!("/auth/callback?code=provider-code&state={state}");
        self.get(deployment, &path).await
    }

    /// Approval and login; the URL at the client.
    pub(crate) async fn login(&mut self, deployment: &Deployment, client: &str) -> String {
        let state = self.approve(deployment, client).await;
        self.return_with_code(deployment, &state).await.location().to_owned()
    }

    fn with_cookies(&self, mut request: http::request::Builder) -> http::request::Builder {
        for (name, value) in &self.cookies {
            request = request.header(header::COOKIE, format!("{name}={value}"));
        }
        request
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}
