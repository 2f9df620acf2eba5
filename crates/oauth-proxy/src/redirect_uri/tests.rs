use proptest::prelude::*;

use super::*;

fn accepted(uri: &str) -> bool {
    check_registration(uri, &RedirectPolicy::default()).is_ok()
}

fn registered(uris: &[&str], requested: &str) -> bool {
    let uris: Vec<String> = uris.iter().map(|&uri| uri.to_owned()).collect();
    is_registered(&uris, requested)
}

#[test]
fn what_real_clients_register_is_accepted() {
    for uri in [
        "https://claude.ai/api/mcp/auth_callback",
        "https://chatgpt.com/connector/oauth/abc123",
        "https://vscode.dev/redirect",
        "https://app.example:8443/cb?tenant=a%20b",
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://127.0.0.1:5000",
        "http://localhost/callback",
        "http://localhost:3118/callback",
        "http://localhost:6274/oauth/callback?debug=1",
        "http://[::1]:9000/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "claude://claude.ai/mcp-auth-callback/sdk",
        "vscode://vscode.microsoft-authentication/callback",
        "vscode-insiders://x/y",
    ] {
        assert_eq!(check_registration(uri, &RedirectPolicy::default()), Ok(()), "{uri}");
    }
}

#[test]
fn what_could_run_or_mislead_is_refused() {
    for uri in [
        "",
        "/cb",
        "example.com/cb",
        "://x",
        "1http://x",
        "javascript:alert(1)",
        "JavaScript://localhost/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "vbscript:x",
        "blob:https://example.com/x",
        "about:blank",
        "ftp://example.com/",
        "unknown-app://cb",
        "cursor:",
        "cursor://",
        "http://example.com/cb",
        "http://localhost.example.com/cb",
        "http://127.0.0.1.example.com/cb",
        "http://127.0.0.2/cb",
        "http://0x7f.1/cb",
        "http://[::]/cb",
        "http://localhost:/cb",
        "http://localhost:0/cb",
        "http://localhost:65536/cb",
        "http://localhost:80x/cb",
        "http://localhost:80@example.com/cb",
        "http://localhost@example.com/cb",
        "https://user@example.com/cb",
        "https://user:pw@example.com/cb",
        "cursor://user@host/cb",
        "https://example.com/cb#",
        "https://example.com/cb#frag",
        "https://good.example\\@evil.example/",
        "https:example.com/cb",
        "https:/example.com/cb",
        "https:///example.com/cb",
        "https://",
        "https://?x",
        "https://exa mple.com/",
        "https://example.com/\tcb",
        "https://example.com/\r\nSet-Cookie:x",
        "https://ex\u{e4}mple.com/",
        "https://example.com/%zz",
        "https://example.com/%2",
        "https://example.com:99999/",
        "https://[::1/cb",
        "https://example.com/<script>",
    ] {
        assert!(!accepted(uri), "{uri}");
    }
}

#[test]
fn the_longest_uri_is_accepted_and_one_byte_more_is_not() {
    let longest = format!("https://example.com/{:a<1$}", "", MAX_REDIRECT_URI_BYTES - 20);
    assert_eq!(longest.len(), MAX_REDIRECT_URI_BYTES);
    assert!(accepted(&longest));
    assert!(!accepted(&format!("{longest}a")));
}

#[test]
fn the_policy_opens_private_use_schemes_and_nothing_else() {
    let policy = RedirectPolicy::strict();
    assert!(check_registration("cursor://x/y", &policy).is_err());
    let policy = policy.allow_scheme("Com.Example.App").allow_scheme("javascript");
    assert_eq!(check_registration("com.example.app:/cb", &policy), Ok(()));
    assert!(check_registration("javascript:alert(1)", &policy).is_err());
    assert!(check_registration("http://example.com/", &policy.allow_scheme("http")).is_err());
}

#[test]
fn urls_match_byte_for_byte() {
    let uris = ["https://app.example/cb?x=1"];
    assert!(registered(&uris, "https://app.example/cb?x=1"));
    for other in [
        "https://app.example/cb",
        "https://app.example/cb/",
        "https://app.example/cb?x=1&y=2",
        "https://APP.example/cb?x=1",
        "https://app.example:443/cb?x=1",
        "https://app.example/./cb?x=1",
        "https://app.example/c%62?x=1",
        "https://app.example.evil.example/cb?x=1",
        "",
    ] {
        assert!(!registered(&uris, other), "{other}");
    }
    assert!(!registered(&[], "https://app.example/cb"));
}

