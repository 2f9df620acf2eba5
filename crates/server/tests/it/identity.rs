//! What the backend is told about who asks, and how it can tell that it is true.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dev_idp::Lifetimes;
use oidc_discovery::Discovery;
use outbound_http::Client;
use token_verifier::{JwtVerifier, Principal, TokenVerifier, VerifyError};
use tokio::runtime::Runtime;
use url::Url;

use crate::{
    login::{Answer, Around, log_in, send},
    process::{DEADLINE, Serve, run},
    serve::free_port,
};

/// A proxy with these arguments, and somebody logged in at it.
struct Session {
    around: Around,
    serve: Serve,
    base: Url,
    token: String,
    arguments: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Session {
    fn start(lifetimes: Lifetimes, arguments: &[&str]) -> Self {
        let port = free_port();
        let around = Around::with(port, lifetimes);
        let directory = tempfile::tempdir().unwrap();
        let mut all = around.arguments(port);
        all.extend([
            "--allow-any-user".to_owned(),
            "--provider-scopes=openid profile email offline_access".to_owned(),
            format!("--storage=sqlite://{}/state.sqlite", directory.path().display()),
        ]);
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let mut serve = Serve::start(&all);
        serve.wait_for("answers");
        let token = log_in(&base, "alice", "wonderland");
        Self { around, serve, base, token, arguments: all, _directory: directory }
    }

    /// What the backend was told, to which the client adds lies.
    fn call(&self) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("X-Forwarded-Assertion", "forged.by.hand"),
            ("x_forwarded_assertion", "forged.by.hand"),
            ("x-forwarded_assertion", "forged.by.hand"),
        ];
        send("POST", &self.base.join("/mcp").unwrap(), &headers, "")
    }

    /// Ends the proxy; its log has none of these.
    fn stop(self, secrets: &[&str]) {
        let (code, log) = self.serve.stop();
        assert_eq!(code, Some(0), "{log}");
        for secret in secrets {
            assert!(!log.contains(secret), "{log}");
        }
    }

    /// What a resource server elsewhere makes of a token, with our key set and nothing else.
    fn verify_elsewhere(&self, token: &str, audience: &str) -> Result<Principal, VerifyError> {
        let config_url = self.base.join("/.well-known/openid-configuration").unwrap();
        Runtime::new().unwrap().block_on(async {
            let client = Client::builder().build().unwrap();
            let discovery = Discovery::builder(config_url.as_str(), client)
                .danger_allow_http()
                .build()
                .unwrap();
            JwtVerifier::builder(discovery).build().verify(token, audience).await
        })
    }
}

/// The value of a header that the backend got exactly once.
#[track_caller]
fn told(answer: &Answer, name: &str) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let marker = format!("\"{name}\": \"");
    let mut parts = answer.body.split(&marker).skip(1);
    let value = parts.next().unwrap_or_else(|| panic!("no {name}: {}", answer.body));
    assert!(parts.next().is_none(), "{name} twice: {}", answer.body);
    assert!(!answer.body.contains("forged"), "{}", answer.body);
    value.split('"').next().unwrap().to_owned()
}

#[test]
fn others_verify_what_we_sign_with_our_key_set_alone() {
    for algorithm in ["EdDSA", "ES256"] {
        let session = Session::start(
            Lifetimes::default(),
            &["--identity=headers,assertion", &format!("--signing-algorithm={algorithm}")],
        );
        let answer = session.call();
        assert_eq!(told(&answer, "x-forwarded-user"), "user-alice");
        let assertion = told(&answer, "x-forwarded-assertion");
        let backend = session.around.backend.clone();
        let principal = session.verify_elsewhere(&assertion, &backend).unwrap();
        assert_eq!(principal.subject(), "user-alice", "{algorithm}");
        assert_eq!(principal.claim_str("provider"), Some(&*session.around.idp));
        assert_eq!(principal.claim_str("email"), Some("alice@example.com"));
        let resource = format!("{}mcp", session.base);
        let access = session.verify_elsewhere(&session.token, &resource).unwrap();
        assert_eq!(access.subject(), "user-alice");
        // Neither passes for the other, and neither is good elsewhere.
        for (token, audience) in [
            (&assertion, &resource),
            (&session.token, &backend),
            (&session.token, &"https://elsewhere.example/mcp".to_owned()),
        ] {
            assert!(session.verify_elsewhere(token, audience).is_err(), "{algorithm} {audience}");
        }
        let answer = send(
            "POST",
            &session.base.join("/mcp").unwrap(),
            &[("authorization", &format!("Bearer {assertion}"))],
            "",
        );
        assert_eq!(answer.status, 401, "{}", answer.body);
        let token = session.token.clone();
        session.stop(&[&assertion, &token]);
    }
}

