use crate::Wiped;

/// The format that is written; a later one opens the earlier ones as well.
const FORMAT: u8 = 1;

/// Where in a payload the value begins.
pub(super) const VALUE_OFFSET: usize = size_of::<u64>();

/// The stored expiry of what never expires.
const NEVER: u64 = u64::MAX;

/// Where a sealed value belongs, in one unambiguous string of bytes.
pub(super) fn binding(deployment: &str, collection: &str, key: &str) -> Vec<u8> {
    let parts = [deployment, collection, key];
    let length: usize = parts.iter().map(|part| size_of::<u32>() + part.len()).sum();
    let mut binding = Vec::with_capacity(1 + length);
    binding.push(FORMAT);
    for part in parts {
        // Nothing near four gigabytes gets here: the parts come from the configuration or are
        // limited to a few kilobytes.
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        binding.extend_from_slice(&length.to_be_bytes());
        binding.extend_from_slice(part.as_bytes());
    }
    binding
}

/// What is sealed: the value, and when it expires in Unix milliseconds.
pub(super) struct Payload<'a> {
    pub(super) expires_at: Option<i64>,
    pub(super) value: &'a [u8],
}

impl<'a> Payload<'a> {
    pub(super) fn encode(&self) -> Wiped {
        // A time before 1970 is as expired as the epoch itself.
        let expires_at = self.expires_at.map_or(NEVER, |at| u64::try_from(at).unwrap_or(0));
        Wiped::new([&expires_at.to_be_bytes(), self.value].concat())
    }

    pub(super) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (expires_at, value) = payload.split_first_chunk()?;
        let expires_at = match u64::from_be_bytes(*expires_at) {
            NEVER => None,
            at => Some(i64::try_from(at).unwrap_or(i64::MAX)),
        };
        Some(Self { expires_at, value })
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, binding};

    #[test]
    fn the_binding_is_laid_out_as_documented() {
        assert_eq!(
            binding("https://a", "codes", "k"),
            b"\x01\0\0\0\x09https://a\0\0\0\x05codes\0\0\0\x01k"
        );
    }

    #[test]
    fn moving_a_border_between_the_parts_changes_the_binding() {
        assert_ne!(binding("d", "ab", "c"), binding("d", "a", "bc"));
        assert_ne!(binding("da", "b", "c"), binding("d", "ab", "c"));
    }

    #[test]
    fn the_payload_is_laid_out_as_documented() {
        let with_expiry = Payload { expires_at: Some(0x0102), value: b"v" }.encode();
        assert_eq!(*with_expiry, *b"\0\0\0\0\0\0\x01\x02v");
        let forever = Payload { expires_at: None, value: b"" }.encode();
        assert_eq!(*forever, [0xff; 8]);
    }

    #[test]
    fn payloads_come_back_as_they_went() {
        for expires_at in [None, Some(0), Some(1), Some(i64::MAX)] {
            let payload = Payload { expires_at, value: b"value" }.encode();
            let decoded = Payload::decode(&payload).unwrap();
            assert_eq!((decoded.expires_at, decoded.value), (expires_at, &b"value"[..]));
        }
    }

    #[test]
    fn a_payload_without_room_for_the_expiry_is_none() {
        assert!(Payload::decode(&[0; 7]).is_none());
    }
}
