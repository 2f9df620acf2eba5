//! Outages (D7) as tables: whatever is down, at whichever step, nobody hears a verdict on a token.

use std::{net::TcpListener, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, StatusCode};
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::{KeyValue, Memory};
use oauth_proxy::{
    AccessPolicy, Lifetimes, OAuthProxy, ResourceServer,
    provider::{Application, Endpoints, OAuth2Provider},
};
use secrecy::SecretString;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::support::{
    Answer, BASE, Browser, Deployment, FakeProvider, Fault, Probe, REDIRECT, TestClock, Tokens,
    authorize_path, param,
};

const SECRET: &str = "the resource server's secret";

/// A process whose provider is behind HTTP, at `url`.
pub(crate) fn process(storage: &Arc<dyn KeyValue>, clock: &TestClock, url: &str) -> Deployment {
    let http = outbound_http::Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
    let application = Application::builder("id").http(http).build().unwrap();
    let endpoints =
        Endpoints::new(format!("{url}/authorize"), format!("{url}/token"), format!("{url}/user"));
    let probe = Probe::new(Arc::clone(storage));
    let provider = OAuth2Provider::new(application, endpoints).unwrap();
    let proxy = OAuthProxy::builder(BASE, Arc::new(provider))
        .danger_unencrypted_storage(probe.clone())
        .signing_keys(KeyRing::new(MasterKey::new(&[7; 32]).unwrap()))
        .access(AccessPolicy::any_user())
        .clock(clock.clock())
        .build()
        .unwrap();
    Deployment::of(proxy, clock.clone(), Arc::new(FakeProvider::default()), probe)
}

pub(crate) async fn provider(token: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    answer_with(&server, token).await;
    server
}

/// From now on the provider answers like this, and has heard nothing yet.
pub(crate) async fn answer_with(server: &MockServer, token: ResponseTemplate) {
    server.reset().await;
    Mock::given(path("/token")).respond_with(token).mount(server).await;
    let person = ResponseTemplate::new(200).set_body_json(json!({"sub": "alice"}));
    Mock::given(path("/user")).respond_with(person).mount(server).await;
}

pub(crate) fn good() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "access_token": "at", "token_type": "Bearer", "refresh_token": "rt", "expires_in": 600
    }))
}

#[tokio::test]
async fn whatever_ails_the_provider_the_sessions_go_on() {
    let page = || ResponseTemplate::new(200).set_body_raw("<h1>Maintenance</h1>", "text/html");
    let mut rows = vec![
        ("500", Some(ResponseTemplate::new(500)), "5"),
        ("503 with HTML", Some(ResponseTemplate::new(503).set_body_raw("<p>", "text/html")), "5"),
        ("429", Some(ResponseTemplate::new(429).insert_header("retry-after", "7")), "7"),
        ("HTML instead of JSON", Some(page()), "5"),
        (
            "half an answer",
            Some(ResponseTemplate::new(200).set_body_raw("{", "application/json")),
            "5",
        ),
        ("no answer", Some(good().set_delay(Duration::from_mins(1))), "5"),
        ("nobody listens", None, "5"),
    ];
    for (ailment, answer, retry_after) in rows.drain(..) {
        let clock = TestClock::new();
        let storage: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
        let well = provider(good()).await;
        let before = process(&storage, &clock, &well.uri());
        let client = before.register().await;
        let tokens = before.login(&client).await;
        let mut browser = Browser::default();
        let state = browser.approve(&before, &client).await;

        let (_ill, url) = if let Some(answer) = answer {
            let server = provider(answer).await;
            let url = server.uri();
            (Some(server), url)
        } else {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            (None, format!("http://{}", listener.local_addr().unwrap()))
        };
        let during = process(&storage, &clock, &url);
        let back = browser.return_with_code(&during, &state).await.location().to_owned();
        assert_eq!(param(&back, "error").as_deref(), Some("temporarily_unavailable"), "{ailment}");

        let tokens = Tokens::of(&during.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 600, "{ailment}: the provider is not needed");
        clock.advance(Duration::from_mins(10));
        assert_eq!(during.call(&tokens.access).await.status, StatusCode::OK, "{ailment}");
        let tokens = Tokens::of(&during.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 300, "{ailment}: tolerated for a while");
        clock.advance(Duration::from_hours(2));
        let refused = during.refresh(&client, &tokens.refresh).await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        assert_eq!(refused.headers["retry-after"], retry_after, "{ailment}");

        let after = process(&storage, &clock, &well.uri());
        let tokens = Tokens::of(&after.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, 600, "{ailment}: over, and nobody was logged out");
    }
}

/// What a client or a browser asks for, each time of a deployment of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Route {
    Register,
    Authorize,
    Consent,
    Callback,
    Redeem,
    Refresh,
    Renew,
    /// A request whose grant is renewed meanwhile.
    Ahead,
    Revoke,
    Introspect,
    Manage,
    Delete,
    Resource,
}

