//! The RSA key that signs everything, and what is published of it.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// An RSA key of 2048 bits for RS256 signatures; clones share it.
#[derive(Clone)]
pub struct SigningKey {
    inner: Arc<Keys>,
}

struct Keys {
    pkcs8: Vec<u8>,
    encoding: EncodingKey,
    decoding: DecodingKey,
    jwk: Jwk,
    key_id: String,
}

impl SigningKey {
    /// Makes a new key; takes some tenths of a second.
    ///
    /// # Errors
    /// [`Error::Key`] if the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Key)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Key)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Takes a key in PKCS#8 form (DER, unencrypted).
    ///
    /// # Errors
    /// [`Error::Key`] if it is not an RSA key of at least 2048 bits.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        KeyPair::from_pkcs8(pkcs8).map_err(|_| Error::Key)?;
        let pem = pem("PRIVATE KEY", pkcs8);
        let encoding = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| Error::Key)?;
        let mut jwk =
            Jwk::from_encoding_key(&encoding, Algorithm::RS256).map_err(|_| Error::Key)?;
        let key_id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| Error::Key)?;
        jwk.common.key_id = Some(key_id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| Error::Key)?;
        let pkcs8 = pkcs8.to_vec();
        Ok(Self { inner: Arc::new(Keys { pkcs8, encoding, decoding, jwk, key_id }) })
    }

    /// The `kid` of the key: its thumbprint (RFC 7638).
    pub fn key_id(&self) -> &str {
        &self.inner.key_id
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.inner.pkcs8
    }

    /// The public half, as it stands in the key set (RFC 7517).
    pub(crate) fn jwk(&self) -> &Jwk {
        &self.inner.jwk
    }

    /// A signed JWT with this `typ`.
    pub(crate) fn sign(
        &self,
        typ: &str,
        claims: &impl Serialize,
    ) -> jsonwebtoken::errors::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.inner.key_id.clone());
        header.typ = Some(typ.to_owned());
        jsonwebtoken::encode(&header, claims, &self.inner.encoding)
    }

    /// The claims of a JWT that this key signed for `issuer` with this `typ`. Time is the
    /// caller's matter.
    pub(crate) fn verify<T: DeserializeOwned>(
        &self,
        typ: &str,
        issuer: &str,
        token: &str,
    ) -> Option<T> {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["iss", "exp"]);
        validation.set_issuer(&[issuer]);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let data = jsonwebtoken::decode::<T>(token, &self.inner.decoding, &validation).ok()?;
        (data.header.typ.as_deref() == Some(typ)).then_some(data.claims)
    }

    /// The public half as PEM text (`SubjectPublicKeyInfo`).
    #[cfg(feature = "misbehave")]
    pub(crate) fn public_key_pem(&self) -> String {
        use aws_lc_rs::{encoding::PublicKeyX509Der, signature::KeyPair as _};

        let pair = KeyPair::from_pkcs8(&self.inner.pkcs8).expect("was parsed when this was made");
        let der: PublicKeyX509Der<'_> =
            pair.public_key().as_der().expect("a public key can be encoded");
        pem("PUBLIC KEY", der.as_ref())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.inner.key_id).finish_non_exhaustive()
    }
}

/// RFC 7468: lines of 64 characters.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut lines = String::new();
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::SigningKey;

    #[test]
    fn verification_asks_for_type_issuer_and_key() {
        let key = SigningKey::generate().unwrap();
        let token = key.sign("at+jwt", &json!({"iss": "http://localhost", "exp": 1})).unwrap();
        assert!(key.verify::<Value>("at+jwt", "http://localhost", &token).is_some());
        assert!(key.verify::<Value>("JWT", "http://localhost", &token).is_none());
        assert!(key.verify::<Value>("at+jwt", "http://elsewhere", &token).is_none());
        let other = SigningKey::generate().unwrap();
        assert!(other.verify::<Value>("at+jwt", "http://localhost", &token).is_none());
        let bare = key.sign("at+jwt", &json!({"exp": 1})).unwrap();
        assert!(key.verify::<Value>("at+jwt", "http://localhost", &bare).is_none());
    }
}
