use aws_lc_rs::{
    aead::{AES_256_GCM, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    cipher::{AES_256, EncryptingKey, UnboundCipherKey},
};
use zeroize::Zeroizing;

use super::KEY_BYTES;

/// So many random bytes that no two values ever share them.
pub(super) const NONCE_BYTES: usize = 24;

const BLOCK_BYTES: usize = 16;

/// The constant for doubling in GF(2^128) (NIST SP 800-38B §5.3).
const R_128: u128 = 0x87;

/// A key of [XAES-256-GCM](https://c2sp.org/XAES-256-GCM): AES-256-GCM with nonces of 192 bits, of
/// which 96 make a key for AES-GCM, by CMAC in counter mode (NIST SP 800-108 §4.1), and the others
/// are its nonce.
pub(super) struct Xaes {
    key: EncryptingKey,
    /// CMAC's first subkey, for messages of a whole block.
    subkey: Zeroizing<u128>,
}

impl Xaes {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Self {
        let key = UnboundCipherKey::new(&AES_256, key).and_then(EncryptingKey::ecb);
        let key = key.expect("the key is as long as AES-256 wants it");
        let mut zeros = Zeroizing::new([0; BLOCK_BYTES]);
        encrypt(&key, &mut *zeros);
        let block = Zeroizing::new(u128::from_be_bytes(*zeros));
        let subkey = Zeroizing::new((*block << 1) ^ (R_128 * (*block >> 127)));
        Self { key, subkey }
    }

    /// The key of the one value that has this nonce, and the rest of the nonce.
    pub(super) fn one_time(&self, nonce: &[u8; NONCE_BYTES]) -> (LessSafeKey, Nonce) {
        let (for_key, rest) = nonce.split_at(NONCE_BYTES - NONCE_LEN);
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (counter, block) in (1..).zip(key.chunks_exact_mut(BLOCK_BYTES)) {
            // A counter of two bytes, the purpose, and zero: the nonce fills the block.
            block[..4].copy_from_slice(&[0, counter, b'X', 0]);
            block[4..].copy_from_slice(for_key);
            for (byte, of_subkey) in block.iter_mut().zip(self.subkey.to_be_bytes()) {
                *byte ^= of_subkey;
            }
        }
        encrypt(&self.key, &mut *key);
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice());
        let key = LessSafeKey::new(key.expect("the key is as long as AES-256 wants it"));
        (key, Nonce::try_assume_unique_for_key(rest).expect("half of the nonce is left"))
    }
}

/// Encrypts each block by itself.
fn encrypt(key: &EncryptingKey, blocks: &mut [u8]) {
    key.encrypt(blocks).expect("there are whole blocks");
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::Aad;

    use super::{KEY_BYTES, NONCE_BYTES, Xaes};

    const NONCE: &[u8; NONCE_BYTES] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

    fn seal(key: [u8; KEY_BYTES], associated: &[u8]) -> String {
        let (key, nonce) = Xaes::new(&key).one_time(NONCE);
        let mut sealed = b"XAES-256-GCM".to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(associated), &mut sealed).unwrap();
        sealed.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    /// The two of the specification: doubling without and with a carry.
    #[test]
    fn the_vectors_of_the_specification_hold() {
        let sealed = seal([1; KEY_BYTES], b"");
        assert_eq!(sealed, "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271");
        let sealed = seal([3; KEY_BYTES], b"c2sp.org/XAES-256-GCM");
        assert_eq!(sealed, "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d");
    }
}
