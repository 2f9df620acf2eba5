//! Randomness and digests.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// `N` bytes from the operating system's random number generator.
///
/// # Panics
///
/// If the operating system has no randomness to give: nothing safe can be done then.
pub fn random_bytes<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).expect("the operating system provides randomness");
    bytes
}

/// `N` random bytes as base64url without padding, for states, codes and identifiers.
///
/// # Panics
///
/// As [`random_bytes`].
pub fn random_token<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<N>().as_slice())
}

/// The SHA-256 of `data` as base64url without padding: the form in which one-time secrets rest,
/// and PKCE's `S256` transformation (RFC 7636 §4.2).
pub fn sha256_base64url(data: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_pkce_s256() {
        // RFC 7636 Appendix B.
        let challenge = sha256_base64url(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn tokens_have_the_length_asked_for_and_differ() {
        assert_eq!(random_token::<16>().len(), 22);
        assert_eq!(random_token::<32>().len(), 43);
        assert_ne!(random_token::<16>(), random_token::<16>());
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
    }
}
