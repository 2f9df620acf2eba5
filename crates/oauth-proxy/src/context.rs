//! What belongs to one request: its id, where it came from, and the span of its log lines.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jwt_issuer::random_token;
use tracing::{Instrument, Span, field};

use crate::{app::App, measure};

/// In every response, and on every page that tells a person that something is wrong.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What stands before the whole list of addresses that proxies add to.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// One request, wherever its work is done.
#[derive(Clone, Debug)]
struct RequestContext {
    id: String,
    peer: Option<IpAddr>,
    span: Span,
}

tokio::task_local! {
    static REQUEST: RequestContext;
}

/// The id of the request that is being answered. Always ours: a stranger's id could be another
/// request's.
pub(crate) fn request_id() -> Option<String> {
    REQUEST.try_with(|context| context.id.clone()).ok()
}

/// Where the request that is being answered came from.
pub(crate) fn peer() -> Option<IpAddr> {
    REQUEST.try_with(|context| context.peer).ok().flatten()
}

/// From here on the log lines of this request name the login that it belongs to.
pub(crate) fn belongs_to_login(login: &str) {
    // Outside of a request there is nothing to join.
    let _ = REQUEST.try_with(|context| {
        context.span.record("login", login);
    });
}

/// Lets work that outlives a request go on in its name.
pub(crate) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = REQUEST.try_with(Clone::clone).ok();
    async move {
        match context {
            Some(context) => {
                let span = context.span.clone();
                REQUEST.scope(context, work).instrument(span).await
            }
            None => work.await,
        }
    }
}

/// Around every route: gives the request its id, joins its log lines and counts it.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let proxies = app.config.trusted_proxies;
    scoped(&app, proxies, request, next).await
}

/// The same on a listener with no proxy in front: whoever is connected is who asks.
pub(crate) async fn direct_layer(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    scoped(&app, 0, request, next).await
}

async fn scoped(app: &App, proxies: usize, request: Request, next: Next) -> Response {
    let id = random_token::<9>();
    let route = route(&request, &app.config.base_path);
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let context = RequestContext {
        peer: client_address(request.headers(), peer, proxies),
        span: tracing::info_span!("request", id, route, login = field::Empty),
        id: id.clone(),
    };
    let span = context.span.clone();
    let started = Instant::now();
    let mut response = REQUEST.scope(context, next.run(request)).instrument(span).await;
    measure::request(&route, response.status(), started.elapsed());
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The route as it was configured, never as it was asked for: a stranger invents no labels.
fn route(request: &Request, base_path: &str) -> String {
    let Some(path) = request.extensions().get::<MatchedPath>() else { return "unknown".to_owned() };
    let path = path.as_str();
    if path.contains("/.well-known/") {
        return "/.well-known".to_owned();
    }
    path.strip_prefix(base_path).filter(|rest| rest.starts_with('/')).unwrap_or(path).to_owned()
}

/// Who asked, behind so many proxies of our own: each adds the address that it saw to the right of
/// `X-Forwarded-For`, so what the outermost one saw is that many entries from the right.
///
/// What stands further to the left was written by whoever asked, and is not believed.
fn client_address(headers: &HeaderMap, peer: Option<IpAddr>, proxies: usize) -> Option<IpAddr> {
    let Some(from_right) = proxies.checked_sub(1) else { return peer };
    let lists: Vec<&[u8]> =
        headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    // As bytes: what a client wrote that is not text must not hide what a proxy put behind it.
    let entries = lists.iter().flat_map(|list| list.split(|&byte| byte == b','));
    let entry = entries.rev().nth(from_right);
    let entry = entry.and_then(|entry| str::from_utf8(entry).ok());
    entry.and_then(|entry| address(entry.trim())).or(peer)
}

/// Some proxies add the port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lists: &[&str], proxies: usize) -> String {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(list.as_bytes()).unwrap());
        }
        let peer = "10.0.0.1".parse().ok();
        client_address(&headers, peer, proxies).map_or_else(String::new, |ip| ip.to_string())
    }

    #[test]
    fn only_what_our_own_proxies_wrote_is_believed() {
        let cases: [(&[&str], usize, &str); 12] = [
            (&["6.6.6.6"], 0, "10.0.0.1"),
            (&[], 1, "10.0.0.1"),
            (&["192.0.2.7"], 1, "192.0.2.7"),
            (&["6.6.6.6, 192.0.2.7"], 1, "192.0.2.7"),
            (&["6.6.6.6, 192.0.2.7, 10.0.0.9"], 2, "192.0.2.7"),
            // Several headers are one list.
            (&["6.6.6.6", "192.0.2.7, 10.0.0.9"], 2, "192.0.2.7"),
            (&["192.0.2.7"], 2, "10.0.0.1"),
            (&["6.6.6.6,"], 1, "10.0.0.1"),
            (&["\u{fe}, 192.0.2.7"], 1, "192.0.2.7"),
            (&["192.0.2.7, \u{fe}"], 1, "10.0.0.1"),
            (&["192.0.2.7:4711"], 1, "192.0.2.7"),
            (&["[2001:db8::1]:4711"], 1, "2001:db8::1"),
        ];
        for (lists, proxies, expected) in cases {
            assert_eq!(seen(lists, proxies), expected, "{lists:?} behind {proxies}");
        }
        assert_eq!(seen(&["2001:db8::1"], 1), "2001:db8::1");
        assert_eq!(seen(&["[2001:db8::1]"], 1), "2001:db8::1");
    }

    #[tokio::test]
    async fn work_that_outlives_its_request_keeps_its_name() {
        let context = RequestContext { id: "r".to_owned(), peer: None, span: Span::none() };
        let work = REQUEST.sync_scope(context, || carried(async { request_id() }));
        assert_eq!(request_id(), None);
        assert_eq!(tokio::spawn(work).await.unwrap().as_deref(), Some("r"));
    }
}