#[test]
fn the_shared_key_verifies_and_is_for_this_backend_alone() {
    let session = Session::start(Lifetimes::default(), &["--identity=assertion"]);
    let answer = session.call();
    assert!(!answer.body.contains("x-forwarded-user"), "{}", answer.body);
    let assertion = told(&answer, "x-forwarded-assertion");
    let (content, signature) = assertion.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let printed = |more: &str| {
        let words = ["keys", "assertion-key"].map(str::to_owned).into_iter();
        let output = run(words.chain(session.arguments.clone()).chain([more.to_owned()]));
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for (backend, good) in [(&*session.around.backend, true), ("http://localhost:1/mcp", false)] {
        let (code, line) = printed(&format!("--backend={backend}"));
        assert_eq!(code, Some(0), "{line}");
        let key = line.trim_end().split_once(' ').unwrap().1;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        assert_eq!(hmac::verify(&key, content.as_bytes(), &signature).is_ok(), good, "{backend}");
    }
    let (code, why) = printed("--signing-algorithm=EdDSA");
    assert_eq!(code, Some(1));
    assert!(why.contains("/.well-known/jwks.json"), "{why}");
    session.stop(&[&assertion]);
}

#[test]
fn the_backend_gets_the_providers_token_and_it_works_there() {
    let session =
        Session::start(Lifetimes::default(), &["--identity", "headers provider-token assertion"]);
    assert!(session.serve.log.contains("it can act as the people"), "{}", session.serve.log);
    let answer = session.call();
    let bearer = told(&answer, "authorization");
    let provider_token = bearer.strip_prefix("Bearer ").unwrap();
    assert_ne!(provider_token, session.token);
    assert_eq!(told(&answer, "x-forwarded-user"), "user-alice");
    told(&answer, "x-forwarded-assertion");
    let userinfo = Url::parse(&format!("{}/userinfo", session.around.idp)).unwrap();
    let person = send("GET", &userinfo, &[("authorization", &bearer)], "");
    assert_eq!(person.status, 200, "{}", person.body);
    assert!(person.body.contains("user-alice"), "{}", person.body);
    let token = session.token.clone();
    session.stop(&[provider_token, &token]);
}

#[test]
fn a_stale_token_is_not_forwarded() {
    let lifetimes = Lifetimes { access_token: Duration::from_secs(3), ..Lifetimes::default() };
    let arguments = ["--identity=provider-token", "--provider-refresh-margin=1s"];
    let mut session = Session::start(lifetimes, &arguments);
    let first = told(&session.call(), "authorization");
    // While the provider is there, the token changes before it ends.
    let deadline = Instant::now() + DEADLINE;
    let renewed = loop {
        let now = told(&session.call(), "authorization");
        if now != first {
            break now;
        }
        assert!(Instant::now() < deadline, "it was never renewed");
        std::thread::sleep(Duration::from_millis(50));
    };
    session.around.stop_provider();
    // Then it is handed out until it ends, and no longer.
    loop {
        let answer = session.call();
        if answer.status == 200 {
            assert!(Instant::now() < deadline, "{}", answer.body);
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.headers("retry-after").next(), Some("5"), "{}", answer.head);
        assert!(answer.body.contains("temporarily_unavailable"), "{}", answer.body);
        break;
    }
    session.stop(&[&first, &renewed]);
}
