use std::{fmt, ops::Deref};

use zeroize::Zeroize;

/// Bytes that are overwritten with zeros when they are dropped.
///
/// `Zeroizing<Vec<u8>>` is the same one byte after the other, which takes longer than all else
/// that is done with a value.
#[derive(Eq, PartialEq)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    /// Takes the bytes, with what room there is behind them.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Shows the length only: the bytes are secrets.
impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiped({} bytes)", self.0.len())
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // What was cut off may still lie behind the end.
        self.0.resize(self.0.capacity(), 0);
        self.0.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::Wiped;

    #[test]
    fn debug_shows_the_length_only() {
        let mut bytes = b"secret and more".to_vec();
        bytes.truncate(6);
        let wiped = Wiped::new(bytes);
        assert_eq!((&*wiped, format!("{wiped:?}")), (&b"secret"[..], "Wiped(6 bytes)".to_owned()));
    }
}
