//! Signing keys for every algorithm, derived from master keys.
//!
//! A key pair is computed from the master key, just as the HMAC keys are, so that one string
//! serves every algorithm on every replica, and rotating it rotates them all:
//!
//! - An Ed25519 private key *is* 32 uniformly random bytes (RFC 8032 §5.1.5); HKDF's output is as
//!   good (RFC 5869 §3.1).
//! - A P-256 private key is a number from 1 to n − 1. Candidates come from HKDF, each under a label
//!   of its own, and the first one in range is taken: testing candidates, FIPS 186-5 A.2.2, with
//!   HKDF as the random bit generator. About one in 2³² is out of range.
//!
//! Their [`kid`](SigningKey::kid) is the thumbprint of the public key (RFC 7638): a resource server
//! that keeps key sets never finds another key under a name that it knows.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey, EncodingKey,
    jwk::{Jwk, PublicKeyUse, ThumbprintHash},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{KeyRing, MasterKey, SigningAlgorithm, key::Usage};

/// PKCS#8 (RFC 5208) for Ed25519 (RFC 8410 §7) up to the 32 bytes of the private key.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// PKCS#8 for P-256 (RFC 5915 §3, without the public key) up to the 32 bytes of the private key.
const P256_PKCS8: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// The order of P-256 (SEC 2 §2.4.2), most significant byte first.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// A key that signs and verifies with one algorithm.
#[derive(Clone)]
pub(crate) struct SigningKey {
    pub(crate) algorithm: SigningAlgorithm,
    /// The master key's id for HS256, else the public key's thumbprint.
    pub(crate) kid: String,
    pub(crate) signs: EncodingKey,
    pub(crate) verifies: DecodingKey,
    /// The public key as it is published; `None` for HS256.
    public: Option<Jwk>,
}

impl SigningKey {
    /// The key of `master` for `usage` of `issuer` with `algorithm`.
    pub(crate) fn derive(
        master: &MasterKey,
        usage: Usage,
        algorithm: SigningAlgorithm,
        issuer: &str,
    ) -> Self {
        match algorithm {
            SigningAlgorithm::Hs256 => {
                let secret = master.derive(usage, algorithm.as_str(), issuer);
                Self::symmetric(master, secret.as_slice())
            }
            SigningAlgorithm::Es256 => {
                let scalar = p256_scalar(|attempt| {
                    master.derive(usage, &format!("{algorithm}/{attempt}"), issuer)
                });
                let der = pkcs8(&P256_PKCS8, &scalar);
                Self::asymmetric(algorithm, EncodingKey::from_ec_der(&der))
            }
            SigningAlgorithm::EdDsa => {
                let der = pkcs8(&ED25519_PKCS8, &master.derive(usage, algorithm.as_str(), issuer));
                Self::asymmetric(algorithm, EncodingKey::from_ed_der(&der))
            }
        }
    }

    /// The HS256 key with the text `secret`, under the id of the master key that it came from.
    pub(crate) fn shared(master: &MasterKey, secret: &SecretString) -> Self {
        Self::symmetric(master, secret.expose_secret().as_bytes())
    }

    fn symmetric(master: &MasterKey, secret: &[u8]) -> Self {
        Self {
            algorithm: SigningAlgorithm::Hs256,
            kid: master.id().to_string(),
            signs: EncodingKey::from_secret(secret),
            verifies: DecodingKey::from_secret(secret),
            public: None,
        }
    }

    fn asymmetric(algorithm: SigningAlgorithm, signs: EncodingKey) -> Self {
        const SOUND: &str = "the private key is in range and its form is fixed";
        let mut public = Jwk::from_encoding_key(&signs, algorithm.to_jwa()).expect(SOUND);
        let kid = public.thumbprint(ThumbprintHash::SHA256).expect(SOUND);
        let verifies = DecodingKey::from_jwk(&public).expect(SOUND);
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Self { algorithm, kid, signs, verifies, public: Some(public) }
    }
}

impl KeyRing {
    /// The JWK set (RFC 7517 §5) with which others verify what is signed for `issuer`: access
    /// tokens and assertions, under every key of the ring, also one that does not sign yet or any
    /// more. `{"keys":[]}` for HS256, which only we can verify.
    pub fn public_keys(&self, algorithm: SigningAlgorithm, issuer: &str) -> Value {
        let keys: Vec<Jwk> = [Usage::AccessToken, Usage::Assertion]
            .into_iter()
            .flat_map(|usage| self.signing_keys(usage, algorithm, issuer))
            .filter_map(|key| key.public)
            .collect();
        json!({ "keys": keys })
    }

    /// The keys of the whole ring, the current one first.
    pub(crate) fn signing_keys(
        &self,
        usage: Usage,
        algorithm: SigningAlgorithm,
        issuer: &str,
    ) -> impl Iterator<Item = SigningKey> {
        self.masters().map(move |master| SigningKey::derive(master, usage, algorithm, issuer))
    }
}

/// The secret as text: the characters themselves are the HMAC key, so that whoever verifies can
/// use them as they were given.
pub(crate) fn shared_secret(
    master: &MasterKey,
    usage: Usage,
    purpose: &str,
    issuer: &str,
) -> SecretString {
    URL_SAFE_NO_PAD.encode(master.derive(usage, purpose, issuer).as_slice()).into()
}

fn pkcs8(prefix: &[u8], private: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut der = Zeroizing::new(Vec::with_capacity(prefix.len() + private.len()));
    der.extend_from_slice(prefix);
    der.extend_from_slice(private);
    der
}

/// The first candidate from 1 to n − 1.
fn p256_scalar(candidate: impl FnMut(u8) -> Zeroizing<[u8; 32]>) -> Zeroizing<[u8; 32]> {
    (0..=u8::MAX)
        .map(candidate)
        .find(|scalar| **scalar != [0; 32] && **scalar < P256_ORDER)
        .expect("256 candidates are not all out of range")
}

#[cfg(test)]
mod tests;
