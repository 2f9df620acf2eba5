//! Records that hold nothing: their key says it all.

use serde::{Deserialize, Serialize};

use crate::store::Record;

/// Something that may happen once has happened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Once;

impl Record for Once {
    const COLLECTION: &'static str = "once";
    const FORMAT: u8 = 1;
}

/// A grant belongs to a subject; the key is HMAC(issuer, subject) and the grant id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BySubject;

impl Record for BySubject {
    const COLLECTION: &'static str = "by_subject";
    const FORMAT: u8 = 1;
}
