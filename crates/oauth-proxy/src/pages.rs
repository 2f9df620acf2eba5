//! What a person sees: the consent page and the pages that explain a refusal.
//!
//! Everything shown comes from templates that escape; text that a stranger chose is cleaned
//! besides, so that it cannot reorder, hide or drown what stands around it.

use std::sync::LazyLock;

use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jwt_issuer::random_token;
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    context,
    error::{OAuthError, chain},
};

mod text;

#[cfg(test)]
mod tests;

/// The one stylesheet, inlined into every page and named by its hash in the policy.
pub(crate) const STYLE: &str = include_str!("../templates/style.css");

/// Nothing but our stylesheet: no script, no image, no frame, no other site.
///
/// `form-action` is left out on purpose: Chromium applies it to the redirects after the form, which
/// lead to the provider and back to the client.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is a valid header value")
});

/// Who asks for what, with the two answers.
#[derive(Clone, Copy)]
pub(crate) struct ConsentPage<'a> {
    /// A stranger's claim; may be empty.
    pub(crate) client_name: &'a str,
    pub(crate) client_id: &'a str,
    /// The host that describes the client, if its id is the URL of a document; else empty.
    pub(crate) client_host: &'a str,
    /// See [`display_host`](crate::redirect_uri::display_host).
    pub(crate) redirect_host: &'a str,
    pub(crate) redirect_uri: &'a str,
    /// Whether the answer goes to a program on the person's own computer.
    pub(crate) loopback: bool,
    /// Whether it goes to another site than the one that describes the client.
    pub(crate) elsewhere: bool,
    /// Scopes and what they mean; the meaning may be empty.
    pub(crate) scopes: &'a [(String, String)],
    pub(crate) resource: &'a str,
    pub(crate) provider_name: &'a str,
    /// Where the form goes.
    pub(crate) action_url: &'a str,
    /// The sealed authorization request.
    pub(crate) request: &'a str,
    pub(crate) csrf: &'a str,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    /// Empty if the client has none.
    name: String,
    client_id: String,
    client_host: &'a str,
    redirect_host: &'a str,
    redirect_uri: String,
    loopback: bool,
    elsewhere: bool,
    scopes: &'a [(String, String)],
    resource: &'a str,
    resource_host: String,
    provider_name: &'a str,
    action_url: &'a str,
    request: &'a str,
    csrf: &'a str,
}

impl ConsentPage<'_> {
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        let page = Consent {
            name: text::clean(self.client_name, text::MAX_NAME_CHARS),
            client_id: text::clean(self.client_id, text::MAX_URI_CHARS),
            client_host: self.client_host,
            redirect_host: self.redirect_host,
            redirect_uri: text::clean(self.redirect_uri, text::MAX_URI_CHARS),
            loopback: self.loopback,
            elsewhere: self.elsewhere,
            scopes: self.scopes,
            resource: self.resource,
            resource_host: host(self.resource),
            provider_name: self.provider_name,
            action_url: self.action_url,
            request: self.request,
            csrf: self.csrf,
        };
        respond(&page, status)
    }
}

/// Something went wrong, in words for the person: what, what was expected, what helps.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "error.html")]
pub(crate) struct ErrorPage<'a> {
    pub(crate) title: &'a str,
    pub(crate) what: &'a str,
    /// May be empty.
    pub(crate) expected: &'a str,
    pub(crate) fix: &'a str,
    /// Where a button leads back to the app; may be empty.
    pub(crate) return_url: &'a str,
    /// See [`correlation_id`].
    pub(crate) correlation_id: &'a str,
}

impl ErrorPage<'_> {
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        respond(&self, status)
    }
}

/// The person logged in, but the operator's rules do not let them in (D10).
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeniedPage<'a> {
    /// As whom: an address or a subject.
    pub(crate) who: &'a str,
    pub(crate) resource: &'a str,
    /// Tells the client `access_denied`.
    pub(crate) return_url: &'a str,
    /// See [`correlation_id`].
    pub(crate) correlation_id: &'a str,
}

