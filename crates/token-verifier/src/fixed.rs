//! Tokens known beforehand.

use std::fmt;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{Principal, TokenVerifier, VerifyError};

/// Accepts a fixed list of tokens, for tests and scripts.
///
/// A fixed token has no end, cannot be revoked, and is the same for whoever learns it.
/// Do not let one guard a resource that strangers can reach.
///
/// A principal with an [audience](Principal::audience) is accepted for those resources only; one
/// without is accepted everywhere. [`Principal::expires_at`] is passed on, not checked.
pub struct StaticVerifier {
    tokens: Vec<(SecretString, Principal)>,
}

impl StaticVerifier {
    /// Makes a verifier that knows no token yet.
    ///
    /// Dangerous because of what the [type](Self) says.
    pub fn danger_new() -> Self {
        Self { tokens: Vec::new() }
    }

    /// Adds a token and whom it speaks for.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>, principal: Principal) -> Self {
        self.tokens.push((SecretString::from(token.into()), principal));
        self
    }
}

#[async_trait]
impl TokenVerifier for StaticVerifier {
    async fn verify(&self, token: &str, resource: &str) -> Result<Principal, VerifyError> {
        let found = self
            .tokens
            .iter()
            .find(|(known, _)| known.expose_secret().as_bytes().ct_eq(token.as_bytes()).into());
        let Some((_, principal)) = found else {
            return Err(VerifyError::Invalid("the token is not known".to_owned()));
        };
        let audience = principal.audience();
        if !audience.is_empty() && !audience.iter().any(|accepted| accepted == resource) {
            return Err(VerifyError::Invalid("the token is for another resource".to_owned()));
        }
        Ok(principal.clone())
    }
}

impl fmt::Debug for StaticVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticVerifier").field("tokens", &self.tokens.len()).finish()
    }
}
