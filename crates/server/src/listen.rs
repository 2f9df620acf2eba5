//! Sockets, and serving a router on them until told to stop.
//!
//! Not `axum::serve`: that one waits for the rest of a half-sent request for ever.

mod connection;
mod stall;
mod taking;
mod unread;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// What `localhost` may mean to a browser.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How often another free port is tried when the one that IPv4 gave is taken on IPv6.
const FREE_PORT_ATTEMPTS: u32 = 16;

/// How long to wait after a failed `accept`: most often all file descriptors are taken, and the
/// next attempt would fail at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often the log says that there is no room for more connections.
const FULL_TOLD: Duration = Duration::from_mins(1);

/// What a listener bears.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// At a time; whoever comes beyond them waits in the queue of the operating system.
    pub(crate) connections: usize,
    /// For the head of a request, and between two requests on an HTTP/1 connection.
    pub(crate) head: Duration,
    /// For an HTTP/2 connection without a request under way.
    pub(crate) idle: Duration,
    /// For a client that takes nothing of its answer.
    pub(crate) stall: Duration,
    /// For requests and streams that are under way when the server stops.
    pub(crate) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            head: Duration::from_secs(20),
            idle: Duration::from_mins(1),
            stall: Duration::from_mins(1),
            drain: Duration::from_secs(5),
        }
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
/// After `stop` nothing is accepted any more; requests get [`Limits::drain`] to end, then their
/// connections are cut. Returns when all is over.
pub(crate) async fn serve(
    sockets: Sockets,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut listeners = JoinSet::new();
    for listener in sockets.listeners {
        let (router, room) = (router.clone(), Arc::clone(&room));
        listeners.spawn(serve_one(listener, router, limits, room, stop.clone()));
    }
    listeners.join_all().await;
}

async fn serve_one(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    room: Arc<Semaphore>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    // One that was accepted and has no room yet; those behind it stay with the operating system.
    let mut waiting: Option<(TcpStream, SocketAddr)> = None;
    let mut told: Option<Instant> = None;
    loop {
        tokio::select! {
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok(connection) => waiting = Some(connection),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Ok(permit) = Arc::clone(&room).acquire_owned(), if waiting.is_some() => {
                let Some((stream, peer)) = waiting.take() else { continue };
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    connection::serve(stream, peer, router, limits, stop).await;
                    drop(permit);
                });
            }
            Some(_) = connections.join_next() => {}
            () = stop.cancelled() => break,
        }
        let full = waiting.is_some() && room.available_permits() == 0;
        if full && told.is_none_or(|at| at.elapsed() > FULL_TOLD) {
            told = Some(Instant::now());
            tracing::warn!("no room for more connections, they wait; see --max-connections");
        }
    }
    drop((listener, waiting));
    let ended = timeout(limits.drain, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::info!(connections = connections.len(), "cutting what did not end in time");
        connections.shutdown().await;
    }
}

#[cfg(test)]
mod tests;
