//! `memory:`, and the bounds that may follow it.

use super::{Scheme, wrong};
use crate::Result;

/// What a URL says of each collection; what it does not say is left to `Memory`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct MemoryBounds {
    pub(crate) max_entries: Option<usize>,
    pub(crate) max_bytes: Option<usize>,
}

/// Reads what follows the scheme's colon.
pub(super) fn bounds(scheme: &Scheme, rest: &str) -> Result<MemoryBounds> {
    let mut bounds = MemoryBounds::default();
    if rest.is_empty() {
        return Ok(bounds);
    }
    let refused = |reason| Err(wrong(scheme, reason));
    let Some(options) = rest.strip_prefix('?') else {
        return refused("it takes no path, only options");
    };
    for option in options.split('&') {
        let (bound, value) = match option.split_once('=') {
            Some(("max_entries", value)) => (&mut bounds.max_entries, value),
            Some(("max_bytes", value)) => (&mut bounds.max_bytes, value),
            _ => return refused("its options are max_entries and max_bytes"),
        };
        if bound.is_some() {
            return refused("an option is given twice");
        }
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse() {
            Ok(number) if digits && number > 0 => *bound = Some(number),
            _ => return refused("max_entries and max_bytes are whole numbers from 1 on"),
        }
    }
    Ok(bounds)
}
