//! Who may speak with the admin listener: programs, not web pages.
//!
//! A page in an operator's browser can send requests to loopback. It cannot choose the `Host` that
//! goes with its own name, not even if that name was made to point here (DNS rebinding), and a
//! browser says of its requests that another site began them.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header, uri::Authority};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names under which the admin listener may be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// These, in lower case, besides `localhost` and IP addresses.
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// An IP address is nobody's name, so nobody can make it point elsewhere.
    fn allows(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = host.to_ascii_lowercase();
        bare.parse::<IpAddr>().is_ok() || name == "localhost" || self.0.contains(&name)
    }
}

/// Refuses what may come from a web page.
pub(crate) async fn layer(
    State(hosts): State<Arc<AllowedHosts>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match complaint(&hosts, &request) {
        None => next.run(request).await,
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn complaint(hosts: &AllowedHosts, request: &Request) -> Option<&'static str> {
    let headers = request.headers();
    let by_page = headers.contains_key(header::ORIGIN)
        || headers.get(FETCH_SITE).is_some_and(|site| site != "none" && site != "same-origin");
    if by_page {
        return Some("web pages may not use the admin listener\n");
    }
    // HTTP/2 has the name in the target; HTTP/1 may have it in both, and then both must be good.
    let target = request.uri().authority().map(|authority| authority.host().to_owned());
    let mut named = target.into_iter().collect::<Vec<_>>();
    for host in headers.get_all(header::HOST) {
        let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        named.push(authority.map(|authority| authority.host().to_owned()).unwrap_or_default());
    }
    if named.is_empty() || !named.iter().all(|host| hosts.allows(host)) {
        return Some(
            "the admin listener is not asked under this name; \
             use its IP address, or allow the name with --admin-host\n",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn allowed(target: &str, headers: &[(&str, &str)]) -> bool {
        let hosts = AllowedHosts::new(vec!["proxy.internal".to_owned()]);
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        complaint(&hosts, &request.body(Body::empty()).unwrap()).is_none()
    }

    #[test]
    fn programs_pass_and_pages_do_not() {
        for host in [
            "127.0.0.1:9000",
            "[::1]:9000",
            "localhost",
            "LOCALHOST:9",
            "10.1.2.3",
            "Proxy.Internal",
        ] {
            assert!(allowed("/readyz", &[("host", host)]), "{host}");
        }
        // A name that an attacker made to point here.
        for host in ["rebound.example:9000", "localhost.example", "127.0.0.1.example", "", "x@y"] {
            assert!(!allowed("/readyz", &[("host", host)]), "{host}");
        }
        assert!(!allowed("/readyz", &[]));
        assert!(!allowed("/readyz", &[("host", "127.0.0.1"), ("host", "rebound.example")]));
        assert!(!allowed("http://rebound.example/readyz", &[("host", "127.0.0.1")]));
        assert!(allowed("http://127.0.0.1:9000/readyz", &[]));

        let host = ("host", "127.0.0.1:9000");
        assert!(allowed("/", &[host, ("sec-fetch-site", "none")]));
        assert!(!allowed("/", &[host, ("sec-fetch-site", "cross-site")]));
        assert!(!allowed("/", &[host, ("sec-fetch-site", "same-site")]));
        assert!(!allowed("/", &[host, ("origin", "https://page.example")]));
        assert!(!allowed("/", &[host, ("origin", "null")]));
    }
}
