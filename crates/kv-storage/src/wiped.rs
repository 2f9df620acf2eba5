use zeroize::Zeroize;

/// Bytes that are overwritten with zeros when they are dropped.
///
/// `Zeroizing<Vec<u8>>` is the same one byte after the other, which takes longer than all else
/// that is done with a value.
#[derive(Default)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    pub(crate) const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        // What was cut off may still lie behind the end.
        self.0.resize(self.0.capacity(), 0);
        self.0.as_mut_slice().zeroize();
    }
}
