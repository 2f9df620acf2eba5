//! How keys and records are laid out.

use bytes::Bytes;

use crate::{Cursor, Entry, Version};

/// Between collection and key: no collection's name holds it.
const SEPARATOR: u8 = 0;

/// The stored expiry of what never expires.
const NEVER: i64 = i64::MAX;

/// Where in a record the value begins.
const VALUE_OFFSET: usize = Version::LENGTH + size_of::<i64>();

/// A record as it was read.
pub(super) struct Record {
    pub(super) entry: Entry,
    pub(super) expires_at: Option<i64>,
}

impl Record {
    /// `None` if it cannot be what [`encode`](Self::encode) made.
    pub(super) fn decode(stored: &[u8]) -> Option<Self> {
        let (version, rest) = stored.split_first_chunk::<{ Version::LENGTH }>()?;
        let (expires_at, value) = rest.split_first_chunk()?;
        let expires_at = match i64::from_be_bytes(*expires_at) {
            NEVER => None,
            at => Some(at),
        };
        let value = Bytes::copy_from_slice(value);
        Some(Self { entry: Entry { value, version: Version::from_bytes(*version) }, expires_at })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut stored = Vec::with_capacity(VALUE_OFFSET + self.entry.value.len());
        stored.extend_from_slice(self.entry.version.as_bytes());
        stored.extend_from_slice(&self.expires_at.unwrap_or(NEVER).to_be_bytes());
        stored.extend_from_slice(&self.entry.value);
        stored
    }

    pub(super) fn is_live(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// The key under which a record rests.
pub(super) fn key(collection: &str, key: &str) -> Vec<u8> {
    [collection.as_bytes(), &[SEPARATOR], key.as_bytes()].concat()
}

/// The caller's part of a key at rest.
pub(super) fn caller_s_key(stored: &[u8]) -> Option<&str> {
    let separator = stored.iter().position(|&byte| byte == SEPARATOR)?;
    std::str::from_utf8(&stored[separator + 1..]).ok()
}

/// The keys at rest that a page can hold: from the first value on, before the second.
pub(super) fn range(collection: &str, prefix: &str, cursor: Option<Cursor>) -> [Vec<u8>; 2] {
    let mut start = key(collection, prefix);
    // No byte of UTF-8 is 0xff, nor is the separator: the last byte can be counted up.
    let mut end = start.clone();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    if let Some(Cursor(last)) = cursor {
        let last = [collection.as_bytes(), &[SEPARATOR], &last].concat();
        if last >= start && last < end {
            // The least key that is greater than the last one seen.
            start = last;
            start.push(0);
        }
    }
    [start, end]
}
