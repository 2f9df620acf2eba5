//! Assertions: short-lived tokens that tell a backend who asks.

use std::fmt;

use jsonwebtoken::{Header, encode};
use secrecy::SecretString;
use serde::Serialize;

use crate::{
    Error, KeyId, KeyRing, MasterKey, SigningAlgorithm,
    key::Usage,
    random_token,
    signing::{SigningKey, shared_secret},
};

/// The longest that an assertion is good, in seconds: it is made for the request that carries it.
pub const MAX_ASSERTION_LIFETIME: u64 = 60;

/// What an assertion says, `iss`, `aud`, `iat` and `jti` aside: those belong to
/// [`AssertionIssuer`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AssertionClaims {
    /// The person, as the provider names them.
    pub sub: String,
    /// The issuer of the provider that names them so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The client that asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What the client may do, separated by spaces.
    pub scope: String,
    /// Their e-mail address, only if the provider vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Their groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// A name to show; people choose and change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// The first second at which the assertion is no longer good, Unix time; at most
    /// [`MAX_ASSERTION_LIFETIME`] from now, whatever is given.
    pub exp: u64,
}

/// Signs assertions for one backend.
#[derive(Clone)]
pub struct AssertionIssuer {
    issuer: String,
    audience: String,
    key: SigningKey,
    header: Header,
}

impl AssertionIssuer {
    /// For assertions of `issuer` that are meant for the backend `audience`.
    ///
    /// HS256 signs with a [shared key](Self::shared_keys), the others with keys that are in
    /// [`KeyRing::public_keys`]. None of them signs access tokens.
    pub fn new(keys: &KeyRing, algorithm: SigningAlgorithm, issuer: &str, audience: &str) -> Self {
        let master = keys.current();
        let key = if algorithm.is_asymmetric() {
            SigningKey::derive(master, Usage::Assertion, algorithm, issuer)
        } else {
            SigningKey::shared(master, &shared_key(master, issuer, audience))
        };
        let mut header = Header::new(algorithm.to_jwa());
        header.kid = Some(key.kid.clone());
        Self { issuer: issuer.to_owned(), audience: audience.to_owned(), key, header }
    }

    /// The keys with which the backend `audience` verifies HS256 assertions, by the `kid` that
    /// they are signed under, the current one first. They are good for nothing else, and another
    /// backend has others. The text itself is the HMAC key; it must not be decoded.
    pub fn shared_keys(keys: &KeyRing, issuer: &str, audience: &str) -> Vec<(KeyId, SecretString)> {
        keys.masters().map(|key| (key.id().clone(), shared_key(key, issuer, audience))).collect()
    }

    /// The assertion that says `claims`, made at `now` (Unix time in seconds), with a `jti` of its
    /// own.
    ///
    /// # Errors
    ///
    /// [`Error::Sign`] if the library refuses, for which no cause is known.
    pub fn sign(&self, claims: &AssertionClaims, now: u64) -> Result<String, Error> {
        let wire = WireClaims {
            iss: &self.issuer,
            aud: &self.audience,
            iat: now,
            jti: random_token::<16>(),
            claims: &AssertionClaims {
                exp: claims.exp.min(now.saturating_add(MAX_ASSERTION_LIFETIME)),
                ..claims.clone()
            },
        };
        encode(&self.header, &wire, &self.key.signs).map_err(|source| Error::Sign(source.into()))
    }
}

impl fmt::Debug for AssertionIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AssertionIssuer")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("key", &self.key.kid)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct WireClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    jti: String,
    #[serde(flatten)]
    claims: &'a AssertionClaims,
}

/// For this purpose, this issuer and this backend only.
fn shared_key(master: &MasterKey, issuer: &str, audience: &str) -> SecretString {
    shared_secret(master, Usage::Assertion, &format!("HS256/{audience}"), issuer)
}

#[cfg(test)]
mod tests;
