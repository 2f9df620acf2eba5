//! Pages of a scan in stores that keep their keys in order.

use crate::Cursor;

/// The keys that a page can hold: from the first value on, before the second.
pub(crate) fn range(prefix: &str, cursor: Option<Cursor>) -> (Vec<u8>, Vec<u8>) {
    let mut start = prefix.as_bytes().to_vec();
    if let Some(Cursor(last)) = cursor
        && last >= start
    {
        // The least key that is greater than the last one seen.
        start = last;
        start.push(0);
    }
    // No byte of UTF-8 is 0xff: the last one can be counted up, and 0xff itself is after all keys.
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0xff),
    }
    (start, end)
}
