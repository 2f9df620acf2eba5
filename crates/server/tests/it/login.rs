//! A login through `serve`, by hand: an echo for a backend, dev-idp for a provider.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use axum::{Router, routing::any};
use dev_idp::{ClientConfig, DevIdp, Lifetimes};
use http::HeaderMap;
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use url::{Url, form_urlencoded};

use crate::{
    process::{DEADLINE, Serve, run},
    serve::free_port,
};

const REDIRECT_URI: &str = "http://127.0.0.1:1/callback";
/// RFC 7636 Appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A provider and a backend; they end with it.
pub(crate) struct Around {
    runtime: Runtime,
    provider: JoinHandle<std::io::Result<()>>,
    pub(crate) idp: String,
    pub(crate) backend: String,
}

impl Around {
    /// The provider knows the callback URL of a proxy on `port`, and its secret.
    pub(crate) fn start(port: u16) -> Self {
        Self::with(port, Lifetimes::default())
    }

    pub(crate) fn with(port: u16, lifetimes: Lifetimes) -> Self {
        let runtime = Runtime::new().unwrap();
        let (idp, backend, provider) = runtime.block_on(async {
            let idp_listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let idp = format!("http://{}", idp_listener.local_addr().unwrap());
            let client = ClientConfig {
                client_id: "the-client".to_owned(),
                client_secret: Some("the-secret".to_owned()),
                redirect_uris: vec![format!("http://127.0.0.1:{port}/auth/callback")],
            };
            let builder = DevIdp::builder().issuer(&idp).client(client).lifetimes(lifetimes);
            let provider = builder.build().unwrap().into_router();
            let provider = tokio::spawn(async { axum::serve(idp_listener, provider).await });

            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let backend = format!("http://{}/echo", listener.local_addr().unwrap());
            let echo = any(|headers: HeaderMap| async move { format!("{headers:?}") });
            tokio::spawn(async { axum::serve(listener, Router::new().route("/echo", echo)).await });
            (idp, backend, provider)
        });
        Self { runtime, provider, idp, backend }
    }

    /// From now on nobody answers there.
    pub(crate) fn stop_provider(&mut self) {
        self.provider.abort();
        let ended = self.runtime.block_on(&mut self.provider);
        assert!(ended.unwrap_err().is_cancelled());
    }

    pub(crate) fn arguments(&self, port: u16) -> Vec<String> {
        vec![
            format!("--base-url=http://127.0.0.1:{port}"),
            format!("--listen=127.0.0.1:{port}"),
            format!("--config-url={}/.well-known/openid-configuration", self.idp),
            format!("--backend={}", self.backend),
            "--client-id=the-client".to_owned(),
            "--client-secret=the-secret".to_owned(),
        ]
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter_map(move |(this, value)| this.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The value of a member of a JSON object, found as text.
    fn member(&self, name: &str) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).expect(&self.body);
        json[name].as_str().expect(&self.body).to_owned()
    }
}

pub(crate) fn send(method: &str, url: &Url, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, url.port().unwrap())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = url[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    let length = body.len().to_string();
    let ours = [("connection", "close"), ("host", &*host), ("content-length", &*length)];
    write!(stream, "{method} {target} HTTP/1.1\r\n").unwrap();
    for (name, value) in ours.iter().chain(headers) {
        write!(stream, "{name}: {value}\r\n").unwrap();
    }
    write!(stream, "\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// What stands in `name="…"` of an HTML tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, after) = tag.split_once(&format!("{name}=\""))?;
    let (value, _) = after.split_once('"')?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}

/// Follows redirects and fills in forms until something leads to the client; the last page if
/// nothing does.
fn browse(mut url: Url, user: &str, password: &str) -> Result<Url, Answer> {
    let mut cookies: BTreeMap<(u16, String), String> = BTreeMap::new();
    let (mut method, mut body) = ("GET", String::new());
    for _ in 0..12 {
        let port = url.port().unwrap();
        let cookie: Vec<_> = cookies
            .iter()
            .filter(|((of, _), _)| *of == port)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let cookie = cookie.join("; ");
        let answer = send(method, &url, &[FORM, ("cookie", &cookie)], &body);
        for set in answer.headers("set-cookie") {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            cookies.insert((port, name.to_owned()), value.to_owned());
        }
        if let Some(target) = answer.headers("location").next() {
            url = url.join(target).unwrap();
            (method, body) = ("GET", String::new());
            if url.as_str().starts_with(REDIRECT_URI) {
                return Ok(url);
            }
            continue;
        }
        let Some((_, html)) = answer.body.split_once("<form") else { return Err(answer) };
        url = url.join(&attribute(html, "action").unwrap()).unwrap();
        let hidden = html.split("<input").filter(|tag| tag.contains("type=\"hidden\""));
        let mut pairs: Vec<_> = hidden
            .map(|tag| (attribute(tag, "name").unwrap(), attribute(tag, "value").unwrap()))
            .collect();
        let button = html.split("<button").nth(1).unwrap();
        pairs.push(("action".to_owned(), attribute(button, "value").unwrap()));
        if html.contains("type=\"password\"") {
            pairs.push(("username".to_owned(), user.to_owned()));
            pairs.push(("password".to_owned(), password.to_owned()));
        }
        body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        method = "POST";
    }
    panic!("no end at {url}");
}

