//! One connection, and what it may cost.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use http::{HeaderValue, Request, Version, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{Limits, stall::Stalling, taking::Taking, unread};

/// The most bytes of a request's head, and of the buffer that it is read into. Cookies and a long
/// `state` fit; a stranger fills no memory.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most headers of an HTTP/1 request; browsers send two dozen.
pub(super) const MAX_HEADERS: usize = 100;

/// The most requests under way on one HTTP/2 connection: a client's streams and calls.
pub(super) const MAX_STREAMS: u32 = 128;

/// The most HTTP/2 streams that a client may have begun and given up before we looked at them
/// (CVE-2023-44487); an honest one cancels now and then.
const MAX_RESETS: usize = 32;

/// The most errors of ours that a client may provoke on one HTTP/2 connection (CVE-2025-8671).
const MAX_OWN_RESETS: usize = 256;

/// How often an idle HTTP/2 connection is asked whether it is still there, and how long it may
/// take to answer.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// When the operating system begins to ask on a silent connection, and how often: a client that
/// vanished without a word is noticed within a few minutes.
const TCP_KEEP_ALIVE: Duration = Duration::from_mins(1);
const TCP_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Serves one connection until it ends, is idle for too long, or `stop` is cancelled and what is
/// under way is done.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    prepare(&stream);
    let activity = Arc::new(Activity::new());
    let taking = Arc::new(Taking::new(limits.stall));
    let service = service_fn({
        let (activity, taking) = (Arc::clone(&activity), Arc::clone(&taking));
        move |mut request: Request<Incoming>| {
            let under_way = UnderWay::begin(&activity);
            request.extensions_mut().insert(ConnectInfo(peer));
            let (router, taking) = (router.clone(), Arc::clone(&taking));
            // On HTTP/1 an answer that is not taken holds up writing, see `Stalling`.
            let has_windows = request.version() == Version::HTTP_2;
            async move {
                let response = answer(router, request).await;
                // Until the last byte was taken, or nobody wants it any more.
                Ok::<_, Infallible>(response.map(|body| {
                    let body = Body::new(body.map_frame(move |frame| {
                        let _held = &under_way;
                        frame
                    }));
                    if has_windows { taking.watched(body) } else { body }
                }))
            }
        }
    });
    let builder = builder(limits);
    let stream = TokioIo::new(Stalling::new(stream, limits.stall));
    let mut serving = pin!(builder.serve_connection(stream, service));
    tokio::select! {
        ended = &mut serving => return log_end(peer, ended),
        () = stop.cancelled() => {}
        // A farewell would wait for the very answer.
        () = taking.overdue() => return tracing::debug!(%peer, "an answer was not taken in time"),
        () = activity.idle(limits) => tracing::debug!(%peer, "nothing was asked for too long"),
    }
    // Nothing new; what is under way may end. The listener has its own limit on that.
    serving.as_mut().graceful_shutdown();
    if activity.is_idle() {
        // Whoever does not read the farewell is not waited for.
        if let Ok(ended) = timeout(limits.head, serving).await {
            log_end(peer, ended);
        }
        return;
    }
    log_end(peer, serving.await);
}

async fn answer(mut router: Router, request: Request<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let (body, rest) = unread::watch(parts.version, &parts.headers, Body::new(body));
    let request = Request::from_parts(parts, body);
    let mut answer = router.call(request).await.unwrap_or_else(|error| match error {});
    if let Some(rest) = rest
        && !rest.settle().await
    {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// A socket that refuses is about to fail anyway.
fn prepare(stream: &TcpStream) {
    // Small answers go out at once.
    let _ = stream.set_nodelay(true);
    let keep_alive =
        TcpKeepalive::new().with_time(TCP_KEEP_ALIVE).with_interval(TCP_KEEP_ALIVE_INTERVAL);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keep_alive);
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(HTTP2_KEEP_ALIVE);
    builder
}

/// How many requests are under way, and since when there are none.
struct Activity(Mutex<State>);

struct State {
    under_way: usize,
    /// Whether anything was asked yet.
    asked: bool,
    /// When the last request ended, or the connection began.
    since: Instant,
}

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(State { under_way: 0, asked: false, since: Instant::now() }))
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_idle(&self) -> bool {
        self.with(|state| state.under_way == 0)
    }

    /// Resolves when nothing is under way and was not for too long. HTTP/1 has a limit of its own
    /// once it knows that it is HTTP/1; until then, and on HTTP/2, this is the only one.
    async fn idle(&self, limits: Limits) {
        loop {
            let end = self.with(|state| {
                let limit = if state.asked { limits.idle } else { limits.head };
                // Something under way is looked at again when it might be over.
                let since = if state.under_way == 0 { state.since } else { Instant::now() };
                since + limit
            });
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// A request under way, until it is dropped.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.with(|state| {
            state.under_way += 1;
            state.asked = true;
        });
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.with(|state| {
            state.under_way -= 1;
            state.since = Instant::now();
        });
    }
}

/// Broken connections are the network's daily life.
fn log_end(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_operating_system_asks_silent_clients() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!SockRef::from(&stream).keepalive().unwrap());
        prepare(&stream);
        assert!(SockRef::from(&stream).keepalive().unwrap());
        assert!(stream.nodelay().unwrap());
    }
}
