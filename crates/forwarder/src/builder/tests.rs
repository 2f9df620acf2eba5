use http::HeaderName;

use crate::{Error, Forwarder, path::PathError};

#[test]
fn unusable_backends_are_refused_without_repeating_them() {
    for backend in [
        "",
        "mcp",
        "/mcp",
        "127.0.0.1:9000/mcp",
        "ftp://h/mcp",
        "unix:",
        "unix:mcp.sock:/mcp",
        "unix://run/mcp.sock:/mcp",
        "unix:/run/mcp.sock:mcp",
        "unix:/run/mcp.sock:/mcp?key=secret",
        "http://user@h/mcp",
        "http://user:secret@h/mcp",
        "http://h/mcp?key=secret",
        "http://h/mcp#top",
        "http://",
    ] {
        let error = Forwarder::builder(backend).build().expect_err(backend);
        assert!(matches!(error, Error::Backend { .. }), "{backend}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn usable_backends_are_taken() {
    for backend in [
        "unix:/run/mcp.sock",
        "unix:/run/mcp.sock:/mcp",
        "http://127.0.0.1:9000/mcp",
        "http://[::1]:9000",
        "http://h",
        "http://münchen.example/x",
    ] {
        assert!(Forwarder::builder(backend).build().is_ok(), "{backend}");
    }
}

#[test]
fn a_resource_path_that_no_request_could_have_is_refused() {
    for (path, expected) in [
        ("mcp", PathError::NotAbsolute),
        ("/a/../b", PathError::DotSegment),
        ("/a//b", PathError::EmptySegment),
    ] {
        let built = Forwarder::builder("http://h/mcp").resource_path(path).build();
        assert!(matches!(built, Err(Error::ResourcePath(error)) if error == expected), "{path}");
    }
}

#[test]
fn framing_is_no_identity() {
    for name in ["host", "connection", "content-length", "transfer-encoding", "transfer_encoding"] {
        let name = HeaderName::from_static(name);
        let built = Forwarder::builder("http://h/mcp").identity_headers([name.clone()]).build();
        assert!(matches!(built, Err(Error::IdentityHeader { .. })), "{name}");
    }
}

#[test]
fn debug_output_shows_where_requests_go() {
    let forwarder = Forwarder::builder("http://h/mcp").resource_path("/public").build().unwrap();
    let shown = format!("{forwarder:?}");
    assert!(shown.contains("http://h/mcp") && shown.contains("/public"), "{shown}");
}
