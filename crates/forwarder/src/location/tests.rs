use http::HeaderValue;
use url::Url;

use super::{Location, translate, without_query};

fn translated(location: &str, backend: &str, resource: &str) -> Location {
    let backend = Url::parse(backend).unwrap();
    let asked = Url::parse(&format!("{backend}/tools?q=1")).unwrap();
    translate(&HeaderValue::try_from(location).unwrap(), &asked, &backend, resource)
}

#[test]
fn places_elsewhere_are_kept() {
    for location in [
        "https://docs.example/mcp",
        "http://127.0.0.1:9001/mcp",
        "http://localhost:9000/mcp",
        "//other.example/mcp",
        "vscode://callback",
        "HTTPS://Docs.Example/%7euser",
    ] {
        let kept = translated(location, "http://127.0.0.1:9000/mcp", "/mcp");
        assert_eq!(kept, Location::Keep, "{location}");
    }
}

#[test]
fn places_in_the_endpoint_are_rewritten() {
    for (location, local) in [
        ("http://127.0.0.1:9000/mcp/", "/public/"),
        ("http://127.0.0.1:9000/mcp/a?b=c#d", "/public/a?b=c#d"),
        ("//127.0.0.1:9000/mcp", "/public"),
        ("/mcp/x", "/public/x"),
        ("other", "/public/other"),
        ("?page=2", "/public/tools?page=2"),
        ("x/../../mcp/y", "/public/y"),
    ] {
        let rewritten = translated(location, "http://127.0.0.1:9000/mcp", "/public");
        assert_eq!(rewritten, Location::Rewrite(HeaderValue::from_static(local)), "{location}");
    }
}

#[test]
fn other_places_on_the_backend_are_refused() {
    for location in [
        "http://127.0.0.1:9000/",
        "http://127.0.0.1:9000/admin",
        "http://127.0.0.1:9000/mcpx",
        "/login",
        "../..",
        "http://127.0.0.1:9000/mcp/..%2fadmin",
        "http://[bad",
    ] {
        let refused = translated(location, "http://127.0.0.1:9000/mcp", "/mcp");
        assert_eq!(refused, Location::Refuse, "{location}");
    }
}

/// Below a root resource, `//host` would be another host to the client.
#[test]
fn the_rest_cannot_become_a_host() {
    for location in ["http://h:9000/mcp//evil.example/", "/mcp//evil.example", "/mcp/%5cevil"] {
        assert_eq!(translated(location, "http://h:9000/mcp", ""), Location::Refuse, "{location}");
    }
    let root = translated("/mcp", "http://h:9000/mcp", "/");
    assert_eq!(root, Location::Rewrite(HeaderValue::from_static("/")));
}

#[test]
fn another_scheme_at_its_default_port_is_the_same_place() {
    let local = Location::Rewrite(HeaderValue::from_static("/mcp/"));
    for location in ["http://mcp.internal/mcp/", "https://mcp.internal:443/mcp/"] {
        assert_eq!(translated(location, "https://mcp.internal/mcp", "/mcp"), local, "{location}");
    }
    let other_port =
        translated("http://mcp.internal:8080/mcp/", "https://mcp.internal/mcp", "/mcp");
    assert_eq!(other_port, Location::Keep);
}

#[test]
fn logs_get_no_queries() {
    for (location, logged) in [
        ("http://h/a?code=secret#x", "http://h/a"),
        ("/a#token=secret", "/a"),
        ("/a", "/a"),
        ("/\u{e9}", ""),
    ] {
        assert_eq!(without_query(&HeaderValue::try_from(location).unwrap()), logged);
    }
}