#[test]
fn only_the_port_of_a_loopback_uri_may_differ() {
    for uri in ["http://localhost/callback", "http://localhost:3118/callback"] {
        for requested in [
            "http://localhost/callback",
            "http://localhost:1/callback",
            "http://localhost:65535/callback",
        ] {
            assert!(registered(&[uri], requested), "{uri} {requested}");
        }
        for requested in [
            "https://localhost:3119/callback",
            "http://127.0.0.1:3119/callback",
            "http://[::1]:3119/callback",
            "http://localhost:3119/callback/",
            "http://localhost:3119/callback?x",
            "http://localhost:3119/Callback",
            "http://localhost:3119/callback#x",
            "http://localhost:3119",
            "http://localhost:/callback",
            "http://localhost:0/callback",
            "http://localhost:70000/callback",
            "http://localhost:+80/callback",
            "http://localhost:80@evil.example/callback",
            "http://localhost:80.evil.example/callback",
            "http://localhost.evil.example/callback",
            "http://user@localhost:80/callback",
            "HTTP://localhost:3119/callback",
        ] {
            assert!(!registered(&[uri], requested), "{uri} {requested}");
        }
    }
    assert!(registered(&["http://[::1]:80/cb"], "http://[::1]:81/cb"));
    assert!(registered(&["http://127.0.0.1:80"], "http://127.0.0.1:81"));
    assert!(!registered(&["https://localhost:1/cb"], "https://localhost:2/cb"));
    assert!(!registered(&["cursor://localhost:1/cb"], "cursor://localhost:2/cb"));
}

#[test]
fn parameters_are_appended_and_the_rest_is_untouched() {
    let params = [("code", "a b&c=d#e"), ("iss", "https://as.example")];
    let answer = "code=a%20b%26c%3Dd%23e&iss=https%3A%2F%2Fas.example";
    for (uri, expected) in [
        ("https://a/cb", format!("https://a/cb?{answer}")),
        ("https://a/cb?", format!("https://a/cb?{answer}")),
        ("https://a/cb?x=%7e+1&y", format!("https://a/cb?x=%7e+1&y&{answer}")),
        ("cursor://x/cb", format!("cursor://x/cb?{answer}")),
    ] {
        assert_eq!(with_params(uri, &params), expected);
    }
    assert_eq!(with_params("https://a/cb", &[]), "https://a/cb");
}

#[test]
fn a_registered_uri_cannot_answer_for_us() {
    let uri =
        "https://a/cb?code=evil&x=1&%63ode=evil&state&iss=i&error=e&error_description=d&codex=2";
    assert_eq!(with_params(uri, &[("state", "s")]), "https://a/cb?x=1&codex=2&state=s");
}

#[test]
fn the_host_shown_is_the_one_that_the_browser_contacts() {
    for (uri, host) in [
        ("https://claude.ai/api", "claude.ai"),
        ("https://EXAMPLE.com:8443/", "example.com:8443"),
        ("https://example.com:443/", "example.com"),
        ("https://%65vil.example/", "evil.example"),
        ("https://0x7f.1/", "127.0.0.1"),
        ("http://localhost:3118/callback", "localhost:3118"),
        ("http://[::1]:80/cb", "[::1]"),
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor:"),
        ("nonsense", "an unreadable address"),
    ] {
        assert_eq!(display_host(uri), host, "{uri}");
    }
}

#[test]
fn loopback_is_seen_in_every_spelling() {
    for uri in [
        "http://localhost/cb",
        "http://127.0.0.1:1/cb",
        "http://[::1]/cb",
        "https://localhost/cb",
        "https://app.localhost./cb",
        "https://2130706433/cb",
        "https://[::ffff:127.0.0.1]/cb",
        "https://0.0.0.0/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
    ] {
        assert!(is_loopback(uri), "{uri}");
    }
    for uri in ["https://claude.ai/cb", "https://localhost.example/", "nonsense"] {
        assert!(!is_loopback(uri), "{uri}");
    }
}

#[test]
fn another_port_is_another_site() {
    for (uri, host) in [
        ("https://app.example/cb", Some("app.example")),
        ("https://app.example:443/cb", Some("app.example")),
        ("https://App.example/cb", Some("app.example")),
        ("https://app.example:8443/cb", None),
        ("https://localhost/cb", None),
        ("http://127.0.0.1/cb", None),
        ("cursor://app.example/cb", None),
    ] {
        assert_eq!(web_host(uri).as_deref(), host, "{uri}");
    }
}

proptest! {
    /// Whatever a stranger asks for, a match means: the same string but for a loopback port.
    #[test]
    fn a_match_never_leaves_the_registered_host(tail in "[ -~]{0,40}") {
        let uris = ["http://localhost:3118/callback", "https://app.example/cb"];
        let requested = format!("http://localhost{tail}");
        if registered(&uris, &requested) {
            let url = Url::parse(&requested).unwrap();
            prop_assert_eq!(url.host_str(), Some("localhost"));
            prop_assert_eq!(url.path(), "/callback");
            prop_assert!(url.username().is_empty());
        }
    }

    #[test]
    fn nothing_panics_and_what_is_accepted_is_safe(uri in "\\PC{0,60}") {
        let _ = (display_host(&uri), is_loopback(&uri), with_params(&uri, &[("code", "c")]));
        if accepted(&uri) {
            prop_assert!(uri.is_ascii() && !uri.contains(['#', ' ', '\\']));
        }
    }

    #[test]
    fn values_survive_the_trip(state in "\\PC{0,40}") {
        let uri = with_params("https://a.example/cb?x=1", &[("state", &state)]);
        let url = Url::parse(&uri).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        prop_assert_eq!(&pairs[0], &("x".to_owned(), "1".to_owned()));
        prop_assert_eq!(&pairs[1], &("state".to_owned(), state));
    }
}
