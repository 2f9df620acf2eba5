//! The cookies of a browser.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use http::{HeaderMap, header};
use url::Url;

/// What a browser keeps, by host, path and name.
///
/// By host and not by origin: cookies know no ports (RFC 6265 §8.5), so a provider and a proxy on
/// `localhost` see each other's. Refuses what a browser refuses.
#[derive(Debug, Default, Clone)]
pub struct Jar {
    cookies: BTreeMap<(String, String, String), String>,
}

impl Jar {
    /// Takes the `Set-Cookie` headers of an answer from `url`.
    ///
    /// # Errors
    ///
    /// When a browser would have thrown a cookie away in silence: `Secure` on plain http, or a
    /// broken `__Host-` rule.
    pub fn store(&mut self, url: &Url, headers: &HeaderMap) -> anyhow::Result<()> {
        for header in headers.get_all(header::SET_COOKIE) {
            let text = header.to_str().context("a cookie is not ASCII")?;
            self.store_one(url, text).with_context(|| format!("cookie of {url}"))?;
        }
        Ok(())
    }

    fn store_one(&mut self, url: &Url, text: &str) -> anyhow::Result<()> {
        let mut parts = text.split(';').map(str::trim);
        let (name, value) =
            parts.next().and_then(|pair| pair.split_once('=')).context("no name=value")?;
        let attributes: BTreeMap<String, &str> = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let secure = attributes.contains_key("secure");
        ensure!(
            !secure || url.scheme() == "https",
            "`{name}` is Secure, and this is {}",
            url.scheme()
        );
        ensure!(!attributes.contains_key("domain"), "`{name}` is for a whole domain");
        let path = attributes.get("path").copied().unwrap_or("/");
        if name.starts_with("__Host-") {
            ensure!(secure && path == "/", "`{name}` breaks the rules of its prefix");
        }
        let key = (url.host_str().unwrap_or_default().into(), path.into(), name.into());
        let gone = attributes
            .get("max-age")
            .is_some_and(|age| age.parse::<i64>().is_ok_and(|age| age <= 0));
        if gone {
            self.cookies.remove(&key);
        } else {
            self.cookies.insert(key, value.into());
        }
        Ok(())
    }

    /// The `Cookie` header of a request to `url`, longest path first.
    pub fn header(&self, url: &Url) -> Option<String> {
        let mut matching: Vec<_> = self
            .cookies
            .iter()
            .filter(|((host, path, _), _)| {
                Some(host.as_str()) == url.host_str() && covers(path, url.path())
            })
            .collect();
        matching.sort_by_key(|((_, path, _), _)| std::cmp::Reverse(path.len()));
        let pairs: Vec<String> =
            matching.iter().map(|((_, _, name), value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The names of all cookies.
    pub fn names(&self) -> Vec<&str> {
        self.cookies.keys().map(|(_, _, name)| name.as_str()).collect()
    }

    /// The values of all cookies.
    pub fn values(&self) -> Vec<&str> {
        self.cookies.values().map(String::as_str).collect()
    }
}

/// Whether a cookie for `cookie_path` goes to `path` (RFC 6265 §5.1.4).
fn covers(cookie_path: &str, path: &str) -> bool {
    path.strip_prefix(cookie_path)
        .is_some_and(|rest| rest.is_empty() || cookie_path.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(url: &str, cookie: &str) -> anyhow::Result<Jar> {
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, cookie.parse()?);
        jar.store(&url.parse()?, &headers)?;
        Ok(jar)
    }

    fn sent(jar: &Jar, url: &str) -> Option<String> {
        jar.header(&url.parse().unwrap())
    }

    #[test]
    fn a_cookie_goes_back_to_its_host_and_path() {
        let jar =
            stored("http://localhost:8000/a", "x=1; Path=/auth; HttpOnly; Max-Age=60").unwrap();
        assert_eq!(sent(&jar, "http://localhost:9000/auth/callback").as_deref(), Some("x=1"));
        assert_eq!(sent(&jar, "http://localhost:8000/authorize"), None);
        assert_eq!(sent(&jar, "http://127.0.0.1:8000/auth"), None);
    }

    #[test]
    fn a_cookie_is_replaced_and_removed() {
        let url = "http://localhost/".parse().unwrap();
        let mut jar = stored("http://localhost/", "x=1; Path=/").unwrap();
        jar.store_one(&url, "x=2; Path=/").unwrap();
        assert_eq!(sent(&jar, "http://localhost/any").as_deref(), Some("x=2"));
        jar.store_one(&url, "x=; Path=/; Max-Age=0").unwrap();
        assert_eq!(sent(&jar, "http://localhost/any"), None);
    }

    #[test]
    fn what_a_browser_throws_away_is_an_error() {
        for cookie in ["x=1; Secure", "__Host-x=1; Path=/", "x=1; Domain=localhost", "x"] {
            assert!(stored("http://localhost/", cookie).is_err(), "{cookie}");
        }
        for cookie in ["__Host-x=1; Path=/a; Secure", "__Host-x=1; Path=/"] {
            assert!(stored("https://example.com/", cookie).is_err(), "{cookie}");
        }
        assert!(stored("https://example.com/", "__Host-x=1; Path=/; Secure; SameSite=Lax").is_ok());
    }
}
