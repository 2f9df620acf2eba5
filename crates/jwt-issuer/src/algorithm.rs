//! What tokens are signed with.

use std::{fmt, str::FromStr};

use jsonwebtoken::Algorithm;

/// What new tokens are signed with (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// Whatever is chosen, tokens of all of them are accepted, each under its own key only: changing
/// the algorithm invalidates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// HMAC with SHA-256: only who has the master key can verify.
    #[default]
    Hs256,
    /// ECDSA on P-256 with SHA-256: everybody can verify with the public key.
    Es256,
    /// Ed25519: everybody can verify with the public key.
    EdDsa,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hs256, Self::Es256, Self::EdDsa];

    /// The name in a token's header: `HS256`, `ES256` or `EdDSA`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Whether others can verify what is signed, with a key that they may know.
    pub fn is_asymmetric(self) -> bool {
        self != Self::Hs256
    }

    pub(crate) fn to_jwa(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no [`SigningAlgorithm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is none of HS256, ES256, EdDSA")]
pub struct UnknownAlgorithm;

/// From the name in a token's header.
impl FromStr for SigningAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_header() {
        for algorithm in SigningAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), format!("{:?}", algorithm.to_jwa()));
        }
        for unknown in ["", "none", "hs256", "RS256", "EDDSA"] {
            assert_eq!(unknown.parse::<SigningAlgorithm>(), Err(UnknownAlgorithm), "{unknown}");
        }
    }
}
