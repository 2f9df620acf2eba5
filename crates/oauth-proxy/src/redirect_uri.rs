//! Redirect URIs: which may be registered, which request matches, how an answer is appended.
//!
//! A URI is parsed only to judge it. It is stored, compared and answered as the string that the
//! client registered, because [`Url`] normalizes and two readers of one URI must not differ.

use std::net::Ipv4Addr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Host, Url};

#[cfg(test)]
mod tests;

/// The longest redirect URI that may be registered, in bytes: what every browser, proxy and log
/// carries, with room for the answer's parameters.
pub(crate) const MAX_REDIRECT_URI_BYTES: usize = 2048;

/// Schemes that run script, read local data or show no origin. No policy opens them.
const FORBIDDEN_SCHEMES: [&str; 8] =
    ["javascript", "data", "file", "vbscript", "blob", "about", "filesystem", "view-source"];

/// Private-use schemes (RFC 8252 §7.1) that MCP clients are known to register.
const KNOWN_SCHEMES: [&str; 5] = ["claude", "cursor", "vscode", "vscode-insiders", "windsurf"];

/// The hosts that plain `http` may name (RFC 8252 §7.3, and `localhost`, which clients use).
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Parameters of an authorization response; a registered URI does not get to set them.
const RESPONSE_PARAMS: [&str; 6] =
    ["code", "state", "iss", "error", "error_description", "error_uri"];

/// Everything but the unreserved characters of RFC 3986 §2.3.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Which redirect URIs a client may register.
///
/// `https` is open to every host and `http` to loopback; private-use schemes such as `cursor:`
/// must be on this list, because any program on a person's computer may claim one.
/// The default list names the MCP clients that are known to need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectPolicy {
    schemes: Vec<String>,
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self { schemes: KNOWN_SCHEMES.map(str::to_owned).to_vec() }
    }
}

impl RedirectPolicy {
    /// `https` and loopback only: the letter of the MCP specification.
    pub fn strict() -> Self {
        Self { schemes: Vec::new() }
    }

    /// Also allows a private-use scheme, given without the colon, in any case.
    ///
    /// Schemes that run script or read local data (`javascript`, `data`, `file`, …) stay refused.
    #[must_use]
    pub fn allow_scheme(mut self, scheme: impl Into<String>) -> Self {
        self.schemes.push(scheme.into().to_ascii_lowercase());
        self
    }

    fn allows(&self, scheme: &str) -> bool {
        self.schemes.iter().any(|allowed| allowed == scheme)
    }
}

/// Whether a client may register this URI.
///
/// # Errors
///
/// Why not, in words for the developer of the client, without quoting the URI.
pub(crate) fn check_registration(uri: &str, policy: &RedirectPolicy) -> Result<(), String> {
    if uri.len() > MAX_REDIRECT_URI_BYTES {
        return Err(format!("it is longer than {MAX_REDIRECT_URI_BYTES} bytes"));
    }
    check_characters(uri)?;
    let Some((scheme, rest)) = uri.split_once(':') else {
        return Err("it is not an absolute URI".to_owned());
    };
    let scheme = scheme.to_ascii_lowercase();
    if !is_scheme(&scheme) {
        return Err("it is not an absolute URI".to_owned());
    }
    if FORBIDDEN_SCHEMES.contains(&scheme.as_str()) {
        return Err(format!("the scheme `{scheme}` is never allowed"));
    }
    if let Some(after) = rest.strip_prefix("//")
        && authority(after).contains('@')
    {
        return Err("it must not contain a user name or password".to_owned());
    }
    match scheme.as_str() {
        "https" => check_https(uri, rest),
        "http" if split_loopback(uri).is_some() => Ok(()),
        "http" => Err("`http` is allowed only for localhost, 127.0.0.1 and [::1], with a valid \
                       port; use `https`"
            .to_owned()),
        _ if rest.trim_start_matches('/').is_empty() => Err("it names no target".to_owned()),
        _ if policy.allows(&scheme) => Ok(()),
        _ => Err(format!("the scheme `{scheme}` is not on this server's list")),
    }
}

/// RFC 3986 §2: printable ASCII, percent-encoding complete, and no fragment.
fn check_characters(uri: &str) -> Result<(), String> {
    let bytes = uri.as_bytes();
    for (index, &byte) in bytes.iter().enumerate() {
        let complaint = match byte {
            b'#' => "it must not have a fragment",
            b'%' if !bytes.get(index + 1..index + 3).is_some_and(is_hex) => {
                "it contains a broken percent-encoding"
            }
            b'*' => "wildcards are not understood: write each redirect URI in full",
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                "it contains a character that a URI may not contain"
            }
            0x21..=0x7e => continue,
            _ => "it contains a space, a control character or a character outside ASCII",
        };
        return Err(complaint.to_owned());
    }
    Ok(())
}

