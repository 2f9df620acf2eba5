//! Where a list goes on, as text that a command line or a URL can carry.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kv_storage::Cursor;

/// Where a list goes on. Opaque: only the list that made it can use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCursor(String);

impl PageCursor {
    /// A cursor as it was printed; whether it is one shows when it is used.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Letters, digits, `-`, `_` and `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn new(part: usize, cursor: Option<&Cursor>) -> Self {
        let bytes = cursor.map(|cursor| BASE64_URL_SAFE_NO_PAD.encode(cursor.as_bytes()));
        Self(match bytes {
            Some(bytes) => format!("{part}.{bytes}"),
            None => part.to_string(),
        })
    }

    /// `None` if it was not made here.
    pub(super) fn position(&self) -> Option<(usize, Option<Cursor>)> {
        let Some((part, bytes)) = self.0.split_once('.') else {
            return Some((self.0.parse().ok()?, None));
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(bytes).ok()?;
        Some((part.parse().ok()?, Some(Cursor::new(bytes))))
    }
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_as_text() {
        for (part, cursor) in [(0, None), (2, Some(Cursor::new(b"\0key/\xff".to_vec())))] {
            let made = PageCursor::new(part, cursor.as_ref());
            assert!(
                made.as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            );
            assert_eq!(PageCursor::from_text(made.to_string()).position(), Some((part, cursor)));
        }
        for text in ["", "x", "0.!", "-1", "0.a.b"] {
            assert_eq!(PageCursor::from_text(text).position(), None, "{text}");
        }
    }
}
