use proptest::prelude::*;

use super::{PathError, append, below, check};

#[test]
fn plain_paths_pass() {
    for path in [
        "/",
        "/mcp",
        "/mcp/",
        "/mcp/v1.2/x",
        "/mcp/.well-known/oauth-protected-resource",
        "/mcp/...",
        "/mcp/..x",
        "/mcp/x..",
        "/mcp/.%2ex",
        "/mcp/a;b=c",
        "/mcp/%20a%7E",
        "/mcp/caf%C3%A9",
        "/mcp/%252e%252e/x",
        "/mcp/ä",
    ] {
        assert_eq!(check(path), Ok(()), "{path}");
    }
}

#[test]
fn ambiguous_paths_are_refused() {
    use PathError::{
        Backslash, Control, DotSegment, EmptySegment, EncodedSlash, Malformed, NotAbsolute,
    };
    for (path, error) in [
        ("", NotAbsolute),
        ("*", NotAbsolute),
        ("mcp", NotAbsolute),
        ("/mcp/..", DotSegment),
        ("/mcp/../admin", DotSegment),
        ("/mcp/.", DotSegment),
        ("/./mcp", DotSegment),
        ("/mcp/%2e%2e/admin", DotSegment),
        ("/mcp/%2E%2e/admin", DotSegment),
        ("/mcp/.%2E/admin", DotSegment),
        ("/mcp/%2e./admin", DotSegment),
        ("/mcp/%2e", DotSegment),
        ("/mcp/..;/admin", DotSegment),
        ("/mcp/..;a=b/admin", DotSegment),
        ("/mcp/%2e%2E%3b/admin", DotSegment),
        ("/mcp/.;/admin", DotSegment),
        ("//mcp", EmptySegment),
        ("/mcp//", EmptySegment),
        ("/mcp//admin", EmptySegment),
        ("/mcp%2fadmin", EncodedSlash),
        ("/mcp/..%2Fadmin", EncodedSlash),
        ("/mcp%5cadmin", EncodedSlash),
        ("/mcp%5Cadmin", EncodedSlash),
        ("/mcp\\admin", Backslash),
        ("/mcp/%00", Control),
        ("/mcp/%0d%0aX-Forwarded-User:%20root", Control),
        ("/mcp/%1F", Control),
        ("/mcp/%7f", Control),
        ("/mcp/\u{1}", Control),
        ("/mcp/%", Malformed),
        ("/mcp/%2", Malformed),
        ("/mcp/%zz", Malformed),
        ("/mcp/%u002e", Malformed),
        ("/mcp/%+2", Malformed),
    ] {
        assert_eq!(check(path), Err(error), "{path}");
    }
}

#[test]
fn resources_match_by_whole_segments() {
    for (resource, path, rest) in [
        ("/mcp", "/mcp", Some("")),
        ("/mcp", "/mcp/", Some("/")),
        ("/mcp", "/mcp/a/b", Some("/a/b")),
        ("/mcp/", "/mcp/a", Some("/a")),
        ("/mcp/", "/mcp", Some("")),
        ("/mcp", "/mcpx", None),
        ("/mcp", "/mc", None),
        ("/mcp", "/MCP", None),
        ("/mcp", "/m%63p", None),
        ("/mcp", "/x/mcp", None),
        ("/a/b", "/a", None),
        ("/a/b", "/a/bc", None),
        ("/a/b", "/a/b/c", Some("/c")),
        ("", "/", Some("")),
        ("/", "/", Some("")),
        ("/", "/a", Some("/a")),
        ("", "/a/", Some("/a/")),
    ] {
        assert_eq!(below(resource, path), rest, "{path} below {resource}");
    }
}

#[test]
fn the_rest_is_appended() {
    for (base, rest, whole) in [
        ("/mcp", "", "/mcp"),
        ("/mcp/", "", "/mcp/"),
        ("/mcp", "/", "/mcp/"),
        ("/mcp/", "/a", "/mcp/a"),
        ("/", "/a", "/a"),
        ("/", "", "/"),
        ("", "", "/"),
        ("", "/a", "/a"),
    ] {
        assert_eq!(append(base, rest), whole, "{base} + {rest}");
    }
}

/// Segments out of which traversal is made, and harmless ones.
fn path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", ".", "..", "%2e", "%2E", "%2f", "%5C", "\\", ";", "%3B", "%00", "%25", "%", "a", "mcp",
    ]);
    prop::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    /// However a backend decodes and normalizes what passes (once), it stays below the resource.
    #[test]
    fn what_passes_cannot_climb(path in path()) {
        if check(&path).is_ok() {
            let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy();
            prop_assert!(!decoded.contains('\\') && !decoded.contains('\0'));
            for segment in decoded.split('/') {
                let name = segment.split(';').next().unwrap_or_default();
                prop_assert!(name != "." && name != "..", "{path}");
            }
            // WHATWG URLs are the most eager normalizers around.
            let url = url::Url::parse(&format!("http://h{path}")).unwrap();
            prop_assert_eq!(url.path(), &path);
        }
    }

    #[test]
    fn matching_loses_and_invents_nothing(path in path()) {
        if let Some(rest) = below("/mcp", &path) {
            prop_assert_eq!(format!("/mcp{rest}"), path);
        }
    }

    #[test]
    fn nothing_panics(path in "\\PC*") {
        let _ = check(&path);
        let _ = below("/mcp", &path);
    }
}