fn is_hex(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

/// RFC 3986 §3.1, already in lower case.
fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// The part of `after`, which follows `//`, that names the host.
fn authority(after: &str) -> &str {
    after.split(['/', '?']).next().unwrap_or(after)
}

fn check_https(uri: &str, rest: &str) -> Result<(), String> {
    // `https:host` and `https:///host` are read as `https://host` by browsers alone.
    let written_out = rest.strip_prefix("//").is_some_and(|after| !authority(after).is_empty());
    match Url::parse(uri) {
        Ok(url) if written_out && url.host().is_some() => Ok(()),
        _ => Err("it is not a valid `https` URL".to_owned()),
    }
}

/// A plain `http` URI on a loopback host, split around its port.
#[derive(PartialEq, Eq)]
struct Loopback<'a> {
    host: &'a str,
    /// Path and query, byte for byte.
    target: &'a str,
}

/// Splits `uri` if it is `http` on a loopback host with no port or a valid one.
fn split_loopback(uri: &str) -> Option<Loopback<'_>> {
    let after = uri.strip_prefix("http://")?;
    let host = LOOPBACK_HOSTS.into_iter().find(|host| after.starts_with(host))?;
    let tail = &after[host.len()..];
    let target = match tail.strip_prefix(':') {
        Some(tail) => {
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            let (port, target) = tail.split_at(digits);
            port.parse::<u16>().ok().filter(|&port| port > 0)?;
            target
        }
        None => tail,
    };
    let complete = target.is_empty() || target.starts_with(['/', '?']);
    complete.then_some(Loopback { host, target })
}

/// Whether `requested` is one of the URIs that the client registered.
///
/// The strings must be equal (OAuth 2.1 §2.3.1); only the port of `http` loopback URIs may differ
/// (RFC 8252 §7.3), also for the name `localhost` and for URIs registered without a port, because
/// native clients take a free port at every login.
pub(crate) fn is_registered(registered: &[String], requested: &str) -> bool {
    if registered.iter().any(|uri| uri == requested) {
        return true;
    }
    let Some(requested) = split_loopback(requested) else { return false };
    registered.iter().any(|uri| split_loopback(uri).is_some_and(|uri| uri == requested))
}

/// Appends response parameters to the query of a registered URI (RFC 6749 §4.1.2).
///
/// The URI stays byte for byte as it is, except that parameters of an authorization response which
/// it already carries are dropped, so that each stands once and is ours.
pub(crate) fn with_params(uri: &str, params: &[(&str, &str)]) -> String {
    let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_response_param(pair));
    let added =
        params.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, VALUE)));
    let query: Vec<String> = kept.map(str::to_owned).chain(added).collect();
    if query.is_empty() { base.to_owned() } else { format!("{base}?{}", query.join("&")) }
}

/// Whether a `name=value` pair sets a parameter of an authorization response, however it is spelled.
fn is_response_param(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or(pair);
    let name = percent_decode_str(name).collect::<Vec<u8>>();
    RESPONSE_PARAMS.iter().any(|param| param.as_bytes() == name)
}

/// Where a person's browser will go, as it should be shown to them: the host that the browser
/// really contacts (with a port that is not the default), or the scheme of an installed app.
pub(crate) fn display_host(uri: &str) -> String {
    let Ok(url) = Url::parse(uri) else { return "an unreadable address".to_owned() };
    match (url.scheme(), url.host_str(), url.port()) {
        ("http" | "https", Some(host), Some(port)) => format!("{host}:{port}"),
        ("http" | "https", Some(host), None) => host.to_owned(),
        (scheme, _, _) => format!("{scheme}:"),
    }
}

/// The host of a site on the web, as URL parsers write it: of an `https` URI that is not on the
/// person's own computer. Another port may be another party's.
pub(crate) fn web_host(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    let is_web = url.scheme() == "https" && url.port().is_none() && !is_loopback(uri);
    url.host_str().filter(|_| is_web).map(str::to_owned)
}

/// Whether the answer goes to a program on the person's own computer, where any other program can
/// listen as well: a loopback host in any spelling, or a private-use scheme.
pub(crate) fn is_loopback(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    if is_private_use(&url) {
        return true;
    }
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip == Ipv4Addr::UNSPECIFIED,
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback() || ip.is_unspecified(),
        None => false,
    }
}

/// Whether a browser has to start another program to follow this URI (RFC 8252 §7.1).
pub(crate) fn starts_a_program(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| is_private_use(&url))
}

fn is_private_use(url: &Url) -> bool {
    !matches!(url.scheme(), "http" | "https")
}
