//! Where a record lies: `prefix:collection:key`.

/// How many slots the keys of a Cluster are spread over.
pub(super) const SLOTS: u16 = 16384;

/// The names of the records of one store.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The key in Redis. Neither prefix nor collection holds a colon, so no two records share one.
    pub(super) fn physical(&self, collection: &str, key: &str) -> Vec<u8> {
        [&self.prefix, ":", collection, ":", key].concat().into_bytes()
    }

    /// A `MATCH` pattern for the keys that begin with `prefix`.
    pub(super) fn pattern(&self, collection: &str, prefix: &str) -> Vec<u8> {
        let literal = self.physical(collection, prefix);
        let mut pattern = Vec::with_capacity(literal.len() + 1);
        for byte in literal {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// How many bytes stand before a record's key.
    fn start(&self, collection: &str) -> usize {
        self.prefix.len() + collection.len() + 2
    }

    /// The record's key, if the key in Redis is one of the collection.
    pub(super) fn logical(&self, collection: &str, mut physical: Vec<u8>) -> Option<String> {
        let start = self.start(collection);
        if physical.len() < start {
            return None;
        }
        physical.drain(..start);
        String::from_utf8(physical).ok()
    }
}

/// The slot of a key: CRC-16 (XMODEM) of it, or of what is between its first braces.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|&byte| byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_under_prefix_and_collection() {
        let keys = Keys::new("kv".into());
        assert_eq!(keys.physical("codes", "a:b"), b"kv:codes:a:b");
        assert_eq!(keys.logical("codes", b"kv:codes:a:b".to_vec()), Some("a:b".into()));
        assert_eq!(keys.logical("codes", b"kv:codes:".to_vec()), Some(String::new()));
        assert_eq!(keys.logical("codes", b"kv:codes:\xff".to_vec()), None);
        assert_eq!(keys.logical("codes", b"kv".to_vec()), None);
    }

    #[test]
    fn patterns_are_literal() {
        let keys = Keys::new("kv".into());
        assert_eq!(keys.pattern("codes", "a*[b]?\\"), br"kv:codes:a\*\[b\]\?\\*");
    }

    /// The check value of CRC-16/XMODEM, and the examples of the Cluster specification.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }
}
