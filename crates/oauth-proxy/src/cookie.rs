//! The two cookies of a login: one against forged consent posts, one per transaction (D9).

use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
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
    let jar = CookieJar::from_headers(headers);
    let value = jar.get(&name(config, CSRF))?.value();
    let plausible = value.len() == 43 && value.bytes().all(is_base64url);
    plausible.then(|| value.to_owned())
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
    pub(crate) fn set(&self, config: &Config, sent: &HeaderMap, headers: &mut HeaderMap) {
        let seconds = config.lifetimes.transaction.as_secs();
        append(headers, &cookie(config, &self.name, &self.value, seconds));
        let jar = CookieJar::from_headers(sent);
        let prefix = name(config, TRANSACTION);
        let mut older: Vec<_> = jar
            .iter()
            .filter(|cookie| cookie.name().starts_with(&prefix))
            .map(|cookie| {
                let issued = cookie.value().split('.').next().and_then(|at| at.parse().ok());
                (issued.unwrap_or(0_u64), cookie.name().to_owned())
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
    let jar = CookieJar::from_headers(headers);
    jar.get(&name(config, &transaction_name(key))).is_some_and(|cookie| {
        let found = sha256_base64url(cookie.value().as_bytes());
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
