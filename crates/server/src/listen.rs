//! Sockets, and serving a router on them until told to stop.
//!
//! Not `axum::serve`: that one waits for the rest of a half-sent request for ever.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// What `localhost` may mean to a browser.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How often another free port is tried when the one that IPv4 gave is taken on IPv6.
const FREE_PORT_ATTEMPTS: u32 = 16;

/// The most bytes of a request's head, and of the buffer that it is read into.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long to wait after a failed `accept`: most often all file descriptors are taken, and the
/// next attempt would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often an idle HTTP/2 connection is asked whether it is still there, and how long it may
/// take to answer.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How patient a listener is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the head of a request, and between two requests on one connection.
    pub(crate) head: Duration,
    /// For requests and streams that are under way when the server stops.
    pub(crate) drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(20), drain: Duration::from_secs(5) }
    }
}

/// Bound sockets, at least one; all share one port.
#[derive(Debug)]
pub(crate) struct Sockets {
    listeners: Vec<TcpListener>,
}

impl Sockets {
    /// Binds `port` on every loopback address that this machine has; 0 means any free port.
    ///
    /// Where one of the addresses is taken by another program the whole port counts as taken:
    /// a browser that tries that address first would talk to the other program.
    pub(crate) async fn loopback(port: u16) -> io::Result<Self> {
        let mut attempts = if port == 0 { FREE_PORT_ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match Self::bind_all(port).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                outcome => return outcome,
            }
        }
    }

    /// Binds one address; port 0 means any free port.
    pub(crate) async fn at(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listeners: vec![TcpListener::bind(address).await?] })
    }

    async fn bind_all(mut port: u16) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut unavailable = None;
        for address in LOOPBACK {
            match TcpListener::bind(SocketAddr::new(address, port)).await {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    listeners.push(listener);
                }
                Err(error) if is_missing_address(&error) => unavailable = Some(error),
                Err(error) => return Err(error),
            }
        }
        match unavailable {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(Self { listeners }),
        }
    }

    /// The port, also when any free one was asked for.
    #[cfg(any(test, feature = "demo"))]
    pub(crate) fn port(&self) -> u16 {
        self.addresses().first().map_or(0, SocketAddr::port)
    }

    /// What is listened on, also when any free port was asked for.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }
}

/// Whether the machine just does not have this address, as without IPv6.
fn is_missing_address(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        // EAFNOSUPPORT has no kind of its own; its number is that of Linux.
        || (cfg!(target_os = "linux") && error.raw_os_error() == Some(97))
}

/// Serves `router` until `stop` is cancelled, then finishes what is under way.
///
/// After `stop` nothing is accepted any more; requests get [`Patience::drain`] to end, then their
/// connections are cut. Returns when all is over.
pub(crate) async fn serve(
    sockets: Sockets,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
) {
    let mut listeners = JoinSet::new();
    for listener in sockets.listeners {
        listeners.spawn(serve_one(listener, router.clone(), patience, stop.clone()));
    }
    listeners.join_all().await;
}

async fn serve_one(
    listener: TcpListener,
    router: Router,
    patience: Patience,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone();
                    connections.spawn(connection(stream, peer, router, patience, graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
    }
    drop(listener);
    if timeout(patience.drain, graceful.shutdown()).await.is_err() {
        tracing::info!(connections = connections.len(), "cutting what did not end in time");
        connections.abort_all();
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    patience: Patience,
    graceful: Watcher,
) {
    // Small answers go out at once; a socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);

    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let asked = Arc::clone(&asked);
        move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(peer));
            let mut router = router.clone();
            async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|e| match e {})) }
        }
    });
    let builder = builder(patience);
    let mut serving = pin!(graceful.watch(builder.serve_connection(TokioIo::new(stream), service)));

    // hyper's own limit begins once it knows whether this is HTTP/1 or HTTP/2.
    tokio::select! {
        biased;
        ended = &mut serving => return log_end(peer, ended),
        () = sleep(patience.head) => {
            if !asked.load(Ordering::Relaxed) {
                tracing::debug!(%peer, "no request in time");
                return;
            }
        }
    }
    log_end(peer, serving.await);
}

fn builder(patience: Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(HTTP2_KEEP_ALIVE);
    builder
}

/// Broken connections are the network's daily life.
fn log_end(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

#[cfg(test)]
mod tests;
