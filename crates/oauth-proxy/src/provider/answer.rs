//! What a provider's answer means: fine, later, finished, or refused.

use std::time::Duration;

use http::{Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::ProviderError;

/// The longest wait that a provider can ask of us; more is a mistake on its side.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// How many characters of a provider's own words go into the log.
const MAX_DESCRIPTION: usize = 300;

/// A response of one of the provider's endpoints, not yet believed.
#[derive(Clone, Copy)]
pub(super) struct Answer<'a> {
    endpoint: &'static str,
    response: &'a Response<Vec<u8>>,
    sent: &'a Sent,
    redirect_uri: Option<&'a str>,
}

/// The secrets of a request: providers repeat them in error texts, and those go to the log.
pub(super) struct Sent(Vec<SecretString>);

impl<'a> Answer<'a> {
    pub(super) fn new(
        endpoint: &'static str,
        response: &'a Response<Vec<u8>>,
        sent: &'a Sent,
    ) -> Self {
        Self { endpoint, response, sent, redirect_uri: None }
    }

    /// Names the redirect URI of the request, for the advice in an error.
    pub(super) fn with_redirect_uri(self, redirect_uri: &'a str) -> Self {
        Self { redirect_uri: Some(redirect_uri), ..self }
    }

    /// The JSON object of an answer that is not an error.
    ///
    /// The status alone says nothing: some providers send errors with 200.
    pub(super) fn json(self) -> Result<Map<String, Value>, ProviderError> {
        self.available()?;
        let object = self.object()?;
        match error_code(&object) {
            Some(code) => Err(self.error(code, &object)),
            None if self.response.status().is_success() => Ok(object),
            None => Err(ProviderError::Refused {
                reason: format!(
                    "the {} answered HTTP {} without an OAuth error code; is its URL right?",
                    self.endpoint,
                    self.response.status().as_u16()
                ),
            }),
        }
    }

    /// The verdict on a revocation that did not succeed (RFC 7009 §2.2.1).
    pub(super) fn revocation(self) -> Result<(), ProviderError> {
        self.available()?;
        let object = self.object()?;
        match error_code(&object) {
            Some("invalid_token" | "invalid_grant") => Ok(()),
            _ => self.json().map(drop),
        }
    }

    /// The claims of a userinfo response (OpenID Connect Core §5.3.2).
    pub(super) fn userinfo(self) -> Result<Map<String, Value>, ProviderError> {
        self.available()?;
        let status = self.response.status();
        let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // Without either it may be a firewall on the way (RFC 6750 §3).
        let by_the_provider =
            self.response.headers().contains_key(header::WWW_AUTHENTICATE) || self.object().is_ok();
        if denied && by_the_provider {
            return Err(ProviderError::Refused {
                reason: format!(
                    "the {} does not accept the access token (HTTP {}); check the scopes and the \
                     audience that are asked for",
                    self.endpoint,
                    status.as_u16()
                ),
            });
        }
        if self.content_type().starts_with("application/jwt") {
            return Err(ProviderError::Refused {
                reason: format!(
                    "the {} answers with a signed document; configure plain JSON at the provider",
                    self.endpoint
                ),
            });
        }
        self.json()
    }

    /// Refuses answers that say "later" (D7).
    fn available(self) -> Result<(), ProviderError> {
        let status = self.response.status();
        let later = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        if later {
            return Err(self.unavailable(&format!("answered HTTP {}", status.as_u16())));
        }
        Ok(())
    }

    fn object(self) -> Result<Map<String, Value>, ProviderError> {
        serde_json::from_slice(self.response.body()).map_err(|_| {
            self.unavailable(&format!(
                "answered HTTP {} with something that is not a JSON object ({})",
                self.response.status().as_u16(),
                match self.content_type() {
                    "" => "no content type".to_owned(),
                    other => self.sent.clean(other),
                }
            ))
        })
    }

    fn content_type(self) -> &'a str {
        let header = self.response.headers().get(header::CONTENT_TYPE);
        header.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn unavailable(self, what: &str) -> ProviderError {
        let header = self.response.headers().get(header::RETRY_AFTER);
        let retry_after = header
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        ProviderError::Unavailable { reason: format!("the {} {what}", self.endpoint), retry_after }
    }

    /// Sorts an OAuth error response (RFC 6749 §5.2).
    fn error(self, code: &str, object: &Map<String, Value>) -> ProviderError {
        let mut reason = format!("the {} says `{}`", self.endpoint, self.sent.clean(code));
        if let Some(description) = object.get("error_description").and_then(Value::as_str) {
            reason = format!("{reason} ({})", self.sent.clean(description));
        }
        match code {
            "invalid_grant" => ProviderError::InvalidGrant { reason },
            "temporarily_unavailable" | "server_error" | "slow_down" => {
                ProviderError::Unavailable { reason, retry_after: None }
            }
            _ => ProviderError::Refused { reason: format!("{reason}{}", self.advice(code)) },
        }
    }

    /// Where the operator can fix it.
    fn advice(self, code: &str) -> String {
        let text = match code {
            "invalid_client" => {
                "compare client_id and client_secret with the application at the provider, check \
                 whether it expects client_secret_basic or client_secret_post \
                 (token_endpoint_auth_method), and that PKCE is allowed for it"
            }
            "unauthorized_client" | "unsupported_grant_type" => {
                "allow the authorization code and refresh token grants for the application in the \
                 provider's console"
            }
            "redirect_uri_mismatch" | "invalid_redirect_uri" => {
                return format!(
                    "; register the redirect URI in the provider's console, byte for byte: {}",
                    self.redirect_uri.unwrap_or("base URL and redirect path")
                );
            }
            "invalid_scope" => "ask only for scopes that the provider knows (scopes)",
            "invalid_target" | "invalid_resource" => {
                "check audience and the extra parameters against the provider's APIs"
            }
            _ => return String::new(),
        };
        format!("; {text}")
    }
}

impl Sent {
    pub(super) fn new<'s>(secrets: impl Iterator<Item = &'s SecretString>) -> Self {
        Self(secrets.cloned().collect())
    }

    /// A provider's words, fit for the log: no secret of ours, one line, not long.
    fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter().map(ExposeSecret::expose_secret) {
            let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            text = text.replace(secret, "[secret]").replace(&encoded, "[secret]");
        }
        let mut line: String = text
            .chars()
            .take(MAX_DESCRIPTION)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if line.len() < text.len() {
            line.push('…');
        }
        line
    }
}

fn error_code(object: &Map<String, Value>) -> Option<&str> {
    object.get("error").and_then(Value::as_str).filter(|code| !code.is_empty())
}

#[cfg(test)]
mod tests;
