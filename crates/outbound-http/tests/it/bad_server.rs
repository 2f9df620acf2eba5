//! Servers that break the rules.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
};

use outbound_http::Error;
use rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{client, get};

/// A certificate for `localhost` that nobody has signed, and its key, made for this test alone.
const CERTIFICATE: &[u8] = include_bytes!("tls/localhost.cert.der");
const KEY: &[u8] = include_bytes!("tls/localhost.key.der");

/// Accepts one connection and writes `answer`, then closes.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = [0; 1024];
        let _length = stream.read(&mut head).expect("a request");
        stream.write_all(answer).expect("the answer is written");
    });
    address.to_string()
}

#[tokio::test]
async fn what_is_no_http_is_a_temporary_error() {
    for answer in [
        &b""[..],
        b"hello\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
    ] {
        let url = format!("http://{}/?code=secret", answering(answer));
        let error = client().send(get(&url)).await.expect_err("no answer");
        let shown = format!("{error:?}");
        assert!(matches!(error, Error::Http { .. }) && error.is_temporary(), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_no_certificate_problem() {
    let url = format!("https://{}/", answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let error = client().send(get(&url)).await.expect_err("no TLS");
    assert!(matches!(error, Error::Connect { .. }) && error.is_temporary(), "{error:?}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_permanent_error() {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(KEY));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
        .expect("a certificate and its key");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        // The client breaks the handshake off; that is the point.
        let _refused = Stream::new(&mut connection, &mut stream).write_all(b"never read");
    });

    let url = format!("https://localhost:{port}/");
    let error = client().send(get(&url)).await.expect_err("untrusted");
    assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");
    assert!(!error.is_temporary());
}
