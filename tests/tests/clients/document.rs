//! Clients that do not register: a document at their own URL describes them.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::ensure;
use axum::{Json, Router, routing::get, serve::Listener};
use end_to_end::serve::Settings;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    driver::{Driver, Kind},
    journey::{self, ACCESS_TOKEN, alice, callback_url},
    provider::Provider,
    rig::Rig,
};

/// Where the scripts want their codes.
const REDIRECT_URI: &str = "http://127.0.0.1:51999/callback";

/// For `localhost`, good for a century; the authority's key is gone.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/forwarder/tests/it/tls");

/// The whole journey of a client that is described, not registered.
pub(crate) async fn journey(kind: Kind) -> anyhow::Result<()> {
    let host = Host::start().await?;
    let settings = Settings::new()?
        .set("danger-client-metadata-on-loopback", "true")
        .set("access-token-lifetime", ACCESS_TOKEN)
        .trusting(Path::new(CERTIFICATES).join("ca.pem"));
    let provider = Provider::dev_idp(&callback_url(&settings)).await?;
    let rig = Rig::start(settings, provider).await?;
    let mut driver = Driver::start(kind, alice())?.described_by(&host.document);
    journey::with(&mut driver, rig, "user-alice").await?;
    let client = driver.kept().await?.client_id;
    ensure!(client == host.document, "it registered as {client}");
    Ok(())
}

/// A host with the document of one client.
struct Host {
    document: String,
    server: JoinHandle<()>,
}

impl Host {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let document = format!("https://localhost:{}/client.json", listener.local_addr()?.port());
        let answer = json!({
            "client_id": document,
            "client_name": "a described client",
            "redirect_uris": [REDIRECT_URI],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "none",
        });
        let router = Router::new().route("/client.json", get(async move || Json(answer)));
        let listener = Encrypted { listener, acceptor: acceptor()? };
        let server = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { document, server })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let file = |name: &str| Path::new(CERTIFICATES).join(name);
    let certificate = CertificateDer::from_pem_file(file("backend.pem"))?;
    let key = PrivateKeyDer::from_pem_file(file("backend.key"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections whose handshake came to a good end.
struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