/// An answer with the storage failing at the operation `at`, and whether it failed; afterwards the
/// storage works, and whoever was logged in must be still.
async fn ask(route: Route, at: usize, fault: Fault) -> (Answer, bool) {
    let mut lifetimes = Lifetimes::default();
    lifetimes.revocation_delay = Duration::ZERO;
    let deployment = Deployment::with(|builder| {
        let server = ResourceServer::new("rs", &SecretString::from(SECRET));
        builder.resource_server(server).lifetimes(lifetimes)
    });
    deployment.provider.change(|plan| plan.expires_in = Some(Duration::from_mins(10)));
    let metadata = json!({"redirect_uris": [REDIRECT]});
    let registered = deployment.register_with(&metadata).await.json();
    let client = registered["client_id"].as_str().unwrap();
    let tokens = deployment.login(client).await;
    let code = deployment.code(client).await;
    let mut browser = Browser::default();
    let state = browser.approve(&deployment, client).await;
    let page = browser.get(&deployment, &authorize_path(client, &[])).await;
    match route {
        Route::Renew => deployment.clock.advance(Duration::from_mins(10)),
        Route::Ahead => deployment.clock.advance(Duration::from_mins(9)),
        _ => {}
    }
    let managed = |method: &str| {
        let token = registered["registration_access_token"].as_str().unwrap();
        Request::builder()
            .method(method)
            .uri(registered["registration_client_uri"].as_str().unwrap())
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap()
    };

    deployment.storage.fail_at(at, fault);
    let answer = match route {
        Route::Register => {
            let request = Request::post("/register").body(Body::from(metadata.to_string()));
            deployment.send(request.unwrap()).await
        }
        Route::Authorize => browser.get(&deployment, &authorize_path(client, &[])).await,
        Route::Consent => {
            let (request, csrf) = (page.field("request"), page.field("csrf"));
            let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
            browser.post(&deployment, "/consent", &form).await
        }
        Route::Callback => browser.return_with_code(&deployment, &state).await,
        Route::Redeem => deployment.redeem(client, &code).await,
        Route::Refresh | Route::Renew => deployment.refresh(client, &tokens.refresh).await,
        Route::Revoke => {
            let form = [("token", &*tokens.refresh), ("client_id", client)];
            deployment.post("/revoke", &form).await
        }
        Route::Introspect => {
            let form = [("token", &*tokens.access), ("client_id", "rs"), ("client_secret", SECRET)];
            deployment.post("/introspect", &form).await
        }
        Route::Manage => deployment.send(managed("GET")).await,
        Route::Delete => deployment.send(managed("DELETE")).await,
        Route::Resource => deployment.call(&tokens.access).await,
        Route::Ahead => {
            let answer = deployment.call(&tokens.access).await;
            // What it began is over.
            deployment.proxy.shutdown().await;
            answer
        }
    };
    let failed = !deployment.storage.is_to_fail();
    deployment.storage.heal();
    match route {
        Route::Revoke | Route::Delete => {
            let call = deployment.call(&tokens.access).await;
            let ended = call.status == StatusCode::UNAUTHORIZED;
            // What is said to be done is done; else it can be tried again.
            assert!(ended || !answer.status.is_success(), "{route:?}: {answer:?}");
            let form = [("token", &*tokens.refresh), ("client_id", client)];
            let again = deployment.post("/revoke", &form).await;
            assert!(ended || again.status == StatusCode::OK, "{again:?}");
            let call = deployment.call(&tokens.access).await;
            assert_eq!(call.status, StatusCode::UNAUTHORIZED, "{route:?} {call:?}");
        }
        Route::Redeem if answer.status != StatusCode::OK => {
            Tokens::of(&deployment.redeem(client, &code).await);
        }
        _ => {
            let next = Tokens::of(&deployment.refresh(client, &tokens.refresh).await);
            Tokens::of(&deployment.refresh(client, &next.refresh).await);
        }
    }
    (answer, failed)
}

fn is_no_verdict(answer: &Answer) -> bool {
    match answer.status.as_u16() {
        200 | 201 | 204 => true,
        302 | 303 => {
            let error = param(answer.location(), "error");
            error.is_none_or(|error| error == "temporarily_unavailable")
        }
        503 => answer.headers.contains_key("retry-after"),
        _ => false,
    }
}

#[tokio::test]
async fn storage_that_fails_at_any_step_of_any_route_is_no_verdict() {
    let routes = [
        Route::Register,
        Route::Authorize,
        Route::Consent,
        Route::Callback,
        Route::Redeem,
        Route::Refresh,
        Route::Renew,
        Route::Ahead,
        Route::Revoke,
        Route::Introspect,
        Route::Manage,
        Route::Delete,
        Route::Resource,
    ];
    for route in routes {
        for fault in [Fault::Down, Fault::AnswerLost, Fault::RequestLost] {
            for at in 0.. {
                let (answer, failed) = ask(route, at, fault).await;
                assert!(is_no_verdict(&answer), "{route:?}, {fault:?} at {at}: {answer:?}");
                if !failed {
                    println!("{route:?}: {at} steps");
                    assert!(at > 0, "{route:?} asks nothing of the storage");
                    break;
                }
            }
        }
    }
}
