//! A provider, an application there, and one person's way through its login page.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, response::IntoResponse};
use dev_idp::{ClientConfig, DevIdp, SigningKey, User};
use http::{Request, StatusCode, header};
use oauth_proxy::provider::{
    Application, ApplicationBuilder, AuthorizeRequest, ExchangeRequest, Identity, Provider,
    ProviderError, ProviderTokens,
};
use oidc_discovery::{Discovery, DiscoveryBuilder};
use oidc_proxy::{OidcProvider, OidcProviderBuilder};
use outbound_http::Client;
use tokio::net::TcpListener;
use tower::ServiceExt;
use url::{Url, form_urlencoded};

pub(crate) const CLIENT_ID: &str = "the app";
pub(crate) const SECRET: &str = "a secret: 100% of it";
pub(crate) const CALLBACK: &str = "http://localhost:1/auth/callback";
pub(crate) const NONCE: &str = "the-nonce";

/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A clock that tests move.
#[derive(Clone)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn clock(&self) -> Arc<dyn Fn() -> SystemTime + Send + Sync> {
        let seconds = Arc::clone(&self.0);
        Arc::new(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
        })
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// Making a key takes a while: one is enough for all.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

fn dev_idp(issuer: &str, time: &Time, key: SigningKey) -> DevIdp {
    DevIdp::builder()
        .issuer(issuer)
        .client(ClientConfig {
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(SECRET.to_owned()),
            redirect_uris: vec![CALLBACK.to_owned()],
        })
        .user(User::alice())
        .signing_key(key)
        .clock(time.clock())
        .build()
        .unwrap()
}

/// A provider that answers, and the clock that it and its client share.
pub(crate) struct Idp {
    pub(crate) server: DevIdp,
    pub(crate) time: Time,
    http: Client,
    answering: Arc<Mutex<Router>>,
    broken: Arc<Mutex<Option<Broken>>>,
}

/// What one path answers instead.
pub(crate) type Broken = (&'static str, StatusCode, &'static str);

impl Idp {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let time = Time(Arc::new(AtomicU64::new(1_800_000_000)));
        let server =
            dev_idp(&format!("http://{}", listener.local_addr().unwrap()), &time, KEY.clone());
        let answering = Arc::new(Mutex::new(server.clone().into_router()));
        let current = Arc::clone(&answering);
        let broken = Arc::new(Mutex::new(None::<Broken>));
        let breaking = Arc::clone(&broken);
        let router = Router::new().fallback(async move |request: Request<Body>| {
            let broken = *breaking.lock().unwrap();
            if let Some((path, status, body)) = broken
                && request.uri().path() == path
            {
                return (status, body).into_response();
            }
            let router = current.lock().unwrap().clone();
            router.oneshot(request).await.into_response()
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { server, time, http: Client::builder().build().unwrap(), answering, broken }
    }

    /// The same provider with another signing key, and nothing of the old one.
    pub(crate) fn rotate_key(&mut self) {
        self.server = dev_idp(self.server.issuer(), &self.time, SigningKey::generate().unwrap());
        *self.answering.lock().unwrap() = self.server.clone().into_router();
    }

    /// Whether one path is out of order from now on.
    pub(crate) fn set_broken(&self, broken: Option<Broken>) {
        *self.broken.lock().unwrap() = broken;
    }

    /// The provider as the application sees it.
    pub(crate) fn client(&self) -> OidcProvider {
        self.client_with(|application| application, |discovery| discovery, |provider| provider)
    }

    pub(crate) fn client_with(
        &self,
        application: impl FnOnce(ApplicationBuilder) -> ApplicationBuilder,
        discovery: impl FnOnce(DiscoveryBuilder) -> DiscoveryBuilder,
        provider: impl FnOnce(OidcProviderBuilder) -> OidcProviderBuilder,
    ) -> OidcProvider {
        let builder = Application::builder(CLIENT_ID).client_secret(SECRET.into());
        let application = application(builder).build().unwrap();
        let builder = Discovery::builder(self.server.issuer(), application.http().clone())
            .clock(self.time.clock());
        let discovery = discovery(builder).build().unwrap();
        provider(OidcProvider::builder(discovery, application).clock(self.time.clock()))
            .build()
            .unwrap()
    }

    /// Sends the person through the login page; returns the parameters at our callback.
    pub(crate) async fn log_in(&self, provider: &OidcProvider) -> HashMap<String, String> {
        let request = AuthorizeRequest::new(CALLBACK, "the-state", NONCE, CHALLENGE);
        let url = provider.authorize_url(&request).await.unwrap();
        let page = self.http.send(Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
        let cookie = page.headers()[header::SET_COOKIE].to_str().unwrap();
        let (cookie, _) = cookie.split_once(';').unwrap();
        let cookie = cookie.to_owned();
        let page = String::from_utf8(page.into_body()).unwrap();
        let (_, form) = page.split_once("name=\"form\" value=\"").expect("a login form");
        let (form, _) = form.split_once('"').unwrap();
        let user = User::alice();
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("form", form)
            .append_pair("username", &user.username)
            .append_pair("password", &user.password)
            .append_pair("action", "allow")
            .finish();
        let request = Request::post(format!("{}/login", self.server.issuer()))
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .unwrap();
        let answer = self.http.send(request).await.unwrap();
        let location = answer.headers()[header::LOCATION].to_str().unwrap();
        assert!(location.starts_with(CALLBACK), "{location}");
        Url::parse(location).unwrap().query_pairs().into_owned().collect()
    }

    /// A whole login, as `oauth-proxy` runs it.
    pub(crate) async fn identify(
        &self,
        provider: &OidcProvider,
    ) -> Result<(ProviderTokens, Identity), ProviderError> {
        let params = self.log_in(provider).await;
        assert_eq!(params["state"], "the-state");
        provider.check_response_issuer(params.get("iss").map(String::as_str)).await?;
        let request =
            ExchangeRequest::new(params["code"].as_str().into(), CALLBACK, VERIFIER.into());
        let tokens = provider.exchange(&request).await?;
        let identity = provider.identify(&tokens, Some(NONCE)).await?;
        Ok((tokens, identity.expect("an identity after an exchange")))
    }
}
