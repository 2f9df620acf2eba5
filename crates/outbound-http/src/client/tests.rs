//! The client over a lookup that answers as told, which the public interface cannot have.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::BoxFuture;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::*;

/// Gives one answer after the other; an empty one stands for a name that does not exist.
struct Scripted {
    answers: Vec<Vec<&'static str>>,
    asked: Arc<AtomicUsize>,
}

impl Lookup for Scripted {
    fn lookup(&self, _host: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = &self.answers[turn.min(self.answers.len() - 1)];
        let address = |text: &&str| -> IpAddr { text.parse().expect("an address") };
        let answer: Vec<_> = answer.iter().map(|text| SocketAddr::new(address(text), 0)).collect();
        Box::pin(async move {
            if answer.is_empty() { Err(io::Error::other("no such name")) } else { Ok(answer) }
        })
    }
}

fn client(policy: AddressPolicy, answers: &[&[&'static str]]) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let answers = answers.iter().map(|answer| answer.to_vec()).collect();
    let lookup = Scripted { answers, asked: Arc::clone(&asked) };
    let client = Client::builder()
        .address_policy(policy)
        .timeout(Duration::from_secs(30))
        .build_with(lookup)
        .expect("a client");
    (client, asked)
}

fn get(url: &str) -> Request<Vec<u8>> {
    Request::get(url).body(Vec::new()).expect("a request")
}

async fn server() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(204)).mount(&server).await;
    server
}

#[tokio::test]
async fn the_connection_goes_to_the_judged_address() {
    let server = server().await;
    // The second answer would lead elsewhere; a second lookup must not happen.
    let (client, asked) = client(AddressPolicy::Any, &[&["127.0.0.1"], &["192.0.2.1"]]);
    let url = format!("http://provider.test:{}/", server.address().port());
    let response = client.send(get(&url)).await.expect("an answer");
    assert_eq!(response.status(), 204);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refused_address_among_others_is_left_out() {
    let server = server().await;
    let (client, _) = client(AddressPolicy::Any, &[&["169.254.169.254", "127.0.0.1"]]);
    let url = format!("http://provider.test:{}/", server.address().port());
    assert_eq!(client.send(get(&url)).await.expect("an answer").status(), 204);
}

#[tokio::test]
async fn a_public_name_of_an_inside_address_is_refused() {
    for addresses in [&["127.0.0.1"][..], &["10.0.0.1", "::1"], &["::ffff:192.168.0.1"]] {
        let (client, _) = client(AddressPolicy::PublicOnly, &[addresses]);
        let error =
            client.send(get("https://client.example/x?y=secret")).await.expect_err("inside");
        assert!(matches!(error, Error::Forbidden { .. }), "{addresses:?}: {error:?}");
        assert!(!error.is_temporary());
        assert!(error.to_string().contains("client.example"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_metadata_service_behind_a_name_is_refused_for_the_operator_too() {
    let (client, _) = client(AddressPolicy::Any, &[&["169.254.169.254"]]);
    let error = client.send(get("http://metadata.test/")).await.expect_err("metadata");
    assert!(matches!(error, Error::Forbidden { .. }), "{error:?}");
}

#[tokio::test]
async fn a_failed_lookup_is_temporary() {
    let (client, _) = client(AddressPolicy::Any, &[&[]]);
    let error = client.send(get("http://nowhere.test/")).await.expect_err("no such name");
    assert!(matches!(error, Error::Connect { .. }) && error.is_temporary(), "{error:?}");
}
