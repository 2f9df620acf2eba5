//! Errors of the token and revocation endpoints (RFC 6749 §5.2).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::Error;

/// An error answer: status, code and a sentence for the developer on the other side.
#[derive(Debug)]
pub(crate) struct TokenError {
    status: StatusCode,
    code: &'static str,
    description: String,
    /// The client tried HTTP Basic and must be challenged (RFC 6749 §5.2, `invalid_client`).
    basic_challenge: bool,
}

impl TokenError {
    fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            description: description.into(),
            basic_challenge: false,
        }
    }

    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(crate) fn invalid_scope(description: impl Into<String>) -> Self {
        Self::new("invalid_scope", description)
    }

    pub(crate) fn unsupported_grant_type() -> Self {
        Self::new("unsupported_grant_type", "use authorization_code or refresh_token")
    }

    pub(crate) fn invalid_client(basic_challenge: bool) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            basic_challenge,
            ..Self::new("invalid_client", "unknown client, or client authentication failed")
        }
    }

    /// Something here failed; what it was goes to the log.
    pub(crate) fn server_error(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(cause, "the provider failed");
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            ..Self::new("server_error", "see the log of the provider")
        }
    }
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        Self::server_error(&error)
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let body = json!({"error": self.code, "error_description": self.description});
        let mut response = (self.status, axum::Json(body)).into_response();
        no_store(&mut response);
        if self.basic_challenge {
            let challenge = HeaderValue::from_static("Basic realm=\"dev-idp\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// RFC 6749 §5.1: no cache keeps tokens.
pub(crate) fn no_store(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}
