//! URLs that name a place on this machine: `scheme:///an/absolute/path`.

use std::path::PathBuf;

use super::{Scheme, wrong};
use crate::Result;

/// The path of a file.
pub(super) fn file(scheme: &Scheme, rest: &str) -> Result<PathBuf> {
    if rest == ":memory:" {
        return Err(wrong(scheme, "for a store in memory give memory:"));
    }
    let path = absolute(scheme, rest)?;
    if rest.ends_with('/') {
        return Err(wrong(scheme, "the path must name a file, not a directory"));
    }
    Ok(path)
}

/// The path of a directory.
pub(super) fn directory(scheme: &Scheme, rest: &str) -> Result<PathBuf> {
    let path = absolute(scheme, rest)?;
    if path.file_name().is_none() {
        return Err(wrong(scheme, "the path must name a directory of its own"));
    }
    Ok(path)
}

/// What follows `scheme:` as a path; a URL that says more than that is refused.
fn absolute(scheme: &Scheme, rest: &str) -> Result<PathBuf> {
    let refused = |reason| Err(wrong(scheme, reason));
    let Some(path) = rest.strip_prefix("//") else {
        return refused("the path must be absolute and follow three slashes");
    };
    if path.contains(['?', '#']) {
        return refused("it takes no options; a ? or # in the path is written %3F or %23");
    }
    if !path.starts_with('/') {
        return refused("the path must be absolute, and no host may stand before it");
    }
    match percent_decode(path) {
        Some(path) if !path.contains('\0') => Ok(path.into()),
        _ => refused("a % in the path is written %25, and the decoded path must be UTF-8"),
    }
}

/// Undoes RFC 3986 §2.1.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(decoded).ok()
}
