//! A published key, and which algorithms it may be used with.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;
use serde_json::Value;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A public key that verifies signatures.
pub(crate) struct VerificationKey {
    kid: Option<String>,
    #[cfg(feature = "jwks")]
    issuer: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

impl VerificationKey {
    /// Reads a JWK (RFC 7517 §4, RFC 7518 §6); `None` when it is not for verifying signatures, or
    /// is of a kind unknown here.
    ///
    /// The algorithms follow from the key's type and curve and, where it has one, its `alg`.
    /// Symmetric keys are never taken: a published secret is none.
    pub(crate) fn from_jwk(jwk: &Value) -> Option<Self> {
        let member = |name| jwk.get(name).and_then(Value::as_str);
        if member("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops").and_then(Value::as_array)
            && !operations.iter().any(|operation| operation == "verify")
        {
            return None;
        }

        let (family, key): (&[Algorithm], _) = match (member("kty")?, member("crv")) {
            ("RSA", _) => (&RSA, DecodingKey::from_rsa_components(member("n")?, member("e")?)),
            ("EC", Some("P-256")) => {
                (&[Algorithm::ES256], DecodingKey::from_ec_components(member("x")?, member("y")?))
            }
            ("EC", Some("P-384")) => {
                (&[Algorithm::ES384], DecodingKey::from_ec_components(member("x")?, member("y")?))
            }
            ("OKP", Some("Ed25519")) => {
                (&[Algorithm::EdDSA], DecodingKey::from_ed_components(member("x")?))
            }
            _ => return None,
        };
        let algorithms: Vec<_> = match member("alg") {
            None => family.to_vec(),
            Some(name) => {
                let only: Algorithm = name.parse().ok()?;
                family.iter().copied().filter(|algorithm| *algorithm == only).collect()
            }
        };

        let mut validation = Validation::new(*algorithms.first()?);
        validation.algorithms = algorithms;
        // The claims are checked by whoever opens tokens, against a clock that is given.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Some(Self {
            kid: member("kid").map(str::to_owned),
            #[cfg(feature = "jwks")]
            issuer: member("issuer").map(str::to_owned),
            key: key.ok()?,
            validation,
        })
    }

    /// Whether a token with this header may have been signed with this key.
    pub(crate) fn fits(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        (kid.is_none() || kid == self.kid.as_deref())
            && self.validation.algorithms.contains(&algorithm)
    }

    /// The issuer that alone may use this key; Entra says so in its shared key sets.
    #[cfg(feature = "jwks")]
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The claims of a token that was signed with this key.
    pub(crate) fn open<C: DeserializeOwned + Clone>(&self, token: &str) -> Option<C> {
        jsonwebtoken::decode(token, &self.key, &self.validation).ok().map(|token| token.claims)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const N: &str = "AQAB"; // any base64url will do until something is verified
    const X: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn algorithms(jwk: &Value) -> Vec<Algorithm> {
        VerificationKey::from_jwk(jwk).map(|key| key.validation.algorithms).unwrap_or_default()
    }

    #[test]
    fn algorithms_follow_from_the_key() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};

        for (jwk, expected) in [
            (json!({"kty": "RSA", "n": N, "e": "AQAB"}), RSA.to_vec()),
            (json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "RS256"}), vec![RS256]),
            (json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "PS256", "use": "sig"}), vec![PS256]),
            (json!({"kty": "EC", "crv": "P-256", "x": X, "y": X}), vec![ES256]),
            (json!({"kty": "EC", "crv": "P-384", "x": X, "y": X}), vec![ES384]),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": X, "key_ops": ["verify"]}), vec![EdDSA]),
        ] {
            assert_eq!(algorithms(&jwk), expected, "{jwk}");
        }
    }

    #[test]
    fn what_verifies_no_signature_is_no_key() {
        for jwk in [
            json!({"kty": "RSA", "n": N, "e": "AQAB", "use": "enc"}),
            json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "RSA-OAEP"}),
            json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "HS256"}),
            json!({"kty": "RSA", "n": N, "e": "AQAB", "alg": "none"}),
            json!({"kty": "RSA", "n": N, "e": "AQAB", "key_ops": ["encrypt"]}),
            json!({"kty": "RSA", "n": N}),
            json!({"kty": "RSA", "n": "not base64!", "e": "AQAB"}),
            json!({"kty": "oct", "k": X}),
            json!({"kty": "EC", "crv": "secp256k1", "x": X, "y": X}),
            json!({"kty": "EC", "crv": "P-256", "x": X, "y": X, "alg": "ES384"}),
            json!({"kty": "OKP", "crv": "X25519", "x": X}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": X}),
            json!({"kid": "a"}),
        ] {
            assert!(VerificationKey::from_jwk(&jwk).is_none(), "{jwk}");
        }
    }

    #[test]
    fn the_header_chooses_among_keys_only() {
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": X, "y": X, "kid": "a"});
        let key = VerificationKey::from_jwk(&jwk).expect("a key");
        assert!(key.fits(Some("a"), Algorithm::ES256) && key.fits(None, Algorithm::ES256));
        assert!(!key.fits(Some("b"), Algorithm::ES256));
        assert!(!key.fits(Some("a"), Algorithm::HS256) && !key.fits(None, Algorithm::RS256));
    }
}
