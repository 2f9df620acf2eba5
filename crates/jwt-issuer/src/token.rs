//! The access tokens that we issue (RFC 9068 in form).

use std::{borrow::Cow, fmt};

use jsonwebtoken::{Header, Validation, decode, decode_header, encode, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use crate::{Error, KeyRing, SigningAlgorithm, TokenError, key::Usage, signing::SigningKey};

/// How many seconds `iat` may lie in the future: replicas' clocks differ.
pub const MAX_CLOCK_SKEW: u64 = 60;

/// What an access token says, `iss` aside: that one belongs to [`JwtIssuer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// The person, as the provider names them.
    pub sub: String,
    /// The resource that the token is for (RFC 8707).
    pub aud: String,
    /// The first second at which the token is no longer good, Unix time.
    pub exp: u64,
    /// When the token was issued, Unix time in seconds.
    pub iat: u64,
    /// A name for this one token.
    pub jti: String,
    /// The client that it was issued to.
    pub client_id: String,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// The grant that it belongs to; on the wire `gid`.
    pub grant: String,
}

/// Signs and verifies the access tokens of one issuer.
#[derive(Clone)]
pub struct JwtIssuer {
    issuer: String,
    header: Header,
    signs: SigningKey,
    /// Every key of the ring, with every algorithm.
    verify: Vec<(SigningKey, Validation)>,
}

impl JwtIssuer {
    /// For the tokens of `issuer`, byte for byte as it stands in the metadata, signed with HS256.
    pub fn new(keys: &KeyRing, issuer: &str) -> Self {
        Self::with_algorithm(keys, issuer, SigningAlgorithm::Hs256)
    }

    /// The same, signed with `algorithm`. Tokens of the others verify as well, so that replicas of
    /// which some sign with a new algorithm understand one another.
    pub fn with_algorithm(keys: &KeyRing, issuer: &str, algorithm: SigningAlgorithm) -> Self {
        let signs = SigningKey::derive(keys.current(), Usage::AccessToken, algorithm, issuer);
        let mut header = Header::new(algorithm.to_jwa());
        header.typ = Some("at+jwt".into());
        header.kid = Some(signs.kid.clone());
        let verify = SigningAlgorithm::ALL
            .into_iter()
            .flat_map(|algorithm| keys.signing_keys(Usage::AccessToken, algorithm, issuer))
            .map(|key| {
                let validation = signature_only(key.algorithm);
                (key, validation)
            })
            .collect();
        Self { issuer: issuer.into(), header, signs, verify }
    }

    /// The token that says `claims`, signed under the current key.
    ///
    /// # Errors
    ///
    /// [`Error::Sign`] if the library refuses, for which no cause is known.
    pub fn sign(&self, claims: &AccessClaims) -> Result<String, Error> {
        let wire = WireClaims {
            iss: self.issuer.as_str().into(),
            sub: claims.sub.as_str().into(),
            aud: claims.aud.as_str().into(),
            exp: claims.exp,
            iat: claims.iat,
            jti: claims.jti.as_str().into(),
            client_id: claims.client_id.as_str().into(),
            scope: claims.scope.as_str().into(),
            gid: claims.grant.as_str().into(),
        };
        encode(&self.header, &wire, &self.signs.signs).map_err(|source| Error::Sign(source.into()))
    }

    /// What `token` says, if it is one of ours and good at `now` (Unix time in seconds).
    ///
    /// Checked: algorithm, `typ` (RFC 9068 §4), `kid`, that the key is one of the algorithm,
    /// signature, `iss`, that every claim is
    /// there, `exp` to the second and `iat` within [`MAX_CLOCK_SKEW`].
    ///
    /// **Not** checked: `aud` is returned for the caller to compare with the resource at hand,
    /// and so are the scopes and the grant.
    ///
    /// # Errors
    ///
    /// The first check that failed.
    pub fn verify(&self, token: &str, now: u64) -> Result<AccessClaims, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if SigningAlgorithm::ALL.iter().all(|known| known.to_jwa() != header.alg) {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() || !header.typ.as_deref().is_some_and(is_access_token_type) {
            return Err(TokenError::Type);
        }
        let kid = header.kid.as_deref().ok_or(TokenError::UnknownKey)?;
        let (key, validation) =
            self.verify.iter().find(|(key, _)| key.kid == kid).ok_or(TokenError::UnknownKey)?;
        // The key says how it is used, never the token.
        if key.algorithm.to_jwa() != header.alg {
            return Err(TokenError::Algorithm);
        }
        let wire = decode::<WireClaims<'static>>(token, &key.verifies, validation)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => TokenError::Signature,
                ErrorKind::Json(_) => TokenError::Claims,
                _ => TokenError::Malformed,
            })?
            .claims;
        if wire.iss != self.issuer {
            return Err(TokenError::Issuer);
        }
        if wire.iat > wire.exp {
            return Err(TokenError::Claims);
        }
        if wire.exp <= now {
            return Err(TokenError::Expired);
        }
        if wire.iat > now.saturating_add(MAX_CLOCK_SKEW) {
            return Err(TokenError::NotYetValid);
        }
        Ok(wire.into())
    }
}

impl fmt::Debug for JwtIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtIssuer")
            .field("issuer", &self.issuer)
            .field("algorithm", &self.signs.algorithm)
            .field("key", &self.signs.kid)
            .finish_non_exhaustive()
    }
}

/// The claims set on the wire. All members are required and of exactly this type.
#[derive(Serialize, Deserialize)]
struct WireClaims<'a> {
    iss: Cow<'a, str>,
    sub: Cow<'a, str>,
    aud: Cow<'a, str>,
    exp: u64,
    iat: u64,
    jti: Cow<'a, str>,
    client_id: Cow<'a, str>,
    scope: Cow<'a, str>,
    gid: Cow<'a, str>,
}

impl From<WireClaims<'_>> for AccessClaims {
    fn from(wire: WireClaims<'_>) -> Self {
        Self {
            sub: wire.sub.into_owned(),
            aud: wire.aud.into_owned(),
            exp: wire.exp,
            iat: wire.iat,
            jti: wire.jti.into_owned(),
            client_id: wire.client_id.into_owned(),
            scope: wire.scope.into_owned(),
            grant: wire.gid.into_owned(),
        }
    }
}

/// The library checks the signature; the claims are checked here, against a clock that is given.
fn signature_only(algorithm: SigningAlgorithm) -> Validation {
    let mut validation = Validation::new(algorithm.to_jwa());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// RFC 9068 §4 with the media type rules of RFC 7515 §4.1.9.
fn is_access_token_type(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

#[cfg(test)]
mod tests;
