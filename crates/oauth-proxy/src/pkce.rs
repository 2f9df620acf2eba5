//! Proof Key for Code Exchange (RFC 7636), S256 only: toward clients, and toward the provider.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The shortest verifier (RFC 7636 §4.1).
const MIN_VERIFIER_BYTES: usize = 43;

/// The longest verifier (RFC 7636 §4.1).
const MAX_VERIFIER_BYTES: usize = 128;

/// The base64url length of a SHA-256: an S256 challenge has no other.
const CHALLENGE_BYTES: usize = 43;

/// Whether this can be an S256 challenge: the base64url form of 32 bytes, without padding.
pub(crate) fn check_challenge(challenge: &str) -> bool {
    challenge.len() == CHALLENGE_BYTES && URL_SAFE_NO_PAD.decode(challenge).is_ok()
}

/// Whether `verifier` is well formed and its S256 challenge is `challenge` (RFC 7636 §4.6).
///
/// The comparison takes constant time.
pub(crate) fn verify_s256(verifier: &str, challenge: &str) -> bool {
    check_verifier(verifier)
        && self::challenge(verifier).as_bytes().ct_eq(challenge.as_bytes()).into()
}

/// 43 to 128 unreserved characters (RFC 7636 §4.1).
fn check_verifier(verifier: &str) -> bool {
    (MIN_VERIFIER_BYTES..=MAX_VERIFIER_BYTES).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// The S256 challenge of a verifier (RFC 7636 §4.2).
pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, Appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_vector_of_the_rfc_holds() {
        assert_eq!(challenge(VERIFIER), CHALLENGE);
        assert!(check_challenge(CHALLENGE));
        assert!(verify_s256(VERIFIER, CHALLENGE));
    }

    #[test]
    fn another_verifier_or_challenge_fails() {
        assert!(!verify_s256(&VERIFIER.replace('d', "e"), CHALLENGE));
        assert!(!verify_s256(VERIFIER, &CHALLENGE.replace('E', "F")));
        assert!(!verify_s256(VERIFIER, ""));
        // The `plain` method: the challenge is the verifier itself.
        assert!(!verify_s256(VERIFIER, VERIFIER));
    }

    #[test]
    fn a_verifier_out_of_bounds_fails_even_if_its_hash_fits() {
        for (length, fits) in [(42, false), (43, true), (128, true), (129, false)] {
            let verifier = "a".repeat(length);
            assert_eq!(verify_s256(&verifier, &challenge(&verifier)), fits, "{length}");
        }
        let verifier = format!("{}+", "a".repeat(43));
        assert!(!verify_s256(&verifier, &challenge(&verifier)));
    }

    #[test]
    fn a_challenge_is_32_bytes_in_base64url() {
        assert!(!check_challenge(&CHALLENGE[1..]));
        assert!(!check_challenge(&format!("{CHALLENGE}A")));
        assert!(!check_challenge(&CHALLENGE.replace('-', "+")));
        assert!(!check_challenge(&format!("{}=", &CHALLENGE[1..])));
        // The last character carries two bits that must be zero.
        assert!(!check_challenge(&format!("{}N", &CHALLENGE[..42])));
        assert!(!check_challenge(""));
    }
}
