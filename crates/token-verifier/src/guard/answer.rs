//! The answers to requests that do not pass (RFC 6750 §3, RFC 9728 §5.1).

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::Refusal;
use crate::VerifyError;

/// A description is one sentence; a verifier's longer one is cut, so that the header stays small.
const MAX_DESCRIPTION_LENGTH: usize = 200;

/// What is the same in every answer of one guard.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    metadata_url: String,
    required_scopes: Vec<String>,
    /// The challenge of a request without a token, made once: clients probe with it.
    bare: HeaderValue,
}

/// One answer, before it is put into a response.
struct Answer<'a> {
    status: StatusCode,
    error: &'a str,
    description: &'a str,
    challenge: Option<HeaderValue>,
    retry_after: Option<Duration>,
}

impl Answers {
    pub(super) fn new(metadata_url: String, required_scopes: Vec<String>) -> Self {
        let bare = challenge(None, &metadata_url, &required_scopes);
        Self { metadata_url, required_scopes, bare }
    }

    pub(super) fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    pub(super) fn required_scopes(&self) -> &[String] {
        &self.required_scopes
    }

    /// Answers a refused request; a `HEAD` gets the same head without a body.
    pub(super) fn refuse<B: From<Bytes> + Default>(
        &self,
        refusal: Refusal,
        method: &Method,
    ) -> Response<B> {
        match refusal {
            Refusal::NoToken => respond(
                method,
                &Answer {
                    status: StatusCode::UNAUTHORIZED,
                    error: "unauthorized",
                    description: "an access token is needed",
                    challenge: Some(self.bare.clone()),
                    retry_after: None,
                },
            ),
            Refusal::Malformed(reason) => {
                self.challenged(method, StatusCode::BAD_REQUEST, "invalid_request", reason, &[])
            }
            Refusal::Unverified(VerifyError::Invalid(reason)) => {
                self.challenged(method, StatusCode::UNAUTHORIZED, "invalid_token", &reason, &[])
            }
            Refusal::Unverified(VerifyError::InsufficientScope { required }) => self.challenged(
                method,
                StatusCode::FORBIDDEN,
                "insufficient_scope",
                "the access token has too little scope",
                &required,
            ),
            Refusal::Unverified(VerifyError::Unavailable { retry_after, source }) => {
                tracing::warn!(error = &*source, "token verification is unavailable");
                respond(
                    method,
                    &Answer {
                        status: StatusCode::SERVICE_UNAVAILABLE,
                        error: "temporarily_unavailable",
                        description: "the access token cannot be verified at the moment",
                        challenge: None,
                        retry_after: Some(retry_after),
                    },
                )
            }
        }
    }

    /// An answer with a challenge that names the error, the guard's scopes and `more_scopes`.
    fn challenged<B: From<Bytes> + Default>(
        &self,
        method: &Method,
        status: StatusCode,
        error: &'static str,
        description: &str,
        more_scopes: &[String],
    ) -> Response<B> {
        let description = sanitized_description(description);
        let mut scopes = self.required_scopes.clone();
        for scope in more_scopes {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        let challenge = challenge(Some((error, &description)), &self.metadata_url, &scopes);
        respond(
            method,
            &Answer {
                status,
                error,
                description: &description,
                challenge: Some(challenge),
                retry_after: None,
            },
        )
    }
}

/// One challenge on one line that starts with `Bearer `: clients look for just that.
fn challenge(error: Option<(&str, &str)>, metadata_url: &str, scopes: &[String]) -> HeaderValue {
    let mut parameters = Vec::with_capacity(4);
    if let Some((error, description)) = error {
        parameters.push(format!("error=\"{error}\""));
        parameters.push(format!("error_description=\"{description}\""));
    }
    parameters.push(format!("resource_metadata=\"{}\"", quotable(metadata_url)));
    if !scopes.is_empty() {
        parameters.push(format!("scope=\"{}\"", quotable(&scopes.join(" "))));
    }
    HeaderValue::try_from(format!("Bearer {}", parameters.join(", ")))
        .expect("every value was reduced to printable ASCII")
}

/// Reduces a text to what RFC 6750 §3 allows between quotes: printable ASCII, no `"`, no `\`.
fn quotable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '"' | '\\' => '\'',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

/// A description fit for the header: short, quotable, and without `=`, because clients search the
/// header for `scope=` and `error=` wherever they stand.
fn sanitized_description(description: &str) -> String {
    quotable(description)
        .chars()
        .take(MAX_DESCRIPTION_LENGTH)
        .map(|character| if character == '=' { ':' } else { character })
        .collect()
}

fn respond<B: From<Bytes> + Default>(method: &Method, answer: &Answer<'_>) -> Response<B> {
    let body = if method == Method::HEAD {
        B::default()
    } else {
        let json = json!({"error": answer.error, "error_description": answer.description});
        B::from(Bytes::from(json.to_string()))
    };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = &answer.challenge {
        headers.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Some(retry_after) = answer.retry_after {
        // Rounded up: a client told "0" would ask again at once.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_the_header() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a \"quoted\" word", "a 'quoted' word"),
            ("back\\slash", "back'slash"),
            ("two\r\nSet-Cookie: x=1", "two??Set-Cookie: x:1"),
            ("scope=\"admin\"", "scope:'admin'"),
            ("zażółć", "za????"),
            ("\0\x7f", "??"),
        ] {
            assert_eq!(sanitized_description(text), expected, "{text:?}");
        }
        assert_eq!(sanitized_description(&"x".repeat(5000)).len(), MAX_DESCRIPTION_LENGTH);
    }

    #[test]
    fn odd_configuration_does_not_break_the_header() {
        let challenge = challenge(None, "https://e/\"\r\n", &["a\"b".to_owned(), "ż".to_owned()]);
        assert_eq!(challenge, r#"Bearer resource_metadata="https://e/'??", scope="a'b ?""#);
    }
}
