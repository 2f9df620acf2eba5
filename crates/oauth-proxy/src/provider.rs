//! What this authorization server needs from the provider behind it.

mod answer;
mod application;
mod oauth2;
mod setting;
mod token_response;

use std::{collections::BTreeSet, fmt, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Map, Value};

pub use self::{
    application::{Application, ApplicationBuilder, ClientAuthMethod, TokenEndpoint},
    oauth2::{Endpoints, OAuth2Provider},
    setting::InvalidSetting,
};

/// The upstream OAuth 2 server where the administrator registered one application.
///
/// `oauth-proxy` calls each method at a fixed point of the flow and holds nothing back for itself:
/// an implementation decides how requests look on the wire and which answers it believes.
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug + 'static {
    /// The URL to which the person's browser is sent for login.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Unavailable`] while the provider's endpoints are not known yet.
    async fn authorize_url(&self, request: &AuthorizeRequest) -> Result<String, ProviderError>;

    /// Checks the `iss` parameter of an authorization response, success or error (RFC 9207 §2.4).
    ///
    /// Called before any other parameter of the response is believed.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] if the response is not from this provider.
    async fn check_response_issuer(&self, iss: Option<&str>) -> Result<(), ProviderError>;

    /// Exchanges the provider's authorization code for its tokens.
    ///
    /// # Errors
    ///
    /// See [`ProviderError`].
    async fn exchange(&self, request: &ExchangeRequest) -> Result<ProviderTokens, ProviderError>;

    /// Says who logged in, from the tokens of [`exchange`](Self::exchange) or
    /// [`refresh`](Self::refresh).
    ///
    /// `nonce` is the one that went out with [`authorize_url`](Self::authorize_url); `None` after a
    /// refresh. After a refresh an answer without identity is normal: `Ok(None)`. After an exchange
    /// (`nonce` given) a missing identity is an error.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] if the identity does not hold up.
    async fn identify(
        &self,
        tokens: &ProviderTokens,
        nonce: Option<&str>,
    ) -> Result<Option<Identity>, ProviderError>;

    /// Says who the tokens of a [`refresh`](Self::refresh) speak of, given who is `known` to have
    /// logged in; `Ok(None)` if they say nothing.
    ///
    /// By default [`identify`](Self::identify) without a nonce. A provider that is asked about the
    /// person with the access token can be asked here although no ID token came, and bring `known`
    /// up to date.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] if the identity does not hold up: that ends the grant.
    async fn identify_again(
        &self,
        tokens: &ProviderTokens,
        known: &Identity,
    ) -> Result<Option<Identity>, ProviderError> {
        let _ = known;
        self.identify(tokens, None).await
    }

    /// Obtains fresh tokens (RFC 6749 §6).
    ///
    /// # Errors
    ///
    /// [`ProviderError::InvalidGrant`] only if the provider said that the token is finished.
    async fn refresh(&self, refresh_token: &SecretString) -> Result<ProviderTokens, ProviderError>;

    /// Tells the provider that a token is no longer needed (RFC 7009).
    /// A provider without a revocation endpoint answers `Ok`.
    ///
    /// # Errors
    ///
    /// See [`ProviderError`].
    async fn revoke(&self, token: &SecretString) -> Result<(), ProviderError>;
}

/// What goes into the provider's authorization URL.
#[derive(Clone)]
#[non_exhaustive]
pub struct AuthorizeRequest {
    /// Where the provider returns: our callback, byte for byte as registered there.
    pub redirect_uri: String,
    /// Our transaction's secret.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Base64url SHA-256 of our own PKCE verifier (RFC 7636 §4.2); the client's stays with us.
    pub code_challenge: String,
}

/// What the provider's code is exchanged with.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExchangeRequest {
    /// The provider's code.
    pub code: SecretString,
    /// The same as in [`AuthorizeRequest`].
    pub redirect_uri: String,
    /// The verifier to [`AuthorizeRequest::code_challenge`].
    pub code_verifier: SecretString,
}

/// The provider's tokens. They rest sealed in the grant and never reach the client.
#[derive(Clone)]
pub struct ProviderTokens {
    /// JWT or opaque: nothing here looks inside.
    pub access_token: SecretString,
    /// Absent if the provider does not renew sessions, or did not rotate.
    pub refresh_token: Option<SecretString>,
    /// Present from an OpenID provider at login, sometimes after a refresh.
    pub id_token: Option<SecretString>,
    /// Lifetime of the access token as the provider said, already bounded.
    pub expires_in: Option<Duration>,
    /// The scopes that the provider granted, if it said.
    pub scope: Option<String>,
}

/// Who logged in, as far as the provider vouches for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The provider's issuer (or another stable name of it).
    pub issuer: String,
    /// `sub`: unique and never reassigned within the issuer.
    pub subject: String,
    /// Claims about the person, for access rules and for the backend.
    pub claims: Map<String, Value>,
    /// The names of those claims that a userinfo endpoint added to an ID token: they are asked for
    /// again when a refresh brings no ID token, and go if the endpoint no longer names them.
    pub from_userinfo: BTreeSet<String>,
}

/// Why the provider did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// No answer, or one that says "later" (5xx, 429, not JSON). The tokens may be fine (D7).
    #[error("the provider is not available: {reason}")]
    Unavailable {
        /// For the operator's log.
        reason: String,
        /// As the provider asked, if it did.
        retry_after: Option<Duration>,
    },
    /// The provider said `invalid_grant`: this code or refresh token is finished.
    #[error("the provider refused the grant: {reason}")]
    InvalidGrant {
        /// For the operator's log.
        reason: String,
    },
    /// The answer does not hold up (signature, nonce, issuer…) or the provider refused us for a
    /// reason of configuration.
    #[error("the provider's answer was refused: {reason}")]
    Refused {
        /// For the operator's log: what was wrong, what was expected, where to fix it.
        reason: String,
    },
}

impl Identity {
    /// Who the provider vouches for, with all claims from one source.
    pub fn new(
        issuer: impl Into<String>,
        subject: impl Into<String>,
        claims: Map<String, Value>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            subject: subject.into(),
            claims,
            from_userinfo: BTreeSet::new(),
        }
    }
}

impl AuthorizeRequest {
    /// A request with everything that each provider needs.
    pub fn new(
        redirect_uri: impl Into<String>,
        state: impl Into<String>,
        nonce: impl Into<String>,
        code_challenge: impl Into<String>,
    ) -> Self {
        Self {
            redirect_uri: redirect_uri.into(),
            state: state.into(),
            nonce: nonce.into(),
            code_challenge: code_challenge.into(),
        }
    }
}

impl ExchangeRequest {
    /// An exchange of `code`.
    pub fn new(
        code: SecretString,
        redirect_uri: impl Into<String>,
        code_verifier: SecretString,
    ) -> Self {
        Self { code, redirect_uri: redirect_uri.into(), code_verifier }
    }
}

impl fmt::Debug for AuthorizeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeRequest")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExchangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeRequest")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderTokens")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
