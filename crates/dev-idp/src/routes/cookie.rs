//! The two cookies: one binds login pages to a browser, one remembers who logged in.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::DevIdp;

/// Binds login pages to the browser that got them.
pub(super) const BROWSER: &str = "dev_idp_browser";
/// The single sign-on session.
pub(super) const SESSION: &str = "dev_idp_session";

/// The value of a cookie of the request.
pub(super) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(other, value)| *other == name && !value.is_empty())
        .map(|(_, value)| value)
}

/// A `Set-Cookie` value for a random token in base64url.
pub(super) fn set(
    provider: &DevIdp,
    name: &str,
    value: &str,
    lifetime: Option<Duration>,
) -> HeaderValue {
    let path = match provider.inner.endpoints.base_path.as_str() {
        "" => "/",
        path => path,
    };
    let lifetime =
        lifetime.map(|lifetime| format!("; Max-Age={}", lifetime.as_secs())).unwrap_or_default();
    let secure = if provider.config().secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Lax{lifetime}{secure}");
    HeaderValue::from_str(&cookie).expect("names, paths and base64url are ASCII")
}
