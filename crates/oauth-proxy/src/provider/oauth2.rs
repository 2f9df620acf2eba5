//! A provider that speaks plain OAuth 2: fixed endpoints, identity from a userinfo endpoint.

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::{
    Application, AuthorizeRequest, ExchangeRequest, Identity, InvalidSetting, Provider,
    ProviderError, ProviderTokens, TokenEndpoint,
};

/// The longest subject that is accepted, in bytes.
const MAX_SUBJECT: usize = 255;

/// A plain OAuth 2 provider.
///
/// The person's identity is what a userinfo endpoint says of the access token, which the provider
/// handed to us over TLS in exchange for a code bound to this browser by `state` and PKCE.
#[derive(Clone, Debug)]
pub struct OAuth2Provider {
    application: Application,
    endpoints: Endpoints,
    issuer: Option<String>,
    subject_field: String,
}

/// Where a plain OAuth 2 provider answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Endpoints {
    /// The authorization endpoint (RFC 6749 §3.1).
    pub authorization: String,
    /// The token endpoint (RFC 6749 §3.2).
    pub token: String,
    /// Answers with a JSON object about the person, given the access token.
    pub userinfo: String,
    /// The revocation endpoint (RFC 7009), if there is one.
    pub revocation: Option<String>,
}

impl Endpoints {
    /// The three endpoints that a login needs.
    pub fn new(
        authorization: impl Into<String>,
        token: impl Into<String>,
        userinfo: impl Into<String>,
    ) -> Self {
        Self {
            authorization: authorization.into(),
            token: token.into(),
            userinfo: userinfo.into(),
            revocation: None,
        }
    }

    /// Adds the revocation endpoint (RFC 7009).
    #[must_use]
    pub fn with_revocation(mut self, url: impl Into<String>) -> Self {
        self.revocation = Some(url.into());
        self
    }
}

impl OAuth2Provider {
    /// A provider with fixed endpoints.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] if an endpoint is not an https URL; http is accepted on loopback.
    pub fn new(application: Application, endpoints: Endpoints) -> Result<Self, InvalidSetting> {
        check_endpoint("authorization_endpoint", &endpoints.authorization)?;
        check_endpoint("token_endpoint", &endpoints.token)?;
        check_endpoint("userinfo_endpoint", &endpoints.userinfo)?;
        if let Some(url) = &endpoints.revocation {
            check_endpoint("revocation_endpoint", url)?;
        }
        Ok(Self { application, endpoints, issuer: None, subject_field: "sub".to_owned() })
    }

    /// The provider's name of itself, compared with the `iss` parameter of authorization responses
    /// (RFC 9207); by default the origin of the authorization endpoint, compared with nothing.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The member of the userinfo answer that names the person; `sub` by default.
    ///
    /// It must be unique and never reassigned: an `id`, not a login name.
    #[must_use]
    pub fn with_subject_field(mut self, field: impl Into<String>) -> Self {
        self.subject_field = field.into();
        self
    }

    fn issuer(&self) -> String {
        self.issuer.clone().unwrap_or_else(|| {
            Url::parse(&self.endpoints.authorization)
                .map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
        })
    }

    fn subject(&self, claims: &Map<String, Value>) -> Result<String, ProviderError> {
        let subject = match claims.get(&self.subject_field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            _ => String::new(),
        };
        if subject.is_empty()
            || subject.len() > MAX_SUBJECT
            || subject.chars().any(char::is_control)
        {
            return Err(ProviderError::Refused {
                reason: format!(
                    "the userinfo endpoint's answer has no usable `{}`; name the member that \
                     identifies the person (subject field)",
                    self.subject_field
                ),
            });
        }
        Ok(subject)
    }
}

#[async_trait]
impl Provider for OAuth2Provider {
    async fn authorize_url(&self, request: &AuthorizeRequest) -> Result<String, ProviderError> {
        self.application.authorize_url(&self.endpoints.authorization, request)
    }

    async fn check_response_issuer(&self, iss: Option<&str>) -> Result<(), ProviderError> {
        match (iss, &self.issuer) {
            (Some(iss), Some(expected)) if iss != expected => Err(ProviderError::Refused {
                reason: format!(
                    "the authorization response's `iss` is not {expected}: it comes from another \
                     provider, or the issuer is configured wrongly"
                ),
            }),
            _ => Ok(()),
        }
    }

    async fn exchange(&self, request: &ExchangeRequest) -> Result<ProviderTokens, ProviderError> {
        self.application.exchange(endpoint(&self.endpoints.token), request).await
    }

    async fn identify(
        &self,
        tokens: &ProviderTokens,
        nonce: Option<&str>,
    ) -> Result<Option<Identity>, ProviderError> {
        let answer =
            self.application.userinfo(&self.endpoints.userinfo, &tokens.access_token).await;
        let claims = match answer {
            // After a refresh a refusal would end the grant, and this one says nothing of the
            // person (D7).
            Err(ProviderError::Refused { reason }) if nonce.is_none() => {
                return Err(ProviderError::Unavailable { reason, retry_after: None });
            }
            answer => answer?,
        };
        let subject = self.subject(&claims)?;
        Ok(Some(Identity::new(self.issuer(), subject, claims)))
    }

    async fn refresh(&self, refresh_token: &SecretString) -> Result<ProviderTokens, ProviderError> {
        self.application.refresh(endpoint(&self.endpoints.token), refresh_token).await
    }

    async fn revoke(&self, token: &SecretString) -> Result<(), ProviderError> {
        match &self.endpoints.revocation {
            None => Ok(()),
            Some(url) => self.application.revoke(endpoint(url), token).await,
        }
    }
}

fn endpoint(url: &str) -> TokenEndpoint<'_> {
    TokenEndpoint { url, auth_methods_supported: &[] }
}

fn check_endpoint(setting: &'static str, url: &str) -> Result<(), InvalidSetting> {
    let parsed = Url::parse(url).map_err(|error| {
        InvalidSetting::new(setting, format!("is not an absolute URL: {error}"))
    })?;
    let loopback = match parsed.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err(InvalidSetting::new(setting, "must be https (http only on loopback)")),
    }
}

#[cfg(test)]
mod tests;
