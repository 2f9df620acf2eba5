//! Connecting to the backend: TCP, TLS if the backend's URL says so, or a Unix socket; one time
//! limit over all of it.

mod socket;
mod stream;

#[cfg(unix)]
use std::path::Path;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::crypto::aws_lc_rs;
#[cfg(unix)]
use tokio::net::UnixStream;
use tower_service::Service;

use self::{socket::Socket, stream::BackendStream};

/// Probes on an idle connection, so that a stream whose backend vanished without a word ends some
/// day: streams have no time limit of their own.
const TCP_KEEPALIVE: Duration = Duration::from_mins(1);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The connection was not there in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", limit.as_millis())]
pub(crate) struct ConnectTimeout {
    limit: Duration,
}

/// Opens connections to the backend.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    transport: Transport,
    limit: Duration,
}

#[derive(Clone, Debug)]
enum Transport {
    Plain(HttpConnector),
    /// Speaks HTTP/1.1 only: HTTP/2 would put all streams of all clients into one connection,
    /// where the backend's limit on concurrent streams (100 is common) makes the hundred-and-first
    /// listening stream wait for ever.
    Tls(HttpsConnector<HttpConnector>),
    /// Plain HTTP over the socket of this path.
    #[cfg(unix)]
    Unix(Arc<Path>),
}

impl Connector {
    /// For a backend on plain http.
    pub(crate) fn plain(limit: Duration) -> Self {
        Self { transport: Transport::Plain(tcp()), limit }
    }

    /// For a backend that listens on the socket `path`.
    #[cfg(unix)]
    pub(crate) fn unix(limit: Duration, path: &Path) -> Self {
        Self { transport: Transport::Unix(path.into()), limit }
    }

    /// For a backend on https; `config` replaces the verifier of the operating system.
    pub(crate) fn tls(limit: Duration, config: Option<rustls::ClientConfig>) -> io::Result<Self> {
        let builder = HttpsConnectorBuilder::new();
        let builder = match config {
            Some(config) => builder.with_tls_config(config),
            None => builder
                .with_provider_and_platform_verifier(Arc::new(aws_lc_rs::default_provider()))?,
        };
        let mut tcp = tcp();
        tcp.enforce_http(false);
        let connector = builder.https_only().enable_http1().wrap_connector(tcp);
        Ok(Self { transport: Transport::Tls(connector), limit })
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // A chunk of a stream must not wait for the next one.
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp
}

impl Service<Uri> for Connector {
    type Response = BackendStream<Socket>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match &mut self.transport {
            Transport::Plain(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Transport::Tls(tls) => tls.poll_ready(cx),
            #[cfg(unix)]
            Transport::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, backend: Uri) -> Self::Future {
        let limit = self.limit;
        let mut transport = self.transport.clone();
        Box::pin(async move {
            let connecting = async {
                Ok::<_, Error>(match &mut transport {
                    Transport::Plain(tcp) => {
                        Socket::Tcp(Box::new(MaybeHttpsStream::Http(tcp.call(backend).await?)))
                    }
                    Transport::Tls(tls) => Socket::Tcp(Box::new(tls.call(backend).await?)),
                    #[cfg(unix)]
                    Transport::Unix(path) => {
                        Socket::Unix(TokioIo::new(UnixStream::connect(path).await?))
                    }
                })
            };
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected.map(BackendStream::new),
                Err(_elapsed) => Err(ConnectTimeout { limit }.into()),
            }
        })
    }
}
