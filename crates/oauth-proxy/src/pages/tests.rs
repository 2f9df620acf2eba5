use axum::body::to_bytes;

use super::*;
use crate::error::ErrorCode;

const HOSTILE: &str = "</h1><script>alert(1)</script>\" onload='x' {{ 7*7 }} &amp; \u{202e}evil";

fn consent() -> ConsentPage<'static> {
    ConsentPage {
        client_name: "Claude Code",
        client_id: "mcp_Zk9vQ2JmR0hJSktMTU5PUA",
        client_host: "",
        redirect_host: "claude.ai",
        redirect_uri: "https://claude.ai/api/mcp/auth_callback",
        loopback: false,
        elsewhere: false,
        scopes: &[],
        resource: "https://mcp.example.com/mcp",
        provider_name: "Example",
        action_url: "https://mcp.example.com/consent",
        request: "1.kid.sealed",
        csrf: "token",
    }
}

async fn body(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Every page there is, with hostile text wherever a page takes any.
fn all_pages(text: &str) -> Vec<Response> {
    let scopes = [(text.to_owned(), String::new()), ("openid".to_owned(), text.to_owned())];
    let consent = ConsentPage {
        client_name: text,
        client_id: text,
        client_host: text,
        redirect_host: text,
        redirect_uri: text,
        loopback: true,
        elsewhere: true,
        scopes: &scopes,
        resource: text,
        provider_name: text,
        action_url: text,
        request: text,
        csrf: text,
    };
    let error = ErrorPage {
        title: text,
        what: text,
        expected: text,
        fix: text,
        return_url: "",
        correlation_id: text,
    };
    let denied = DeniedPage { who: text, resource: text, return_url: text, correlation_id: text };
    vec![
        consent.into_response(StatusCode::OK),
        error.into_response(StatusCode::BAD_REQUEST),
        denied.into_response(StatusCode::FORBIDDEN),
        unknown_client(text),
        bad_client_document(text),
        refusal(&OAuthError::new(ErrorCode::InvalidRequest, text.to_owned())),
    ]
}

#[tokio::test]
async fn every_page_is_protected() {
    for response in all_pages("x") {
        let headers = response.headers();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"));
        assert!(!policy.contains("form-action"), "Chromium applies it to the redirects");
        assert!(!policy.contains("unsafe"));
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let html = body(response).await;
        assert!(html.starts_with("<!doctype html>\n<html lang=\"en\">"));
        assert!(html.contains(&format!("<style>{STYLE}</style>")), "the hash is of these bytes");
        assert!(!html.contains("<script") && !html.contains(" style=") && !html.contains("src="));
    }
}

#[tokio::test]
async fn hostile_text_is_text() {
    for response in all_pages(HOSTILE) {
        let html = body(response).await;
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("onload='x'"), "{html}");
    }
    let page = ConsentPage { client_name: HOSTILE, ..consent() };
    let html = body(page.into_response(StatusCode::OK)).await;
    assert!(!html.contains('\u{202e}'), "direction overrides go");
    assert_eq!(html.matches("</h1>").count(), 1);
}

#[tokio::test]
async fn the_consent_page_says_who_where_and_what() {
    let scopes = [
        ("openid".to_owned(), scope_meaning("openid").to_owned()),
        ("tools:write".to_owned(), scope_meaning("tools:write").to_owned()),
    ];
    let page = ConsentPage { scopes: &scopes, ..consent() };
    let html = body(page.into_response(StatusCode::OK)).await;
    for expected in [
        "Allow “<bdi>Claude Code</bdi>” to connect?",
        "It has not been verified.",
        "<p class=\"host\">claude.ai</p>",
        "https://claude.ai/api/mcp/auth_callback",
        "https://mcp.example.com/mcp",
        "Know that it is you <code>openid</code>",
        "<li><code>tools:write</code></li>",
        "you log in with Example",
        "<form method=\"post\" action=\"https://mcp.example.com/consent\">",
        "<input type=\"hidden\" name=\"request\" value=\"1.kid.sealed\">",
        "<input type=\"hidden\" name=\"csrf\" value=\"token\">",
        "name=\"action\" value=\"approve\"",
        "name=\"action\" value=\"deny\"",
        "mcp_Zk9vQ2JmR0hJSktMTU5PUA",
    ] {
        assert!(html.contains(expected), "{expected}\n{html}");
    }
    assert!(!html.contains("your own computer"));
}

#[tokio::test]
async fn loopback_and_missing_names_are_pointed_out() {
    let page = ConsentPage { loopback: true, client_name: "\u{200b} ", ..consent() };
    let html = body(page.into_response(StatusCode::OK)).await;
    assert!(html.contains("This is a program on your own computer."));
    assert!(html.contains("an app without a name"));
    assert!(!html.contains("It has not been verified."));
}

#[tokio::test]
async fn long_text_cannot_drown_the_page() {
    let long = "x".repeat(10_000);
    let page = ConsentPage { client_name: &long, redirect_uri: &long, ..consent() };
    let html = body(page.into_response(StatusCode::OK)).await;
    assert!(html.len() < STYLE.len() + 4_000, "{}", html.len());
}

#[tokio::test]
async fn a_refusal_is_a_sentence_with_the_status_of_its_code() {
    let refused = refusal(&OAuthError::new(ErrorCode::InvalidRequest, "the parameter is missing"));
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(body(refused).await.contains("<p>The parameter is missing.</p>"));
    let outage = refusal(&OAuthError::new(ErrorCode::TemporarilyUnavailable, "later"));
    assert_eq!(outage.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(outage.headers()[header::RETRY_AFTER], "5");
}

#[tokio::test]
async fn a_denied_person_learns_who_they_are_and_can_return() {
    let page = DeniedPage {
        who: "ada@example.com",
        resource: "https://mcp.example.com/mcp",
        return_url: "https://claude.ai/cb?error=access_denied&state=s",
        correlation_id: "abc",
    };
    let html = body(page.into_response(StatusCode::FORBIDDEN)).await;
    assert!(html.contains("<bdi>ada@example.com</bdi>"));
    assert!(
        html.contains("href=\"https://claude.ai/cb?error=access_denied&#38;state=s\""),
        "{html}"
    );
}
