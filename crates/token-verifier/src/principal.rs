//! Who a verified token speaks for.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};

/// The outcome of a verification: whom the token speaks for, through which client, and how far.
///
/// Plain strings behind one [`Arc`], so a clone costs a counter. The [`Debug`] form leaves the
/// claims out: they are somebody's personal data.
#[derive(Clone, PartialEq)]
pub struct Principal {
    inner: Arc<Inner>,
}

#[derive(Clone, PartialEq)]
struct Inner {
    subject: String,
    issuer: Option<String>,
    client_id: Option<String>,
    scopes: Vec<String>,
    audience: Vec<String>,
    expires_at: Option<u64>,
    claims: Map<String, Value>,
    grant_id: Option<String>,
}

impl Principal {
    /// Starts a principal for `subject` (the token's `sub`).
    pub fn builder(subject: impl Into<String>) -> PrincipalBuilder {
        PrincipalBuilder {
            inner: Inner {
                subject: subject.into(),
                issuer: None,
                client_id: None,
                scopes: Vec::new(),
                audience: Vec::new(),
                expires_at: None,
                claims: Map::new(),
                grant_id: None,
            },
        }
    }

    /// The subject: unique within one issuer, never re-assigned (RFC 9068 §2.2).
    pub fn subject(&self) -> &str {
        &self.inner.subject
    }

    /// Who issued the token.
    pub fn issuer(&self) -> Option<&str> {
        self.inner.issuer.as_deref()
    }

    /// The OAuth client that the token was issued to (RFC 8693 §4.3).
    pub fn client_id(&self) -> Option<&str> {
        self.inner.client_id.as_deref()
    }

    /// The scopes of the token, in the order in which it names them.
    pub fn scopes(&self) -> &[String] {
        &self.inner.scopes
    }

    /// Whether the token has exactly this scope; scopes are compared as whole strings
    /// (RFC 6749 §3.3).
    pub fn has_scope(&self, scope: &str) -> bool {
        self.inner.scopes.iter().any(|granted| granted == scope)
    }

    /// The resources that the token was made for (`aud`); empty when the verifier does not know.
    pub fn audience(&self) -> &[String] {
        &self.inner.audience
    }

    /// When the token ends, in Unix seconds.
    pub fn expires_at(&self) -> Option<u64> {
        self.inner.expires_at
    }

    /// Every claim that the verifier passes on.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.inner.claims
    }

    /// A claim that is a string; `None` when it is absent or of another type.
    pub fn claim_str(&self, name: &str) -> Option<&str> {
        self.inner.claims.get(name).and_then(Value::as_str)
    }

    /// The grant that the token belongs to, when the authorization server keeps grants.
    pub fn grant_id(&self) -> Option<&str> {
        self.inner.grant_id.as_deref()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("subject", &self.inner.subject)
            .field("issuer", &self.inner.issuer)
            .field("client_id", &self.inner.client_id)
            .field("scopes", &self.inner.scopes)
            .field("audience", &self.inner.audience)
            .field("expires_at", &self.inner.expires_at)
            .field("grant_id", &self.inner.grant_id)
            .finish_non_exhaustive()
    }
}

/// Collects the parts of a [`Principal`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct PrincipalBuilder {
    inner: Inner,
}

impl PrincipalBuilder {
    /// Sets who issued the token.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.inner.issuer = Some(issuer.into());
        self
    }

    /// Sets the OAuth client.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.inner.client_id = Some(client_id.into());
        self
    }

    /// Adds scopes.
    pub fn scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.inner.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds one resource to the audience; call it again for a token that names several.
    pub fn audience(mut self, resource: impl Into<String>) -> Self {
        self.inner.audience.push(resource.into());
        self
    }

    /// Sets the end of the token, in Unix seconds.
    pub fn expires_at(mut self, expires_at: u64) -> Self {
        self.inner.expires_at = Some(expires_at);
        self
    }

    /// Sets the claims, replacing those set before.
    pub fn claims(mut self, claims: Map<String, Value>) -> Self {
        self.inner.claims = claims;
        self
    }

    /// Sets the grant that the token belongs to.
    pub fn grant_id(mut self, grant_id: impl Into<String>) -> Self {
        self.inner.grant_id = Some(grant_id.into());
        self
    }

    /// Finishes the principal.
    pub fn build(self) -> Principal {
        Principal { inner: Arc::new(self.inner) }
    }
}

impl fmt::Debug for PrincipalBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrincipalBuilder")
            .field("subject", &self.inner.subject)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn principal() -> Principal {
        let Value::Object(claims) = json!({"email": "ada@example.com", "level": 3}) else {
            unreachable!("the literal above is an object")
        };
        Principal::builder("ada")
            .issuer("https://issuer.example")
            .client_id("client")
            .scopes(["read", "write"])
            .audience("https://mcp.example/mcp")
            .expires_at(1_700_000_000)
            .claims(claims)
            .grant_id("g1")
            .build()
    }

    #[test]
    fn returns_what_the_builder_was_given() {
        let principal = principal();
        assert_eq!(principal.subject(), "ada");
        assert_eq!(principal.issuer(), Some("https://issuer.example"));
        assert_eq!(principal.client_id(), Some("client"));
        assert_eq!(principal.scopes(), ["read", "write"]);
        assert_eq!(principal.audience(), ["https://mcp.example/mcp"]);
        assert_eq!(principal.expires_at(), Some(1_700_000_000));
        assert_eq!(principal.grant_id(), Some("g1"));
        assert_eq!(principal.claim_str("email"), Some("ada@example.com"));
        assert_eq!(principal.claim_str("level"), None);
    }

    #[test]
    fn a_scope_is_compared_as_a_whole() {
        let principal = principal();
        assert!(principal.has_scope("read"));
        for other in ["rea", "read ", "READ", "read write", ""] {
            assert!(!principal.has_scope(other), "{other:?}");
        }
    }

    #[test]
    fn debug_shows_no_claims() {
        let shown = format!("{:?}", principal());
        assert!(shown.contains("ada") && !shown.contains("ada@example.com"), "{shown}");
    }
}
