use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::{RequestRules, clean_request, clean_response, is_own_cookie, state_empty_body};
use crate::Identity;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        })
        .collect()
}

fn rules() -> RequestRules {
    RequestRules::new(
        &[HeaderName::from_static("x-auth-subject"), HeaderName::from_static("remote_user")],
        Arc::new(is_own_cookie),
    )
}

fn cleaned(lines: &[(&str, &str)], identity: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(lines);
    let headers_of = map(identity);
    let identity = Identity {
        headers: headers_of.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    };
    clean_request(&mut headers, &rules(), identity);
    headers
}

#[test]
fn clients_cannot_say_what_the_backend_trusts() {
    for name in [
        "Authorization",
        "AUTHORIZATION",
        "Forwarded",
        "X-Forwarded-User",
        "x-forwarded-USER",
        "X_Forwarded_User",
        "x-forwarded_user",
        "X_FORWARDED-USER",
        "X.Forwarded.Groups",
        "x!forwarded~user",
        "x-forwarded-",
        "x-forwarded-for",
        "x_forwarded_anything_else",
        "X-Auth-Subject",
        "x_auth_subject",
        "Remote-User",
        "Remote_User",
        "remote_user",
        "Remote.User",
    ] {
        assert!(cleaned(&[(name, "root")], &[]).is_empty(), "{name}");
    }
}

#[test]
fn connection_level_headers_go() {
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Proxy_Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "transfer_encoding",
        "Upgrade",
        "HTTP2-Settings",
        "Content-Length",
        "content_length",
        "Host",
        "Expect",
        "Mcp_Session_Id",
        "mcp-session_id",
        "Mcp.Session.Id",
        "Transfer.Encoding",
    ] {
        assert!(cleaned(&[(name, "x")], &[]).is_empty(), "{name}");
    }
}

#[test]
fn other_headers_stay() {
    let lines = [
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-session-id", "s"),
        ("mcp-param-user_id", "7"),
        ("mcp-protocol-version", "2025-11-25"),
        ("origin", "https://app.example"),
        ("x-forwarded", "not the prefix"),
        ("authorization-hint", "not the name"),
        ("last-event-id", "9"),
    ];
    assert_eq!(cleaned(&lines, &[]), map(&lines));
}

#[test]
fn what_connection_names_goes_but_never_the_identity() {
    let headers = cleaned(
        &[
            ("connection", "close, X-Forwarded-User ,x-hop"),
            ("connection", "X-Auth-Subject,,\u{a0}, @"),
            ("x-hop", "1"),
            ("x-stays", "2"),
            ("x-forwarded-user", "root"),
        ],
        &[("x-forwarded-user", "alice"), ("x-auth-subject", "alice")],
    );
    let expected = [("x-stays", "2"), ("x-forwarded-user", "alice"), ("x-auth-subject", "alice")];
    assert_eq!(headers, map(&expected));
}

#[test]
fn the_identity_replaces_every_spelling() {
    let headers = cleaned(
        &[("x-unlisted", "root"), ("x_unlisted", "root"), ("x-Forwarded-user", "root")],
        &[("x-unlisted", "alice"), ("x-forwarded-user", "alice")],
    );
    assert_eq!(headers, map(&[("x-unlisted", "alice"), ("x-forwarded-user", "alice")]));
}

#[test]
fn the_identity_cannot_change_the_framing() {
    assert!(cleaned(&[], &[("transfer-encoding", "chunked"), ("host", "evil")]).is_empty());
}

#[test]
fn own_cookies_go_and_others_keep_their_bytes() {
    for (cookie, kept) in [
        ("a=1; b=2", Some("a=1; b=2")),
        ("__Host-oidc-proxy=s", None),
        ("__Host-oidc-proxy-tx.7=s; a=\"x y\"", Some("a=\"x y\"")),
        ("a=1;oidc-proxy-consent=s;b==2=", Some("a=1; b==2=")),
        (" oidc-proxy-x = s ; flag", Some("flag")),
        ("oidc-proxy-bare", None),
        ("my-oidc-proxy-x=1", Some("my-oidc-proxy-x=1")),
        ("a=oidc-proxy-x", Some("a=oidc-proxy-x")),
        ("; ;", None),
    ] {
        let headers = cleaned(&[("cookie", cookie)], &[]);
        let expected = kept.map(|kept| map(&[("cookie", kept)])).unwrap_or_default();
        assert_eq!(headers, expected, "{cookie}");
    }
}

