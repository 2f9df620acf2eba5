//! Who may ask about tokens (RFC 7662): resource servers that the operator configured.

use std::fmt;

use jwt_issuer::sha256_base64url;
use secrecy::{ExposeSecret, SecretString};

/// The shortest secret in bytes: whoever guesses it learns which tokens are good.
const MIN_SECRET_BYTES: usize = 16;

/// A resource server that may ask about the tokens of one resource (RFC 7662).
#[derive(Clone)]
pub struct ResourceServer {
    id: String,
    /// SHA-256: the secret itself is not needed any more.
    secret_hash: String,
    is_long_enough: bool,
    /// The resource as it was given, then its canonical URL; the first one if none was given.
    resource: Option<String>,
}

impl ResourceServer {
    /// A resource server with an id and a secret of at least 16 bytes; it may ask about tokens of
    /// the (first) resource.
    pub fn new(id: impl Into<String>, secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self {
            id: id.into(),
            secret_hash: sha256_base64url(secret),
            is_long_enough: secret.len() >= MIN_SECRET_BYTES,
            resource: None,
        }
    }

    /// The URL of the resource whose tokens it may ask about; all others are `active: false`.
    #[must_use]
    pub fn resource(mut self, url: impl Into<String>) -> Self {
        self.resource = Some(url.into());
        self
    }

    /// What it calls itself.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret_hash(&self) -> &str {
        &self.secret_hash
    }

    /// The canonical URL of its resource.
    pub(crate) fn audience(&self) -> &str {
        self.resource.as_deref().unwrap_or_default()
    }

    pub(crate) fn asked_for(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// With the canonical URL of its resource, or what is wrong with it.
    pub(crate) fn settled(mut self, resource: String) -> Result<Self, &'static str> {
        if self.id.is_empty() {
            return Err("its id is empty");
        }
        if !self.is_long_enough {
            return Err("its secret is shorter than 16 bytes");
        }
        self.resource = Some(resource);
        Ok(self)
    }
}

impl fmt::Debug for ResourceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourceServer")
            .field("id", &self.id)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}
