//! Which identity headers the backend gets.

use std::fmt;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What is percent-encoded in a claim's value: what a header cannot carry (controls, non-ASCII),
/// what a list or a parameter parser would take for syntax, spaces, which get trimmed at the ends,
/// and `%` itself, so that decoding gives back exactly the claim.
const MISLEADING: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'%').add(b',').add(b';').add(b'\\');

/// The headers that tell the backend who is asking.
///
/// They are set after everything else was removed from the request, so what stands here is what
/// the backend sees; a name that occurs twice becomes two header lines.
///
/// ```
/// use http::HeaderName;
///
/// let identity = forwarder::Identity::new()
///     .claim(HeaderName::from_static("x-forwarded-user"), "auth0|Zoë, admin")
///     .list(HeaderName::from_static("x-forwarded-groups"), ["staff", "a,b"]);
/// assert_eq!(identity.headers[0].1, "auth0|Zo%C3%AB%2C%20admin");
/// assert_eq!(identity.headers[1].1, "staff,a%2Cb");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Names and values as they go on the wire.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Identity {
    /// No headers: the request arrives without identity.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one claim, percent-encoded (UTF-8) where it could mislead: controls, spaces,
    /// non-ASCII, `%`, `,`, `;`, `"` and `\`.
    #[must_use]
    pub fn claim(self, name: HeaderName, value: &str) -> Self {
        self.list(name, [value])
    }

    /// Adds a claim of several values, each encoded as in [`claim`](Self::claim), joined by commas.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the encoding just above rules it out")]
    pub fn list<'a>(mut self, name: HeaderName, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut line = String::new();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            line.extend(utf8_percent_encode(value, MISLEADING));
        }
        let value = HeaderValue::try_from(line).expect("percent-encoding leaves visible ASCII");
        self.headers.push((name, value));
        self
    }
}

/// Shows the names only: the values are about a person.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.headers.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests;
