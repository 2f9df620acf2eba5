//! Which paths are let through, and where they go: pure functions on raw paths.
//!
//! Nothing is ever decoded or normalized here: two programs that normalize differently are how
//! path traversal happens. A path that anybody could read in more than one way is refused.

/// Why a path is refused. The message is safe to show to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The request target is not a path (`*`, or an authority).
    #[error("the request target must be an absolute path")]
    NotAbsolute,
    /// A segment is `.` or `..`, raw or percent-encoded, with or without `;` parameters.
    #[error("the path must not contain dot segments")]
    DotSegment,
    /// Two slashes stand side by side.
    #[error("the path must not contain empty segments")]
    EmptySegment,
    /// `%2f` or `%5c`, in either case.
    #[error("the path must not contain an encoded slash or backslash")]
    EncodedSlash,
    /// A raw backslash, which some servers take for a slash.
    #[error("the path must not contain a backslash")]
    Backslash,
    /// A control character or NUL, raw or percent-encoded.
    #[error("the path must not contain control characters")]
    Control,
    /// A `%` that two hexadecimal digits do not follow (RFC 3986 §2.1).
    #[error("the path contains a malformed percent-encoding")]
    Malformed,
}

/// Checks a raw request path.
///
/// Double encoding (`%252e`) passes: it is passed on as it is, and a backend that decodes once
/// sees the three characters `%2e`.
///
/// ```
/// use forwarder::path::{PathError, check};
///
/// assert_eq!(check("/mcp/v1.2/caf%C3%A9"), Ok(()));
/// assert_eq!(check("/mcp/%2E./admin"), Err(PathError::DotSegment));
/// ```
///
/// # Errors
///
/// The first rule that the path breaks.
pub fn check(path: &str) -> Result<(), PathError> {
    let Some(segments) = path.strip_prefix('/') else { return Err(PathError::NotAbsolute) };
    let bytes = path.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            0x00..=0x1f | 0x7f => return Err(PathError::Control),
            b'\\' => return Err(PathError::Backslash),
            b'/' if bytes.get(index + 1) == Some(&b'/') => return Err(PathError::EmptySegment),
            b'%' => match escaped(&bytes[index + 1..]) {
                None => return Err(PathError::Malformed),
                Some(0x00..=0x1f | 0x7f) => return Err(PathError::Control),
                Some(b'/' | b'\\') => return Err(PathError::EncodedSlash),
                Some(_) => {}
            },
            _ => {}
        }
    }
    if segments.split('/').any(is_dot_segment) { Err(PathError::DotSegment) } else { Ok(()) }
}

/// The part of `path` below `resource`, by whole segments of the raw path: empty for the resource
/// itself, else beginning with a slash. `None` when the path is not the resource's.
///
/// A trailing slash of `resource` does not matter; `/` and the empty string are the root, below
/// which every path is. To route between several resources, take the longest that matches.
///
/// ```
/// use forwarder::path::below;
///
/// assert_eq!(below("/mcp", "/mcp"), Some(""));
/// assert_eq!(below("/mcp", "/mcp/tools"), Some("/tools"));
/// assert_eq!(below("/mcp", "/mcpx"), None);
/// assert_eq!(below("/", "/"), Some(""));
/// ```
pub fn below<'a>(resource: &str, path: &'a str) -> Option<&'a str> {
    let resource = resource.strip_suffix('/').unwrap_or(resource);
    let rest = path.strip_prefix(resource)?;
    match rest {
        "/" if resource.is_empty() => Some(""),
        _ if rest.is_empty() || rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// `base` with what [`below`] gave appended; `base` itself, byte for byte, when that is empty.
pub(crate) fn append(base: &str, rest: &str) -> String {
    if rest.is_empty() {
        return if base.is_empty() { "/".to_owned() } else { base.to_owned() };
    }
    let base = base.strip_suffix('/').unwrap_or(base);
    format!("{base}{rest}")
}

/// The byte that `digits` begin with, if they begin with two hexadecimal digits.
fn escaped(digits: &[u8]) -> Option<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match digits {
        [high, low, ..] => Some((hex(*high)? << 4) | hex(*low)?),
        _ => None,
    }
}

/// `.` and `..`, each dot raw or as `%2e`. What follows a `;` is a parameter to some servers
/// (`/..;/`, a known way around path rules), so it does not count.
fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while let Some(after) = strip_encoded(rest, '.', "%2e") {
        rest = after;
        dots += 1;
    }
    (1..=2).contains(&dots) && (rest.is_empty() || strip_encoded(rest, ';', "%3b").is_some())
}

fn strip_encoded<'a>(text: &'a str, raw: char, encoded: &str) -> Option<&'a str> {
    text.strip_prefix(raw).or_else(|| {
        let (head, rest) = text.split_at_checked(encoded.len())?;
        head.eq_ignore_ascii_case(encoded).then_some(rest)
    })
}

#[cfg(test)]
mod tests;
