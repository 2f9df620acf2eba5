use std::fmt;

use crate::{Result, Wiped};

/// Seals and opens bytes for [`Encrypted`](crate::Encrypted): authenticated encryption with
/// a ring of keys, of which the first seals and all open.
pub trait Cipher: Send + Sync + fmt::Debug + 'static {
    /// The cipher for the values of one deployment; [`Encrypted`](crate::Encrypted) asks for it
    /// once, before all else.
    ///
    /// A cipher that derives its keys makes them the deployment's; one that takes keys as they
    /// are stays what it is.
    #[must_use]
    fn for_deployment(self, _deployment: &str) -> Self
    where
        Self: Sized,
    {
        self
    }

    /// Encrypts `payload` so that it opens for this `binding` only.
    ///
    /// # Errors
    ///
    /// Whatever keeps the cipher from sealing safely; it never returns less than sealed bytes.
    fn seal(&self, binding: &[u8], payload: &[u8]) -> Result<Vec<u8>>;

    /// The payload; `None` unless `sealed` was made by [`seal`](Self::seal) with one of the keys
    /// for this very `binding`.
    fn open(&self, binding: &[u8], sealed: &[u8]) -> Option<Wiped>;
}
