//! The two cookies of a login: one against forged consent posts, one per transaction (D9).

use axum_extra::extract::cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};
use jwt_issuer::{random_token, sha256_base64url};
use subtle::ConstantTimeEq;

use crate::config::Config;

const CSRF: &str = "oidc-proxy-csrf";
const TRANSACTION: &str = "oidc-proxy-tx-";

/// The most logins that one browser may have in flight; a header of cookies has a limit too.
pub(crate) const MAX_TRANSACTIONS: usize = 10;

/// How much of SHA-256(state) names a transaction's cookie: enough to tell ten apart.
const NAME_CHARS: usize = 16;

/// The browser's secret against forged consent posts: kept if it has one, so that a second tab or a
/// reload does not invalidate the first page.
pub(crate) struct CsrfCookie {
    pub(crate) value: String,
    is_new: bool,
}

impl CsrfCookie {
    pub(crate) fn of(config: &Config, headers: &HeaderMap) -> Self {
        match read_csrf(config, headers) {
            Some(value) => Self { value, is_new: false },
            None => Self { value: random_token::<32>(), is_new: true },
        }
    }

    pub(crate) fn set(&self, config: &Config, headers: &mut HeaderMap) {
        if self.is_new {
            let seconds = config.lifetimes.consent.as_secs().saturating_mul(4);
            append(headers, &cookie(config, CSRF, &self.value, seconds));
        }
    }
}

/// The CSRF cookie, if the browser sent one that looks like ours.
pub(crate) fn read_csrf(config: &Config, headers: &HeaderMap) -> Option<String> {
    let value = only(headers, &name(config, CSRF))?;
    let plausible = value.len() == 43 && value.bytes().all(is_base64url);
    plausible.then(|| value.to_owned())
}

/// Every cookie that the browser sent, name and value as they stand in the header.
///
/// Names are not percent-decoded: browsers guard the prefix `__Host-` in its raw form, and
/// `%5F_Host-` is a name that a sibling site may set. A cookie of another application that is not
/// text is passed over.
fn sent(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
}

/// The value of a cookie that the browser sent exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = sent(headers).filter(|(known, _)| *known == name).map(|(_, value)| value);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Ties a transaction to the browser that approved it.
pub(crate) struct Binding {
    name: String,
    /// Unix seconds and random bytes; the time tells which cookie is the oldest.
    value: String,
}

impl Binding {
    /// For the transaction stored under `key` = SHA-256(state).
    pub(crate) fn new(key: &str, now: u64) -> Self {
        Self { name: transaction_name(key), value: format!("{now}.{}", random_token::<32>()) }
    }

    /// What the transaction remembers of it.
    pub(crate) fn hash(&self) -> String {
        sha256_base64url(self.value.as_bytes())
    }

    /// Sets the cookie and drops the oldest ones beyond [`MAX_TRANSACTIONS`].
    pub(crate) fn set(&self, config: &Config, request: &HeaderMap, headers: &mut HeaderMap) {
        let seconds = config.lifetimes.transaction.as_secs();
        append(headers, &cookie(config, &self.name, &self.value, seconds));
        let prefix = name(config, TRANSACTION);
        let mut older: Vec<_> = sent(request)
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, value)| {
                let issued = value.split('.').next().and_then(|at| at.parse().ok());
                (issued.unwrap_or(0_u64), name.to_owned())
            })
            .collect();
        older.sort_unstable();
        let surplus = (older.len() + 1).saturating_sub(MAX_TRANSACTIONS);
        for (_, full_name) in older.into_iter().take(surplus) {
            append(headers, &built(config, full_name, String::new(), 0));
        }
    }
}

/// Whether this browser approved the transaction stored under `key`. Constant time.
pub(crate) fn is_bound(config: &Config, headers: &HeaderMap, key: &str, hash: &str) -> bool {
    only(headers, &name(config, &transaction_name(key))).is_some_and(|value| {
        let found = sha256_base64url(value.as_bytes());
        found.as_bytes().ct_eq(hash.as_bytes()).into()
    })
}

/// Drops the cookie of a transaction that is over.
pub(crate) fn clear_binding(config: &Config, key: &str, headers: &mut HeaderMap) {
    append(headers, &cookie(config, &transaction_name(key), "", 0));
}

fn transaction_name(key: &str) -> String {
    let end = key.len().min(NAME_CHARS);
    format!("{TRANSACTION}{}", &key[..end])
}

/// `__Host-` wherever cookies can be `Secure`; browsers refuse both on plain-http loopback.
fn name(config: &Config, plain: &str) -> String {
    if config.secure_cookies { format!("__Host-{plain}") } else { plain.to_owned() }
}

fn cookie(config: &Config, plain: &str, value: &str, max_age: u64) -> Cookie<'static> {
    built(config, name(config, plain), value.to_owned(), max_age)
}

fn built(config: &Config, name: String, value: String, max_age: u64) -> Cookie<'static> {
    let mut cookie = Cookie::new(name, value);
    cookie.set_http_only(true);
    cookie.set_path("/");
    // Lax, not Strict: the provider's redirect to the callback is a cross-site navigation.
    cookie.set_same_site(SameSite::Lax);
    cookie.set_secure(config.secure_cookies);
    let seconds = i64::try_from(max_age).unwrap_or(i64::MAX);
    cookie.set_max_age(std::time::Duration::from_secs(seconds.unsigned_abs()).try_into().ok());
    cookie
}

fn append(headers: &mut HeaderMap, cookie: &Cookie<'_>) {
    if let Ok(value) = HeaderValue::from_str(&cookie.encoded().to_string()) {
        headers.append(header::SET_COOKIE, value);
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (header::COOKIE, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    #[test]
    fn names_are_compared_as_they_were_sent() {
        for tossed in [
            &b"%5F_Host-x=evil"[..],
            b"__Host%2Dx=evil",
            b"__host-x=evil",
            b"\"__Host-x\"=evil",
            b"__Host-x =evil",
        ] {
            assert_eq!(only(&headers(&[tossed]), "__Host-x"), None);
        }
        assert_eq!(only(&headers(&[b"a=b; __Host-x=good ;c"]), "__Host-x"), Some("good"));
    }

    #[test]
    fn a_cookie_that_came_twice_counts_for_nothing() {
        assert_eq!(only(&headers(&[b"x=1; x=2"]), "x"), None);
        assert_eq!(only(&headers(&[b"x=1", b"x=2"]), "x"), None);
    }

    #[test]
    fn other_applications_cookies_do_no_harm() {
        assert_eq!(only(&headers(&[b"other=\xff\xfe; x=1"]), "x"), Some("1"));
    }
}
