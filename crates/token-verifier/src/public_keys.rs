//! A set of public keys, for whoever has one and a JWT.

use std::fmt;

use serde_json::{Map, Value};

use crate::key::VerificationKey;

/// The most keys of a set that are read: a rotation has two or three, and each is tried.
const MAX_KEYS: usize = 32;

/// Public keys (RFC 7517 §5) with which somebody signs JWTs.
///
/// They decide the algorithm, never the token: RSA keys verify RS and PS, P-256, P-384 and Ed25519
/// keys what belongs to their curve, and a key with `alg` that alone. A shared secret is no public
/// key.
pub struct PublicKeys(Vec<VerificationKey>);

/// Why a token is not signed with any of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is no JWT, or one that cannot be verified here.
    #[error("the text is not a JWT that can be verified")]
    Malformed,
    /// It names a key that is not there: perhaps the keys have changed since.
    #[error("the JWT is not signed with one of the keys")]
    UnknownKey,
    /// Its signature is not that of the key that it names.
    #[error("the signature of the JWT is not good")]
    Wrong,
}

impl PublicKeys {
    /// Reads a key set, `{"keys":[…]}`; keys that verify no signatures are left out.
    ///
    /// `None` if it is no key set.
    pub fn from_key_set(set: &Value) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?.iter().take(MAX_KEYS);
        Some(Self(keys.filter_map(VerificationKey::from_jwk).collect()))
    }

    /// Whether no key is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims of a JWT that was signed with one of the keys. Nothing of them is checked.
    ///
    /// # Errors
    ///
    /// [`SignatureError`] says how far it came.
    pub fn open(&self, token: &str) -> Result<Map<String, Value>, SignatureError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| SignatureError::Malformed)?;
        if header.crit.is_some() {
            return Err(SignatureError::Malformed);
        }
        let kid = header.kid.as_deref();
        let mut candidates = self.0.iter().filter(|key| key.fits(kid, header.alg)).peekable();
        if candidates.peek().is_none() {
            return Err(SignatureError::UnknownKey);
        }
        candidates.find_map(|key| key.open(token)).ok_or(SignatureError::Wrong)
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKeys").field("keys", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_set_is_none_and_an_odd_key_spoils_nothing() {
        for no_set in [json!({}), json!([]), json!({"keys": {}}), json!(null)] {
            assert!(PublicKeys::from_key_set(&no_set).is_none(), "{no_set}");
        }
        let odd = json!({"keys": [7, {"kty": "oct", "k": "AAAA"}, {"kty": "RSA"}]});
        assert!(PublicKeys::from_key_set(&odd).is_some_and(|keys| keys.is_empty()));
        let key = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
        let many = json!({ "keys": vec![key; 2 * MAX_KEYS] });
        assert_eq!(PublicKeys::from_key_set(&many).map(|keys| keys.0.len()), Some(MAX_KEYS));
    }

    #[test]
    fn what_is_no_jwt_is_malformed() {
        let keys = PublicKeys(Vec::new());
        for text in ["", "a.b.c", "text", "..", "eyJhbGciOiJub25lIn0.e30."] {
            assert_eq!(keys.open(text), Err(SignatureError::Malformed), "{text}");
        }
        // {"alg":"RS256"}.{}
        let unsigned = "eyJhbGciOiJSUzI1NiJ9.e30.AAAA";
        assert_eq!(keys.open(unsigned), Err(SignatureError::UnknownKey));
    }
}
