//! The question that this crate is about, and what may come back.

use std::{error::Error, fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::Principal;

/// Answers "is this bearer token good for this resource, and whom does it speak for?"
///
/// An implementation checks everything that makes a token good, the audience included: a token
/// for another resource is [`VerifyError::Invalid`] (RFC 8707 §2, MCP authorization).
#[async_trait]
pub trait TokenVerifier: Send + Sync + Debug + 'static {
    /// Verifies `token` for `resource`, the canonical URL of the protected resource.
    ///
    /// # Errors
    ///
    /// Tells a bad token from a good one with too little scope, and both from not being able to
    /// say: an outage is never [`VerifyError::Invalid`], since that makes clients throw away
    /// tokens that are good.
    async fn verify(&self, token: &str, resource: &str) -> Result<Principal, VerifyError>;
}

#[async_trait]
impl<T: TokenVerifier + ?Sized> TokenVerifier for Arc<T> {
    async fn verify(&self, token: &str, resource: &str) -> Result<Principal, VerifyError> {
        (**self).verify(token, resource).await
    }
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is malformed, expired, revoked, forged, or made for another resource
    /// (`invalid_token`, RFC 6750 §3.1).
    ///
    /// Holds the reason as the client may read it: ASCII, and nothing of the token's content.
    #[error("invalid token: {0}")]
    Invalid(String),

    /// The token is good but its scopes do not suffice (`insufficient_scope`, RFC 6750 §3.1).
    #[error("insufficient scope, {} needed", required.join(" "))]
    InsufficientScope {
        /// Every scope that the operation needs, those that the token has included.
        required: Vec<String>,
    },

    /// Nothing can be said about the token now: storage, provider or key set are out of reach.
    #[error("token verification is unavailable")]
    Unavailable {
        /// How long the client should wait before it asks again.
        retry_after: Duration,
        /// What is out of order; for the log, never for the client.
        source: Box<dyn Error + Send + Sync>,
    },
}
