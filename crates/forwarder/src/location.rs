//! What becomes of a backend's `Location`: a pure function.

use http::HeaderValue;
use url::Url;

use crate::path;

/// What to do with a `Location` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// It leads elsewhere and is passed on byte for byte.
    Keep,
    /// It leads into the backend's endpoint: this is the same place, as the client sees it.
    Rewrite(HeaderValue),
    /// It leads to a place on the backend that no client can reach, or nowhere at all.
    Refuse,
}

/// Translates `location`, which answered the request that went to `asked`.
///
/// `backend` is the backend's endpoint and `resource` the path under which clients know it. The
/// reference is resolved as a client would (RFC 9110 §10.2.2). The rewritten form has no scheme
/// and host, so that it holds under whatever name the client knows us.
pub(crate) fn translate(
    location: &HeaderValue,
    asked: &Url,
    backend: &Url,
    resource: &str,
) -> Location {
    let target = str::from_utf8(location.as_bytes()).ok().and_then(|text| asked.join(text).ok());
    let Some(target) = target else { return Location::Refuse };
    if !is_same_place(&target, backend) {
        return Location::Keep;
    }
    let Some(rest) = path::below(backend.path(), target.path()) else { return Location::Refuse };
    let mut local = path::append(resource, rest);
    // Else `//host` below a root resource would lead to another host.
    if path::check(&local).is_err() {
        return Location::Refuse;
    }
    if let Some(query) = target.query() {
        local.push('?');
        local.push_str(query);
    }
    if let Some(fragment) = target.fragment() {
        local.push('#');
        local.push_str(fragment);
    }
    HeaderValue::try_from(local).map_or(Location::Refuse, Location::Rewrite)
}

/// Whether a URL names the backend's origin. A backend behind a TLS terminator may think that it
/// is on plain http: with both ports at their default, another scheme is the same place.
fn is_same_place(target: &Url, backend: &Url) -> bool {
    let both_default = target.port().is_none() && backend.port().is_none();
    matches!(target.scheme(), "http" | "https")
        && target.host() == backend.host()
        && (both_default || target.port_or_known_default() == backend.port_or_known_default())
}

/// A location for the log: queries and fragments hold tokens at times.
pub(crate) fn without_query(location: &HeaderValue) -> &str {
    let text = location.to_str().unwrap_or_default();
    text.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
