//! The one error that leaves an OAuth endpoint as JSON.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use kv_storage::ErrorKind;
use serde::Serialize;

use crate::provider::ProviderError;

/// A cause that only the log may see.
type Cause = Box<dyn StdError + Send + Sync>;

/// How long a client should wait when we do not know better, in seconds.
const RETRY_AFTER: u64 = 5;

/// An OAuth error response (RFC 6749 §5.2 and the RFCs that extend it).
///
/// `code` and `description` go on the wire; `cause` goes to the log and nowhere else.
#[derive(Debug)]
pub struct OAuthError {
    code: ErrorCode,
    description: Cow<'static, str>,
    retry_after: Option<Duration>,
    basic_challenge: bool,
    cause: Option<Cause>,
}

/// The registered error codes that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `invalid_request`: a parameter is missing, repeated or malformed (RFC 6749 §5.2).
    InvalidRequest,
    /// `invalid_client`: client authentication failed; 401, so that clients register anew (RFC 6749 §5.2).
    InvalidClient,
    /// `invalid_grant`: the code or refresh token is finished (RFC 6749 §5.2).
    InvalidGrant,
    /// `unauthorized_client`: this client may not use this grant type (RFC 6749 §5.2).
    UnauthorizedClient,
    /// `unsupported_grant_type` (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// `unsupported_response_type` (RFC 6749 §4.1.2.1).
    UnsupportedResponseType,
    /// `invalid_scope` (RFC 6749 §4.1.2.1).
    InvalidScope,
    /// `interaction_required`: a person has to be asked, which the client did not want (OpenID
    /// Connect Core §3.1.2.6).
    InteractionRequired,
    /// `request_not_supported`: the parameters stand in a JWT (RFC 9101 §7).
    RequestNotSupported,
    /// `request_uri_not_supported`: the parameters stand elsewhere (RFC 9101 §7).
    RequestUriNotSupported,
    /// `invalid_target`: the resource is not one of ours (RFC 8707 §2).
    InvalidTarget,
    /// `invalid_token`: the registration access token is not good (RFC 6750 §3.1, RFC 7592 §2.1).
    InvalidToken,
    /// `invalid_redirect_uri` (RFC 7591 §3.2.2).
    InvalidRedirectUri,
    /// `invalid_client_metadata` (RFC 7591 §3.2.2).
    InvalidClientMetadata,
    /// `access_denied`: the person or the operator's rules said no (RFC 6749 §4.1.2.1).
    AccessDenied,
    /// `temporarily_unavailable`: storage or provider trouble; 503, never a verdict on a token (D7).
    TemporarilyUnavailable,
    /// `server_error`: our defect, or a provider that misbehaves (RFC 6749 §4.1.2.1).
    ServerError,
}

impl ErrorCode {
    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InteractionRequired => "interaction_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The status that goes with the code at an endpoint that answers with JSON.
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl OAuthError {
    /// An error with a description for the developer of the client.
    ///
    /// The description is for everybody's eyes: no secret, no internals.
    pub fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        let retry_after =
            (code == ErrorCode::TemporarilyUnavailable).then_some(Duration::from_secs(RETRY_AFTER));
        Self {
            code,
            description: description.into(),
            retry_after,
            basic_challenge: false,
            cause: None,
        }
    }

    /// Adds what the operator's log should say.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Sets the `Retry-After` header.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Challenges for Basic authentication, because the client used it (RFC 6749 §5.2).
    #[must_use]
    pub(crate) fn with_basic_challenge(mut self) -> Self {
        self.basic_challenge = true;
        self
    }

    /// When it is worth while to try again, if that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The registered code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What the client's developer reads.
    pub fn description(&self) -> &str {
        &self.description
    }

    fn log(&self) {
        match (&self.cause, self.code) {
            (Some(cause), ErrorCode::ServerError) => {
                tracing::error!(
                    error = self.code.as_str(),
                    cause = chain(cause.as_ref()),
                    "refused"
                );
            }
            (Some(cause), _) => {
                tracing::warn!(
                    error = self.code.as_str(),
                    cause = chain(cause.as_ref()),
                    "refused"
                );
            }
            (None, _) => {
                tracing::info!(
                    error = self.code.as_str(),
                    description = %self.description,
                    "refused"
                );
            }
        }
    }
}

/// An error with all its sources on one line.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.description)
    }
}

impl StdError for OAuthError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as &(dyn StdError + 'static))
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    error_description: &'a str,
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        self.log();
        let body = Body { error: self.code.as_str(), error_description: &self.description };
        let mut response = (self.code.status(), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.code == ErrorCode::InvalidToken {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"oidc-proxy\", error=\"invalid_token\""),
            );
        }
        if self.basic_challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"oidc-proxy\""),
            );
        }
        response
    }
}

/// Storage trouble is an outage, never a verdict on a token (D7).
impl From<kv_storage::Error> for OAuthError {
    fn from(error: kv_storage::Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable
            | ErrorKind::OutcomeUnknown
            | ErrorKind::Conflict
            | ErrorKind::TooLarge => Self::new(
                ErrorCode::TemporarilyUnavailable,
                "the server cannot reach its storage right now; try again shortly",
            ),
            _ => Self::new(ErrorCode::ServerError, "the server could not use its storage"),
        }
        .with_cause(error)
    }
}

/// What a client hears of the provider's trouble at the token endpoint.
impl From<ProviderError> for OAuthError {
    fn from(error: ProviderError) -> Self {
        match &error {
            ProviderError::Unavailable { retry_after, .. } => {
                let after = retry_after.unwrap_or(Duration::from_secs(RETRY_AFTER));
                Self::new(
                    ErrorCode::TemporarilyUnavailable,
                    "the identity provider is not available right now; try again shortly",
                )
                .with_retry_after(after)
            }
            ProviderError::InvalidGrant { .. } => {
                Self::new(ErrorCode::InvalidGrant, "the login has ended; log in again")
            }
            ProviderError::Refused { .. } => Self::new(
                ErrorCode::ServerError,
                "the identity provider's answer could not be used; the server's log says why",
            ),
        }
        .with_cause(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_client_is_401_and_challenges_only_after_basic() {
        let plain = OAuthError::new(ErrorCode::InvalidClient, "unknown").into_response();
        assert_eq!(plain.status(), StatusCode::UNAUTHORIZED);
        assert!(plain.headers().get(header::WWW_AUTHENTICATE).is_none());
        let basic = OAuthError::new(ErrorCode::InvalidClient, "unknown")
            .with_basic_challenge()
            .into_response();
        assert!(basic.headers().contains_key(header::WWW_AUTHENTICATE));
    }

    #[test]
    fn an_outage_says_when_to_come_back() {
        let response = OAuthError::new(ErrorCode::TemporarilyUnavailable, "later").into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
}
