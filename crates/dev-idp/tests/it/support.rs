//! A provider with a clock to turn, and a browser that keeps cookies and submits forms.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, body::Body};
use base64::{Engine, engine::general_purpose::STANDARD};
use dev_idp::{Builder, ClientConfig, DevIdp, SigningKey};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use url::{Url, form_urlencoded};

pub(crate) const ISSUER: &str = "http://localhost:9000";
pub(crate) const CALLBACK: &str = "http://localhost:8000/auth/callback";
pub(crate) const CONFIDENTIAL: &str = "proxy";
pub(crate) const SECRET: &str = "s3cr3t+with/odd:chars";
pub(crate) const PUBLIC: &str = "public-app";
pub(crate) const PUBLIC_CALLBACK: &str = "http://127.0.0.1:7000/cb?tenant=1";
pub(crate) const START: u64 = 1_800_000_000;
/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// One key for all tests: making one takes a while.
pub(crate) fn signing_key() -> SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate().unwrap()).clone()
}

pub(crate) struct World {
    pub(crate) idp: DevIdp,
    router: Router,
    clock: Arc<AtomicU64>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = Arc::new(AtomicU64::new(START));
        let reading = Arc::clone(&clock);
        let builder = base(ISSUER).clock(Arc::new(move || {
            UNIX_EPOCH + Duration::from_secs(reading.load(Ordering::SeqCst))
        }));
        let idp = change(builder).build().unwrap();
        Self { router: idp.clone().into_router(), idp, clock }
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser { router: self.router.clone(), cookies: BTreeMap::new() }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// A form to an endpoint, as the confidential client.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_as(path, Some(&basic(CONFIDENTIAL, SECRET)), fields).await
    }

    pub(crate) async fn post_as(
        &self,
        path: &str,
        authorization: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Answer {
        self.send(form(path, authorization, fields)).await
    }

    /// A code for alice, with `changes` to the usual request.
    pub(crate) async fn code(&self, changes: &[(&str, &str)]) -> String {
        let mut browser = self.browser();
        let page = browser.get(&authorize(changes)).await;
        let answer = browser.log_in(&page, "alice", "wonderland").await;
        answer.param("code").unwrap_or_else(|| panic!("no code: {answer:?}"))
    }

    pub(crate) async fn redeem(&self, code: &str, changes: &[(&str, &str)]) -> Answer {
        let usual = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        self.post("/token", &changed(&usual, changes)).await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.post("/token", &fields).await
    }

    /// A whole login of alice: the token response.
    pub(crate) async fn tokens(&self, changes: &[(&str, &str)]) -> Value {
        let code = self.code(changes).await;
        let answer = self.redeem(&code, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    pub(crate) async fn userinfo(&self, access_token: &str) -> Answer {
        let authorization = format!("Bearer {access_token}");
        let request = Request::get("/userinfo").header(header::AUTHORIZATION, authorization);
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

/// The usual configuration, for this issuer.
pub(crate) fn base(issuer: &str) -> Builder {
    DevIdp::builder()
        .issuer(issuer)
        .signing_key(signing_key())
        .client(ClientConfig {
            client_id: CONFIDENTIAL.to_owned(),
            client_secret: Some(SECRET.to_owned()),
            redirect_uris: vec![CALLBACK.to_owned()],
        })
        .client(ClientConfig {
            client_id: PUBLIC.to_owned(),
            client_secret: None,
            redirect_uris: vec![PUBLIC_CALLBACK.to_owned()],
        })
}

pub(crate) struct Browser {
    router: Router,
    pub(crate) cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.visit(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn submit(&mut self, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let sealed = page.form_field();
        let mut all = vec![("form", sealed.as_str())];
        all.extend(fields);
        self.visit(form("/login", None, &all)).await
    }

    pub(crate) async fn log_in(&mut self, page: &Answer, username: &str, password: &str) -> Answer {
        let fields = [("username", username), ("password", password), ("action", "allow")];
        self.submit(page, &fields).await
    }

    pub(crate) async fn visit(&mut self, mut request: Request<Body>) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.join("; ").parse().unwrap());
        }
        let answer = send(&self.router, request).await;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let (pair, _) = cookie.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn location(&self) -> Url {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{self:?}");
        Url::parse(self.header(header::LOCATION)).unwrap()
    }

    /// A parameter of the redirect.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let location = self.location();
        let found = location.query_pairs().find(|(other, _)| other == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// The `error` of a JSON answer or of a redirect.
    pub(crate) fn error(&self) -> String {
        if self.status == StatusCode::SEE_OTHER {
            return self.param("error").unwrap_or_default();
        }
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The sealed request in a login page.
    pub(crate) fn form_field(&self) -> String {
        let (_, rest) = self.body.split_once(r#"name="form" value=""#).expect("a login page");
        rest.split_once('"').unwrap().0.to_owned()
    }
}

/// The path and query of an authorization request, with changes; an empty value removes.
pub(crate) fn authorize(changes: &[(&str, &str)]) -> String {
    let usual = [
        ("response_type", "code"),
        ("client_id", CONFIDENTIAL),
        ("redirect_uri", CALLBACK),
        ("scope", "openid profile email offline_access"),
        ("state", "a state & more"),
        ("nonce", "a-nonce"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    format!("/authorize?{}", encoded(&changed(&usual, changes)))
}

pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub(crate) fn form(
    path: &str,
    authorization: Option<&str>,
    fields: &[(&str, &str)],
) -> Request<Body> {
    let mut request =
        Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Body::from(encoded(fields))).unwrap()
}

/// HTTP Basic as RFC 6749 §2.3.1 wants it: both parts form-encoded first.
pub(crate) fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret))))
}

fn changed<'a>(
    usual: &[(&'a str, &'a str)],
    changes: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut fields = usual.to_vec();
    for (name, value) in changes {
        fields.retain(|(other, _)| other != name);
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    fields
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// The claims of a JWT, unverified.
pub(crate) fn claims(token: &Value) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(token.as_str().expect("a token")).unwrap()
}
