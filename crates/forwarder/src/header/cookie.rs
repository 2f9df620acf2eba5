//! Taking our own cookies out of a request, leaving everybody else's.

use http::{HeaderMap, HeaderValue, header};

/// What the names of our cookies begin with. On plain-http loopback there is no `__Host-`.
pub const OWN_COOKIE_PREFIXES: [&str; 2] = ["__Host-oidc-proxy", "oidc-proxy-"];

/// Whether a cookie of this name is one of ours, so that no backend gets it: the default of
/// [`Builder::own_cookies`](crate::Builder::own_cookies).
pub fn is_own_cookie(name: &str) -> bool {
    OWN_COOKIE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes the cookies that `is_own` names. What remains keeps its bytes and its order, in one
/// header line, which is what HTTP/1.1 asks of cookies that HTTP/2 split (RFC 9113 §8.2.3).
pub(super) fn remove_own(headers: &mut HeaderMap, is_own: &(dyn Fn(&str) -> bool + Send + Sync)) {
    let lines = headers.get_all(header::COOKIE);
    let mut kept: Vec<u8> = Vec::new();
    for pair in lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        // Ours are ASCII: a name that is not UTF-8 is not one of them.
        if pair.is_empty() || str::from_utf8(name).is_ok_and(is_own) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    if kept.is_empty() {
        headers.remove(header::COOKIE);
    } else {
        let kept = HeaderValue::try_from(kept).expect("parts of header values, joined");
        headers.insert(header::COOKIE, kept);
    }
}
