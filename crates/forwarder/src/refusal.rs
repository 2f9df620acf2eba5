//! The answers that the forwarder gives itself, instead of the backend's.

use http::{HeaderValue, Response, StatusCode, header};

use crate::{body::ForwardBody, liveness::Ended, path::PathError};

/// Why a request gets no answer from the backend.
///
/// What the client reads names neither the backend's address nor the cause; both are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A path that could be read in more than one way.
    Path(PathError),
    /// A path that is not the resource's.
    NotFound,
    /// `CONNECT` would make us a tunnel, `TRACE` would show the client the identity headers.
    Method,
    /// Several session ids, of which each program would pick another one.
    SeveralSessions,
    /// A session id that is not this principal's (MCP 2025-11-25, transports, session management).
    UnknownSession,
    /// The client's body broke off.
    Upload,
    /// A limit outside cut the client's body off.
    TooLarge,
    /// The grant or the token ended while the backend was still thinking.
    Ended(Ended),
    /// There is no backend, or it went away without an answer.
    Unreachable,
    /// The backend did not take the connection in time.
    ConnectTimeout,
    /// The backend wants credentials of its own.
    BackendAuthentication,
    /// The backend answered what cannot be passed on.
    BackendAnswer,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Path(_) | Self::SeveralSessions | Self::Upload => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::UnknownSession => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::NOT_IMPLEMENTED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Ended(Ended::Revoked | Ended::Expired | Ended::Overdue) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Ended(Ended::Stopping) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable | Self::BackendAuthentication | Self::BackendAnswer => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Path(_) | Self::Method | Self::SeveralSessions | Self::Upload => {
                "invalid_request"
            }
            Self::NotFound => "not_found",
            Self::UnknownSession => "session_not_found",
            Self::TooLarge => "request_too_large",
            Self::Ended(Ended::Revoked | Ended::Expired | Ended::Overdue) => "invalid_token",
            Self::Ended(Ended::Stopping) => "temporarily_unavailable",
            Self::Unreachable => "backend_unreachable",
            Self::ConnectTimeout => "backend_timeout",
            Self::BackendAuthentication => "backend_requires_authentication",
            Self::BackendAnswer => "backend_answer_invalid",
        }
    }

    fn description(self) -> String {
        let text = match self {
            Self::Path(error) => return error.to_string(),
            Self::NotFound => "there is no such resource here",
            Self::Method => "this method is not forwarded",
            Self::SeveralSessions => "the request has more than one Mcp-Session-Id header",
            Self::UnknownSession => "this session is unknown or has ended, start a new one",
            Self::Upload => "the request body could not be read to its end",
            Self::TooLarge => "the request body is larger than this server accepts",
            Self::Ended(Ended::Revoked) => "the authorization was revoked",
            Self::Ended(Ended::Expired | Ended::Overdue) => "the access token has expired",
            Self::Ended(Ended::Stopping) => "this server is stopping, try again shortly",
            Self::Unreachable => "the MCP server behind this proxy cannot be reached",
            Self::ConnectTimeout => "the MCP server behind this proxy did not respond in time",
            Self::BackendAuthentication => {
                "the MCP server behind this proxy asks for credentials of its own; its operator \
                 has to turn its authentication off and let it trust the identity headers of this \
                 proxy"
            }
            Self::BackendAnswer => {
                "the MCP server behind this proxy gave an answer that cannot be passed on"
            }
        };
        text.to_owned()
    }

    /// The answer as JSON, in the shape of an OAuth error.
    pub(crate) fn into_response(self) -> Response<ForwardBody> {
        let (code, description) = (self.code(), self.description());
        // Both are our own words, without anything that JSON would have to escape.
        let text = format!(r#"{{"error":"{code}","error_description":"{description}"}}"#);
        let mut response = Response::new(ForwardBody::own(text.into()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Ended(Ended::Stopping) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // RFC 6750 §3.1. Where the metadata is, the guard knows, if it was told to us.
            Self::Ended(Ended::Revoked | Ended::Expired | Ended::Overdue) => {
                let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        response
    }
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

#[cfg(test)]
mod tests;
