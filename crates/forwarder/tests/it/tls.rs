//! Backends on https. The certificates in `tls/` are for `localhost` and good for a century; the
//! authority's key is gone.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use forwarder::Forwarder;
use http::Request;
use http_body_util::BodyExt;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::support::{Backend, within};

/// Trusts the test's authority, or nobody.
fn client_config(trusting: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if trusting {
        let authority = CertificateDer::from_pem_slice(include_bytes!("tls/ca.pem")).unwrap();
        roots.add(authority).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/backend.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/backend.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn forwarder(backend: &Backend, config: ClientConfig) -> Forwarder {
    Forwarder::builder(&format!("https://localhost:{}/mcp", backend.address().port()))
        .tls_config(config)
        .connect_timeout(Duration::from_millis(300))
        .build()
        .unwrap()
}

async fn ask(forwarder: Forwarder) -> (u16, String) {
    let request = Request::get("/mcp").body(Body::empty()).unwrap();
    let answer = within(forwarder.oneshot(request)).await.unwrap();
    let status = answer.status().as_u16();
    let body = within(answer.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_trusted_backend_answers_over_http_1_1() {
    let backend = Backend::listen().await;
    let forwarder =
        Forwarder::builder(&format!("https://localhost:{}/mcp", backend.address().port()))
            .tls_config(client_config(true))
            .build()
            .unwrap();
    let listener = backend.into_listener();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor().accept(stream).await.unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        stream.flush().await.unwrap();
        head
    });
    assert_eq!(ask(forwarder).await, (200, "ok".to_owned()));
    assert_eq!(&within(serving).await.unwrap(), b"GET /mcp HTTP/1.");
}

#[tokio::test]
async fn an_untrusted_backend_is_a_bad_gateway() {
    let backend = Backend::listen().await;
    let forwarder =
        Forwarder::builder(&format!("https://localhost:{}/mcp", backend.address().port()))
            .tls_config(client_config(false))
            .build()
            .unwrap();
    let listener = backend.into_listener();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor().accept(stream).await.err()
    });
    let (status, body) = ask(forwarder).await;
    assert_eq!(status, 502);
    assert!(body.contains("backend_unreachable") && !body.contains("ertificate"), "{body}");
}

/// The time limit covers the handshake: a backend that takes the connection and is silent is not
/// waited for.
#[tokio::test]
async fn a_backend_that_does_not_shake_hands_is_a_gateway_timeout() {
    let backend = Backend::listen().await;
    let (status, body) = ask(forwarder(&backend, client_config(true))).await;
    assert_eq!(status, 504);
    assert!(body.contains("backend_timeout") && !body.contains("localhost"), "{body}");
}