/// Registers a client and asks for an authorization.
fn authorize(base: &Url, user: &str, password: &str) -> (String, Result<Url, Answer>) {
    let registration = format!(
        "{{\"redirect_uris\":[\"{REDIRECT_URI}\"],\"token_endpoint_auth_method\":\"none\"}}"
    );
    let json = [("content-type", "application/json")];
    let client = send("POST", &base.join("/register").unwrap(), &json, &registration);
    assert_eq!(client.status, 201, "{}", client.body);
    let client_id = client.member("client_id");
    let mut url = base.join("/authorize").unwrap();
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", &client_id),
        ("redirect_uri", REDIRECT_URI),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "the-state"),
    ]);
    (client_id, browse(url, user, password))
}

/// The access token of a full login.
pub(crate) fn log_in(base: &Url, user: &str, password: &str) -> String {
    let (client_id, arrived) = authorize(base, user, password);
    let arrived = arrived.unwrap_or_else(|page| panic!("{}: {}", page.status, page.body));
    let query: BTreeMap<_, _> = arrived.query_pairs().into_owned().collect();
    let body = form(&[
        ("grant_type", "authorization_code"),
        ("code", query.get("code").unwrap_or_else(|| panic!("{arrived}"))),
        ("client_id", &client_id),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ]);
    let tokens = send("POST", &base.join("/token").unwrap(), &[FORM], &body);
    assert_eq!(tokens.status, 200, "{}", tokens.body);
    tokens.member("access_token")
}

/// What the backend was told, to which the client adds a lie.
pub(crate) fn call(base: &Url, path: &str, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let forged = ("x-forwarded-user", "mallory");
    send("POST", &base.join(path).unwrap(), &[("authorization", &bearer), forged], "")
}

#[test]
fn the_right_people_get_in_and_their_sessions_survive_a_restart() {
    let port = free_port();
    let around = Around::start(port);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    std::fs::write(
        &file,
        format!(
            "allow_group = [\"admins\"]\nmcp_path = \"/team/mcp\"\nstorage = \"sqlite://{}/x\"\n\
             [[client_settings]]\nclient_id = \"x\"\ndanger_public_without_rotation = true\n\
             refresh_absolute_lifetime = \"30d\"\n",
            directory.path().display()
        ),
    )
    .unwrap();
    let mut arguments = around.arguments(port);
    arguments.push(format!("--config={}", file.display()));
    let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();

    let mut serve = Serve::start(&arguments);
    serve.wait_for("answers");
    let token = log_in(&base, "alice", "wonderland");
    let told = call(&base, "/team/mcp", &token);
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(told.body.contains("\"x-forwarded-user\": \"user-alice\""), "{}", told.body);
    assert!(told.body.contains("\"x-forwarded-groups\": \"staff,admins\""), "{}", told.body);
    assert!(!told.body.contains(&token), "{}", told.body);

    // Bob is in no such group: he sees why, or the client does, but there is no code.
    let (_, refused) = authorize(&base, "bob", "can-we-fix-it");
    match refused {
        Ok(url) => assert!(url.as_str().contains("error=access_denied"), "{url}"),
        Err(page) => assert!(page.body.contains("access_denied"), "{}", page.body),
    }
    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the refresh tokens of the client \"x\" do not rotate"), "{log}");
    assert!(!log.contains("the-secret") && !log.contains(&token), "{log}");

    arguments.push("--identity=none".to_owned());
    let again = Serve::start(&arguments);
    let told = call(&base, "/team/mcp", &token);
    assert_eq!(told.status, 200, "{}", told.body);
    assert!(!told.body.contains("x-forwarded-user"), "{}", told.body);
    assert_eq!(again.stop().0, Some(0));
}

#[test]
fn memory_storage_forgets() {
    let port = free_port();
    let around = Around::start(port);
    let mut arguments = around.arguments(port);
    arguments.extend(["--storage=memory:".to_owned(), "--allow-any-user".to_owned()]);
    let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let serve = Serve::start(&arguments);
    assert!(serve.log.contains("may log in: everybody whom the provider lets log in"));
    let token = log_in(&base, "bob", "can-we-fix-it");
    assert_eq!(call(&base, "/mcp", &token).status, 200);
    assert_eq!(serve.stop().0, Some(0));
    let again = Serve::start(&arguments);
    assert_eq!(call(&base, "/mcp", &token).status, 401);
    assert_eq!(again.stop().0, Some(0));
    // In front of strangers it must be asked for.
    let public = [&arguments[1..], &["--base-url=https://mcp.example".to_owned()]].concat();
    let output = run(["config", "check"].map(str::to_owned).into_iter().chain(public));
    assert_eq!(output.status.code(), Some(2));
}
