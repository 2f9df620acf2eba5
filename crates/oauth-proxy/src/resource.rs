//! Resource indicators (RFC 8707): which protected resource does a client mean?

use url::Url;

use crate::error::{ErrorCode, OAuthError};

/// The well-known name of RFC 9728 §3.
pub(crate) const METADATA: &str = "/.well-known/oauth-protected-resource";

/// First segments that are taken by our own endpoints.
const RESERVED: [&str; 7] =
    [".well-known", "authorize", "consent", "introspect", "register", "revoke", "token"];

/// The protected resources that this server issues tokens for; the first is the default.
///
/// Each is named by its canonical URL: the base URL and a path, byte for byte as configured (D1).
#[derive(Clone, Debug)]
pub(crate) struct Resources(Vec<Resource>);

#[derive(Clone, Debug)]
struct Resource {
    canonical: String,
    key: Key,
}

/// What two spellings of one resource have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// Scheme, host and port; the default port is elided.
    origin: String,
    /// Without the trailing slash.
    path: String,
    query: Option<String>,
}

/// The requested resource is not one of ours (RFC 8707 §2, `invalid_target`).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requested `resource` is not served here")]
pub(crate) struct InvalidTarget;

impl From<InvalidTarget> for OAuthError {
    fn from(error: InvalidTarget) -> Self {
        Self::new(ErrorCode::InvalidTarget, error.to_string())
    }
}

impl Resources {
    /// Takes paths below the base URL, which has been checked; `/` is the base URL itself.
    ///
    /// # Errors
    ///
    /// The path that cannot be used, and why, in words for the operator.
    pub(crate) fn new(base_url: &str, paths: &[String]) -> Result<Self, (String, String)> {
        let mut resources: Vec<Resource> = Vec::with_capacity(paths.len());
        for path in paths {
            let refuse = |why: &str| Err((path.clone(), why.to_owned()));
            if let Err(why) = check_path(path) {
                return refuse(why);
            }
            let canonical = format!("{base_url}{}", path.trim_end_matches('/'));
            let Some(key) = Key::of(&canonical) else {
                return refuse("it does not make a URL together with the base URL");
            };
            if resources.iter().any(|other| other.key == key) {
                return refuse("it is given twice");
            }
            resources.push(Resource { canonical, key });
        }
        if resources.is_empty() {
            return Err((String::new(), "at least one resource is needed".to_owned()));
        }
        Ok(Self(resources))
    }

    /// The canonical URL of the resource that a client asks for, the default if it names none.
    ///
    /// Scheme and host compare without regard to case, a default port and one trailing slash do
    /// not matter; everything else does.
    ///
    /// # Errors
    ///
    /// [`InvalidTarget`] for anything that is not one of these resources.
    pub(crate) fn resolve(&self, requested: Option<&str>) -> Result<&str, InvalidTarget> {
        let Some(requested) = requested else { return Ok(self.first()) };
        let key = Key::of(requested).ok_or(InvalidTarget)?;
        self.0
            .iter()
            .find(|resource| resource.key == key)
            .map(|resource| resource.canonical.as_str())
            .ok_or(InvalidTarget)
    }

    /// The default: the resource of clients that name none.
    pub(crate) fn first(&self) -> &str {
        &self.0[0].canonical
    }

    /// All canonical URLs, the default first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|resource| resource.canonical.as_str())
    }
}

impl Key {
    /// `None` if `url` cannot name a resource.
    fn of(url: &str) -> Option<Self> {
        // What the URL parser would repair silently is refused: nobody means it.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') || url.contains('#') {
            return None;
        }
        let url = Url::parse(url).ok()?;
        let web = matches!(url.scheme(), "http" | "https");
        let anonymous = url.username().is_empty() && url.password().is_none();
        (web && anonymous && url.has_host()).then(|| Self {
            origin: url.origin().ascii_serialization(),
            path: url.path().strip_suffix('/').unwrap_or(url.path()).to_owned(),
            query: url.query().map(str::to_owned),
        })
    }
}

/// Whether a configured path can be a resource: nothing that a router reads as a pattern or a
/// client normalizes, and not where our own endpoints are.
fn check_path(path: &str) -> Result<(), &'static str> {
    if path == "/" {
        return Ok(());
    }
    let Some(segments) = path.strip_prefix('/') else { return Err("it must begin with `/`") };
    let first = segments.split('/').next().unwrap_or(segments);
    if RESERVED.contains(&first) {
        return Err("an endpoint of this server has that path");
    }
    let is_plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
            })
    };
    if segments.split('/').all(is_plain) {
        Ok(())
    } else {
        Err(
            "it must be segments of letters, digits, `-`, `.`, `_`, `~`, without a slash at the end",
        )
    }
}

