//! TLS to the servers: the platform's certificates, or those of a file.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::settings::{Address, Tls};
use crate::{Error, ErrorKind, Result};

/// Makes the connector that the settings ask for; the certificates are read once, here.
pub(super) async fn connector(tls: &Tls) -> Result<TlsConnector> {
    let roots = match tls.ca_file.clone() {
        Some(file) => blocking(move || roots_of(&file)).await??,
        None => blocking(platform_roots).await??,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| misconfigured("set up TLS".into()).with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Shakes hands; the server must show a certificate for the very host that was asked for.
pub(super) async fn connect(
    connector: &TlsConnector,
    address: &Address,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(address.host.clone()).map_err(std::io::Error::other)?;
    connector.connect(name, stream).await
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| misconfigured("read the trusted certificates".into()).with_source(error))
}

fn roots_of(file: &Path) -> Result<RootCertStore> {
    let failed = |reason: &str| {
        misconfigured(format!("read the certificates of ca_file {}: {reason}", file.display()))
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(|error| failed("the file cannot be read").with_source(error))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate =
            certificate.map_err(|error| failed("it is not in PEM form").with_source(error))?;
        roots
            .add(certificate)
            .map_err(|error| failed("a certificate is damaged").with_source(error))?;
    }
    if roots.is_empty() {
        return Err(failed("there is none in it"));
    }
    Ok(roots)
}

fn platform_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(misconfigured(
            "this machine has no trusted certificates: install them (package ca-certificates), \
             or name a file in ca_file"
                .into(),
        ));
    }
    Ok(roots)
}

fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}