#[derive(Template)]
#[template(path = "denied.html")]
struct Denied<'a> {
    who: String,
    resource: &'a str,
    resource_host: String,
    return_url: &'a str,
    correlation_id: &'a str,
}

impl DeniedPage<'_> {
    pub(crate) fn into_response(self, status: StatusCode) -> Response {
        let page = Denied {
            who: text::clean(self.who, text::MAX_NAME_CHARS),
            resource: self.resource,
            resource_host: host(self.resource),
            return_url: self.return_url,
            correlation_id: self.correlation_id,
        };
        respond(&page, status)
    }
}

#[derive(Template)]
#[template(path = "unknown_client.html")]
struct UnknownClient {
    server_host: String,
    correlation_id: String,
}

/// The client id is not registered: how the person gets their app to register anew.
pub(crate) fn unknown_client(issuer: &str) -> Response {
    let page = UnknownClient {
        server_host: host(issuer),
        correlation_id: correlation_id("unknown client"),
    };
    respond(&page, StatusCode::BAD_REQUEST)
}

/// The client's metadata document makes it no client of ours.
pub(crate) fn bad_client_document(why: &str) -> Response {
    let what = sentence(why);
    ErrorPage {
        title: "This app cannot be used here",
        what: &what,
        expected: "The app names itself with the address of a document about it, which this server \
                   has to read and to accept.",
        fix: "Go back to your app and start the login again. If it ends here again, tell the \
              people who make the app what stands above.",
        return_url: "",
        correlation_id: &correlation_id(why),
    }
    .into_response(StatusCode::BAD_REQUEST)
}

/// An OAuth error that must not go to a redirect URI, shown to the person instead.
pub(crate) fn refusal(error: &OAuthError) -> Response {
    refusal_with_return(error, "")
}

/// An OAuth error that the person may take to the app at `return_url`.
pub(crate) fn refusal_with_return(error: &OAuthError, return_url: &str) -> Response {
    let status = error.code().status();
    let temporary = status == StatusCode::SERVICE_UNAVAILABLE;
    let what = sentence(error.description());
    let page = ErrorPage {
        title: if temporary { "Not available right now" } else { "This login cannot continue" },
        what: &what,
        expected: "",
        fix: if temporary {
            "Wait a moment, then go back to your app and start the login again."
        } else {
            "Go back to your app and start the login again. If it ends here again, the app and \
             this server do not understand each other: tell the operator of this server the \
             reference below."
        },
        return_url,
        correlation_id: &correlation_id(&chain(error)),
    };
    let mut response = page.into_response(status);
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
    }
    response
}

/// A reference that stands on a page and, with `problem`, in the operator's log: the id of the
/// request.
pub(crate) fn correlation_id(problem: &str) -> String {
    let id = context::request_id().unwrap_or_else(random_token::<9>);
    tracing::info!(correlation_id = id, problem, "a page told a person that something is wrong");
    id
}

/// What a well-known scope lets a client do; empty for one that only the resource understands.
pub(crate) fn scope_meaning(scope: &str) -> &'static str {
    match scope {
        "openid" => "Know that it is you",
        "profile" => "See your name and profile",
        "email" => "See your e-mail address",
        "phone" => "See your phone number",
        "address" => "See your postal address",
        "groups" => "See your groups",
        "offline_access" => "Stay connected until you or the operator end it",
        _ => "",
    }
}

/// A description for developers as a sentence for people.
fn sentence(description: &str) -> String {
    let mut characters = description.chars();
    let Some(first) = characters.next() else { return String::new() };
    let mut sentence = first.to_uppercase().chain(characters).collect::<String>();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    // Developers' backticks are plain quotes to everybody else.
    sentence.replace('`', "\"")
}

/// The host and port of one of our own URLs.
fn host(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return String::new() };
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Renders a page under the headers that every page has.
fn respond(page: &impl Template, status: StatusCode) -> Response {
    let mut response = match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(cause = %error, "a page could not be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, "The page could not be shown.").into_response()
        }
    };
    protect(response.headers_mut());
    response
}

fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