/// The path of a canonical resource URL: empty, or `/x` without a trailing slash.
pub(crate) fn path(resource: &str) -> &str {
    let after = resource.split_once("://").map_or(resource, |(_, after)| after);
    after.find('/').map_or("", |start| &after[start..])
}

/// Where a challenge sends clients for the metadata of a resource: the well-known name goes between
/// host and path (RFC 9728 §3.1).
pub(crate) fn metadata_url(resource: &str) -> String {
    let path = path(resource);
    let origin = resource.strip_suffix(path).unwrap_or(resource);
    format!("{origin}{METADATA}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(base_url: &str, paths: &[&str]) -> Result<Resources, (String, String)> {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        Resources::new(base_url, &paths)
    }

    fn resources() -> Resources {
        new("https://h.example", &["/mcp", "/", "/a/b"]).unwrap()
    }

    #[test]
    fn every_spelling_leads_to_the_canonical_string() {
        for (requested, canonical) in [
            ("https://h.example/mcp", "https://h.example/mcp"),
            ("https://h.example/mcp/", "https://h.example/mcp"),
            ("HTTPS://H.Example:443/mcp", "https://h.example/mcp"),
            ("https://h.example", "https://h.example"),
            ("https://h.example/", "https://h.example"),
            ("https://h.example:443", "https://h.example"),
            ("https://h.example/a/b/", "https://h.example/a/b"),
        ] {
            assert_eq!(resources().resolve(Some(requested)), Ok(canonical), "{requested}");
        }
        assert_eq!(resources().resolve(None), Ok("https://h.example/mcp"));
    }

    #[test]
    fn anything_else_is_an_invalid_target() {
        for requested in [
            "",
            "mcp",
            "/mcp",
            "https://h.example/MCP",
            "https://h.example/mcp//",
            "https://h.example//mcp",
            "https://h.example/mcp/x",
            "https://h.example/mc",
            "https://h.example/mcp?x=1",
            "https://h.example/mcp?",
            "https://h.example/mcp#",
            "https://h.example/mcp#f",
            "http://h.example/mcp",
            "https://h.example:8443/mcp",
            "https://user@h.example/mcp",
            "https://h.example.evil.example/mcp",
            "https://h.example\\mcp",
            "https://h.example/\nmcp",
            " https://h.example/mcp",
            "https://localhost/a/b",
            "urn:x",
            "ftp://h.example/mcp",
        ] {
            assert_eq!(resources().resolve(Some(requested)), Err(InvalidTarget), "{requested:?}");
        }
    }

    #[test]
    fn a_configured_path_must_be_plain_and_free() {
        for path in [
            "",
            "mcp",
            "/mcp/",
            "//mcp",
            "/a/../mcp",
            "/./mcp",
            "/{mcp}",
            "/:mcp",
            "/a b",
            "/mcp?x",
            "/mcp#x",
            "/%6dcp",
            "/token",
            "/register/mcp",
            "/.well-known",
        ] {
            let refused = new("https://h.example", &["/fine", path]).unwrap_err();
            assert_eq!(refused.0, path);
        }
        assert!(new("https://h.example", &[]).is_err());
        assert!(new("https://h.example", &["/mcp", "/mcp"]).is_err());
        let below = new("http://localhost:8000/t1", &["/", "/tokens"]).unwrap();
        let all: Vec<_> = below.iter().collect();
        assert_eq!(all, ["http://localhost:8000/t1", "http://localhost:8000/t1/tokens"]);
    }

    #[test]
    fn the_metadata_url_has_the_name_between_host_and_path() {
        for (resource, expected) in [
            ("https://h.example", "https://h.example/.well-known/oauth-protected-resource"),
            ("https://h:1/a/b", "https://h:1/.well-known/oauth-protected-resource/a/b"),
        ] {
            assert_eq!(metadata_url(resource), expected);
        }
    }

    #[test]
    fn the_path_is_a_part_of_the_string() {
        assert_eq!(path("https://h.example"), "");
        assert_eq!(path("https://h.example:8443/a/b"), "/a/b");
    }
}
