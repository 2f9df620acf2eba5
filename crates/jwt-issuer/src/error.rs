//! What can go wrong. No message repeats a key, a token or a plaintext.

use crate::key::MIN_MASTER_KEY_BYTES;

/// Why a key was not accepted, or a text could not be sealed, signed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The master key is too short to be a random secret of the strength that we need.
    #[error("a master key needs at least {MIN_MASTER_KEY_BYTES} bytes, this one has {bytes}")]
    KeyTooShort {
        /// Its length.
        bytes: usize,
    },
    /// The text given as a master key is not base64url (RFC 4648 §5).
    #[error("the master key is not base64url")]
    KeyEncoding,
    /// The sealed text was altered, belongs to another context, purpose or issuer, or was sealed
    /// under a key that is not in the ring. Which of these is deliberately not told.
    #[error("the sealed text does not open")]
    Sealed,
    /// The claims could not be signed.
    #[error("the access token could not be signed")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why an access token was not accepted.
///
/// The messages are ASCII, hold nothing of the token, and may be told to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not three base64url parts with a JSON header that names a known algorithm.
    /// `"alg": "none"` ends here too.
    #[error("the token is not a well-formed JWT")]
    Malformed,
    /// Signed with an algorithm that we never use, whatever the key.
    #[error("the token's algorithm is not ours")]
    Algorithm,
    /// `typ` is not `at+jwt` (RFC 9068 §2.1), or the header has critical extensions.
    #[error("the token is not an access token")]
    Type,
    /// `kid` is missing or names no key of the ring.
    #[error("the token's key is not known")]
    UnknownKey,
    /// The signature does not match: altered, or not ours.
    #[error("the token's signature does not match")]
    Signature,
    /// A claim is missing, has the wrong type or contradicts another.
    #[error("the token's claims are not complete")]
    Claims,
    /// `iss` is another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// `exp` has come.
    #[error("the token has expired")]
    Expired,
    /// `iat` lies further in the future than clocks may differ.
    #[error("the token is not valid yet")]
    NotYetValid,
}
