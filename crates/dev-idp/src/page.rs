//! The pages that people see.

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{Html, IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};

/// Inlined, so that a page is one answer; the policy names its hash.
const STYLE: &str = include_str!("../templates/style.css");

/// Where somebody logs in, or confirms to still be somebody.
#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct Login<'a> {
    pub(crate) action: &'a str,
    pub(crate) form: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) scopes: &'a [String],
    pub(crate) username: &'a str,
    /// The name of who is logged in already and needs no password.
    pub(crate) signed_in: Option<&'a str>,
    pub(crate) wrong_password: bool,
}

/// Why a request can neither go on nor be sent back.
#[derive(Template)]
#[template(path = "error.html")]
pub(crate) struct Failure<'a> {
    pub(crate) text: &'a str,
}

/// Renders a page with the headers that keep it out of frames and caches.
pub(crate) fn render(status: StatusCode, page: &impl Template) -> Response {
    let html = match page.render() {
        Ok(html) => html,
        Err(cause) => {
            tracing::error!(%cause, "could not render a page");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let mut response = (status, Html(html)).into_response();
    // No `form-action`: Chromium applies it to the redirects that follow, too.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        STANDARD.encode(digest(&SHA256, STYLE.as_bytes()))
    );
    let headers = response.headers_mut();
    let policy = HeaderValue::from_str(&policy).expect("a hash in base64 is ASCII");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}
