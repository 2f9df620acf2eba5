//! Parameters of queries and form bodies, read strictly where it matters.

use std::{error::Error, fmt, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, Request},
};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use url::form_urlencoded;

use crate::error::{ErrorCode, OAuthError};

/// The most bytes of a form body or query that we read: a sealed consent request is the largest
/// honest value, with a `state` of some kilobytes in it.
pub(crate) const MAX_PARAMS_BYTES: usize = 64 * 1024;

/// How long a client may take to send the body of a request to an OAuth endpoint.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// The most parameters in one request; the largest honest request has a dozen.
const MAX_PARAMS: usize = 64;

/// The parameters of one request.
pub(crate) struct Params(Vec<(String, String)>);

/// Names only: values are codes, tokens and secrets.
impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Params {
    /// Reads `application/x-www-form-urlencoded` bytes.
    ///
    /// Parameters without a value count as omitted (RFC 6749 §3.1).
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OAuthError> {
        if bytes.len() > MAX_PARAMS_BYTES {
            return Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                "the request's parameters are too long: at most 64 KiB are read",
            ));
        }
        let params: Vec<_> = form_urlencoded::parse(bytes)
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .take(MAX_PARAMS + 1)
            .collect();
        if params.len() > MAX_PARAMS {
            return Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                "the request has too many parameters: at most 64 are read",
            ));
        }
        Ok(Self(params))
    }

    /// The value of a parameter that may stand once at most (RFC 6749 §3.1).
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, OAuthError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                format!("the parameter `{name}` is repeated; it may stand once"),
            ));
        }
        Ok(first)
    }

    /// The value of a parameter that must stand exactly once.
    pub(crate) fn required<'a>(&'a self, name: &'a str) -> Result<&'a str, OAuthError> {
        self.one(name)?.ok_or_else(|| {
            OAuthError::new(ErrorCode::InvalidRequest, format!("the parameter `{name}` is missing"))
        })
    }

    /// The resource indicator; RFC 8707 lets it stand several times, we serve one at a time.
    pub(crate) fn resource(&self) -> Result<Option<&str>, OAuthError> {
        let mut values = self.all("resource");
        let first = values.next();
        if values.next().is_some() {
            return Err(OAuthError::new(
                ErrorCode::InvalidTarget,
                "one `resource` at a time: ask for one token per resource",
            ));
        }
        Ok(first)
    }

    /// The values of a parameter that may stand as often as it likes.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the parameters of a POST, which must be a form (RFC 6749 §4.1.3, RFC 7009 §2.1).
impl<S: Sync> FromRequest<S> for Params {
    type Rejection = OAuthError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, OAuthError> {
        require_form(request.headers())?;
        Self::parse(&read_body(request.into_body(), MAX_PARAMS_BYTES).await?)
    }
}

/// Reads a small body to its end.
///
/// # Errors
///
/// `invalid_request` if it is longer than `limit` or takes longer than [`BODY_DEADLINE`].
pub(crate) async fn read_body(body: Body, limit: usize) -> Result<Bytes, OAuthError> {
    let refuse = |why: String| OAuthError::new(ErrorCode::InvalidRequest, why);
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => {
            Err(refuse(format!("the request's body is too long: at most {limit} bytes are read")))
        }
        Ok(Err(error)) => Err(refuse("the request's body broke off".to_owned()).with_cause(error)),
        Err(_) => Err(refuse(format!(
            "the request's body came too slowly: it must be there within {BODY_DEADLINE:?}"
        ))),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<LengthLimitError>)
}

fn require_form(headers: &HeaderMap) -> Result<(), OAuthError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Ok(());
    }
    Err(OAuthError::new(
        ErrorCode::InvalidRequest,
        "the request must be `application/x-www-form-urlencoded`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_refused_and_an_empty_one_is_absent() {
        let params = Params::parse(b"a=1&b=2&a=3&c=").unwrap();
        assert_eq!(params.one("a").unwrap_err().code(), ErrorCode::InvalidRequest);
        assert_eq!(params.one("b").unwrap(), Some("2"));
        assert_eq!(params.one("c").unwrap(), None);
        assert!(params.required("c").unwrap_err().description().contains("`c`"));
    }

    #[test]
    fn two_resources_are_an_invalid_target() {
        let params = Params::parse(b"resource=https://a&resource=https://b").unwrap();
        assert_eq!(params.resource().unwrap_err().code(), ErrorCode::InvalidTarget);
    }

    #[test]
    fn too_long_and_too_many_are_refused() {
        let long = vec![b'a'; MAX_PARAMS_BYTES + 1];
        assert!(Params::parse(&long).is_err());
        let many = "a=1&".repeat(MAX_PARAMS + 1);
        assert!(Params::parse(many.as_bytes()).is_err());
        assert!(Params::parse("a=1&".repeat(MAX_PARAMS).as_bytes()).is_ok());
    }
}
