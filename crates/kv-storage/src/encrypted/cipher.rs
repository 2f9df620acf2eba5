use std::fmt;

use zeroize::Zeroizing;

use crate::Result;

/// Seals and opens bytes for [`Encrypted`](crate::Encrypted): authenticated encryption with
/// a ring of keys, of which the first seals and all open.
pub trait Cipher: Send + Sync + fmt::Debug + 'static {
    /// Encrypts `payload` so that it opens for this `binding` only.
    ///
    /// # Errors
    ///
    /// Whatever keeps the cipher from sealing safely; it never returns less than sealed bytes.
    fn seal(&self, binding: &[u8], payload: &[u8]) -> Result<Vec<u8>>;

    /// The payload; `None` unless `sealed` was made by [`seal`](Self::seal) with one of the keys
    /// for this very `binding`.
    fn open(&self, binding: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>>;
}