#[test]
fn cookies_that_http2_split_are_joined() {
    let headers = cleaned(
        &[("cookie", "a=1"), ("cookie", "__Host-oidc-proxy=s"), ("cookie", "b=\u{e9}")],
        &[],
    );
    assert_eq!(headers, map(&[("cookie", "a=1; b=\u{e9}")]));
}

#[test]
fn an_empty_body_is_stated_where_one_is_expected() {
    for (method, stated) in [
        (Method::POST, true),
        (Method::PUT, true),
        (Method::PATCH, true),
        (Method::GET, false),
        (Method::HEAD, false),
        (Method::DELETE, false),
    ] {
        let mut headers = HeaderMap::new();
        state_empty_body(&mut headers, &method);
        assert_eq!(headers.contains_key("content-length"), stated, "{method}");
    }
}

#[test]
fn backends_cannot_speak_for_the_origin() {
    for name in [
        "Set-Cookie",
        "Set-Cookie2",
        "Clear-Site-Data",
        "Access-Control-Allow-Origin",
        "Access-Control-Expose-Headers",
        "Strict-Transport-Security",
        "Alt-Svc",
        "NEL",
        "Report-To",
        "Reporting-Endpoints",
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    ] {
        let mut headers = map(&[(name, "x"), ("content-type", "text/plain")]);
        clean_response(&mut headers);
        assert_eq!(headers, map(&[("content-type", "text/plain")]), "{name}");
    }
}

#[test]
fn a_response_keeps_its_length_unless_it_was_chunked() {
    let mut headers = map(&[("content-length", "7"), ("x-hop", "1"), ("connection", "x-hop")]);
    clean_response(&mut headers);
    assert_eq!(headers, map(&[("content-length", "7")]));

    let mut headers = map(&[("content-length", "7"), ("transfer-encoding", "chunked")]);
    clean_response(&mut headers);
    assert!(headers.is_empty());
}

/// A name made of the letters of a trusted one, each in either case, with anything for a dash that
/// a name may have (RFC 9110 §5.6.2).
fn spelling(name: &'static str) -> impl Strategy<Value = String> {
    let letter = |letter: char| match letter {
        '-' => prop::sample::select("!#$%&'*+-.^_`|~".chars().collect::<Vec<_>>()),
        other => prop::sample::select(vec![other, other.to_ascii_uppercase()]),
    };
    name.chars().map(letter).collect::<Vec<_>>().prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn no_spelling_gets_through(
        name in prop::sample::select(vec![
            "authorization", "forwarded", "x-forwarded-user", "x-forwarded-access-token",
            "x-auth-subject", "remote-user", "transfer-encoding", "proxy-authorization",
            "x-forwarded-groups", "x-unlisted", "content-length", "http2-settings",
        ]).prop_flat_map(spelling),
        connection in "[ -~]{0,20}",
    ) {
        let lines = [(name.as_str(), "root"), ("connection", connection.as_str())];
        let headers = cleaned(&lines, &[("x-unlisted", "alice")]);
        prop_assert_eq!(headers, map(&[("x-unlisted", "alice")]), "{}", name);
    }

    #[test]
    fn a_session_has_one_spelling(name in spelling("mcp-session-id")) {
        let spelled = name.eq_ignore_ascii_case("mcp-session-id");
        prop_assert_eq!(cleaned(&[(&name, "s")], &[]).is_empty(), !spelled, "{}", name);
    }

    #[test]
    fn the_identity_always_arrives(
        lines in prop::collection::vec(("[!#-'*+.0-9A-Z^_a-z|~-]{1,12}", "[ -~]{0,12}"), 0..12),
    ) {
        let lines: Vec<_> = lines.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let headers = cleaned(&lines, &[("x-forwarded-user", "alice")]);
        let users: Vec<_> = headers.get_all("x-forwarded-user").iter().collect();
        prop_assert_eq!(users, ["alice"]);
        prop_assert!(!headers.contains_key("connection") && !headers.contains_key("host"));
    }

    #[test]
    fn cookie_lines_never_panic_and_lose_only_ours(cookie in "[ -~\u{80}-\u{ff}]{0,60}") {
        let headers = cleaned(&[("cookie", &cookie)], &[]);
        if let Some(kept) = headers.get("cookie") {
            for pair in kept.as_bytes().split(|byte| *byte == b';') {
                prop_assert!(!pair.trim_ascii().starts_with(b"__Host-oidc-proxy"));
                prop_assert!(!pair.trim_ascii().starts_with(b"oidc-proxy-"));
            }
        }
    }
}
