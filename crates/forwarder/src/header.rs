//! Header hygiene in both directions: pure functions on header maps.

mod cookie;

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub use self::cookie::{OWN_COOKIE_PREFIXES, is_own_cookie};
use crate::{identity::Identity, session::MCP_SESSION_ID};

/// Headers that belong to one connection (RFC 9110 §7.6.1, RFC 9113 §8.2.2). Credentials for a
/// proxy are among them: we are the proxy, and nobody behind us is to see them.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Request headers that are written anew for the backend's connection: `Host` is the backend's,
/// `Content-Length` follows from the body, and `Expect` was answered by our own listener, which
/// says `100 Continue` as soon as the backend's connection asks for the body.
const REWRITTEN: &[&str] = &["content-length", "expect", "host"];

/// What a client may never say itself, because the backend believes it when it comes from us.
/// The identity headers of the configuration come on top.
const TRUSTED: &[&str] = &["authorization", "forwarded"];
const TRUSTED_PREFIX: &str = "x-forwarded-";

/// What a backend may not say in the name of our origin: cookies, storage, transport and
/// cross-origin rules are the front's business.
const ORIGIN_WIDE: &[&str] = &[
    "alt-svc",
    "clear-site-data",
    "nel",
    "report-to",
    "reporting-endpoints",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
];
const CORS_PREFIX: &str = "access-control-";

/// What [`clean_request`] needs to know from the configuration.
#[derive(Clone)]
pub(crate) struct RequestRules {
    identity: Vec<HeaderName>,
    own_cookie: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl RequestRules {
    pub(crate) fn new(
        identity: &[HeaderName],
        own_cookie: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    ) -> Self {
        Self { identity: identity.to_vec(), own_cookie }
    }
}

impl fmt::Debug for RequestRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestRules").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Whether a header carries framing or routing, so that it can be neither passed on nor set.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    is_any(name, HOP_BY_HOP) || is_any(name, REWRITTEN)
}

/// Makes a client's headers fit for the backend, in this order: connection-level headers go, then
/// everything that only we may say (however it is spelled), then our cookies; last, the identity
/// is set, so that nothing in the request can take it away again.
///
/// Names are compared lower-cased and with everything but letters and digits read as `-`: CGI-like
/// backends (WSGI among them) cannot tell `_` from `-`, nor PHP `.` from either, and what the next
/// one does with the other characters that a name may have is not for us to guess.
pub(crate) fn clean_request(headers: &mut HeaderMap, rules: &RequestRules, identity: Identity) {
    remove_connection_named(headers);
    let set_now = |name: &HeaderName| {
        identity.headers.iter().any(|(set, _)| is_same(name.as_str(), set.as_str()))
    };
    remove_where(headers, |name| {
        is_framing(name)
            || is_any(name, TRUSTED)
            || starts_with(name.as_str(), TRUSTED_PREFIX)
            || rules.identity.iter().any(|own| is_same(name.as_str(), own.as_str()))
            || set_now(name)
            || (name != MCP_SESSION_ID && is_same(name.as_str(), MCP_SESSION_ID.as_str()))
    });
    cookie::remove_own(headers, rules.own_cookie.as_ref());
    for (name, value) in identity.headers {
        if is_framing(&name) {
            tracing::error!(%name, "an identity header must not carry framing, it was left out");
        } else {
            headers.append(name, value);
        }
    }
}

/// Writes `Content-Length: 0` where its absence would say something else: a client that sends an
/// empty body with these methods says so (RFC 9110 §8.6). All other lengths are hyper's to write.
pub(crate) fn state_empty_body(headers: &mut HeaderMap, method: &http::Method) {
    if matches!(*method, http::Method::POST | http::Method::PUT | http::Method::PATCH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

/// Makes a backend's headers fit for the client: connection-level headers go, and everything with
/// which the backend would speak for our whole origin.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    // Framing by Transfer-Encoding overrides a length (RFC 9112 §6.3): the length is a lie then.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_connection_named(headers);
    remove_where(headers, |name| {
        is_any(name, HOP_BY_HOP)
            || is_any(name, ORIGIN_WIDE)
            || starts_with(name.as_str(), CORS_PREFIX)
    });
}

/// Removes what `Connection` declares to be meant for this connection only (RFC 9110 §7.6.1).
fn remove_connection_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn remove_where(headers: &mut HeaderMap, condition: impl Fn(&HeaderName) -> bool) {
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| condition(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

fn is_any(name: &HeaderName, names: &[&str]) -> bool {
    names.iter().any(|other| is_same(name.as_str(), other))
}

fn is_same(name: &str, other: &str) -> bool {
    name.len() == other.len() && canonical(name).eq(canonical(other))
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && canonical(name).zip(canonical(prefix)).all(|(a, b)| a == b)
}

/// The bytes of a name as they are compared; `HeaderName` is lower-case already.
fn canonical(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'-' })
}

#[cfg(test)]
mod tests;
