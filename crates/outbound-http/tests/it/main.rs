//! The client against servers on loopback, good ones and bad ones.

mod bad_server;
mod limits;

use std::{error::Error as _, io, net::TcpListener, process::Command};

use http::{Request, Response};
use outbound_http::{AddressPolicy, Client, Error};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string, header, method, path},
};

pub(crate) fn get(url: &str) -> Request<Vec<u8>> {
    Request::get(url).body(Vec::new()).expect("a request")
}

pub(crate) fn client() -> Client {
    Client::builder().build().expect("a client")
}

/// The message of an error and of all its causes.
fn whole_message(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

#[tokio::test]
async fn a_request_is_answered_whatever_the_status() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/token"))
        .and(header("accept", "application/json"))
        .and(header("user-agent", "test/1"))
        .and(body_string("a=b"))
        .respond_with(ResponseTemplate::new(403).insert_header("x-a", "1").set_body_string("no"))
        .expect(1)
        .mount(&server)
        .await;
    let client = Client::builder().user_agent("test/1").build().expect("a client");
    let request = Request::post(format!("{}/token", server.uri()))
        .header("accept", "application/json")
        .body(b"a=b".to_vec())
        .expect("a request");
    let response: Response<Vec<u8>> = client.send(request).await.expect("an answer");
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["x-a"], "1");
    assert_eq!(response.body(), b"no");
}

#[tokio::test]
async fn redirects_are_answers() {
    let server = MockServer::start().await;
    Mock::given(path("/start"))
        .respond_with(ResponseTemplate::new(302).insert_header("location", "/elsewhere"))
        .mount(&server)
        .await;
    Mock::given(path("/elsewhere"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    let response = client().send(get(&format!("{}/start", server.uri()))).await.expect("a 302");
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "/elsewhere");
}

#[test]
fn proxy_variables_are_not_obeyed() {
    // A process of its own, since the environment of this one is everybody's.
    let child = Command::new(std::env::current_exe().expect("this test binary"))
        .args(["--exact", "a_request_is_answered_whatever_the_status"])
        .envs(["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:1")))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("REQUEST_METHOD")
        .output()
        .expect("a child process");
    let report = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && report.contains("1 passed"), "{report}");
}

#[tokio::test]
async fn nothing_listening_is_a_temporary_error_without_secrets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);

    let url = format!("http://{address}/callback?code=secret");
    let error = client().send(get(&url)).await.expect_err("nobody listens");
    assert!(matches!(error, Error::Connect { .. }) && error.is_temporary(), "{error:?}");
    let message = whole_message(&error);
    assert!(message.contains(&address.to_string()), "{message}");
    for shown in [message, format!("{error:?}")] {
        assert!(!shown.contains("secret") && !shown.contains("callback"), "{shown}");
    }
}

#[tokio::test]
async fn a_strangers_url_does_not_reach_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket that does not wait");
    let port = listener.local_addr().expect("an address").port();
    let client = Client::builder()
        .address_policy(AddressPolicy::PublicOnly)
        .allow_port(port)
        .build()
        .expect("a client");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"] {
        let error = client.send(get(&format!("https://{host}:{port}/"))).await.expect_err(host);
        assert!(matches!(error, Error::Forbidden { .. }), "{host}: {error:?}");
        assert!(!error.is_temporary(), "{host}");
    }
    // The kernel accepts for us, so a connection that was tried would be waiting here.
    let connection = listener.accept();
    assert!(
        connection.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock),
        "{connection:?}"
    );
}
