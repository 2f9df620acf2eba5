//! Records that hold next to nothing: their key says it all.

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

/// A grant belongs to a client; the key is SHA-256(client id) and the grant id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ByClient;

impl Record for ByClient {
    const COLLECTION: &'static str = "by_client";
    const FORMAT: u8 = 1;
}

/// Logins of somebody that began no later than this come to nothing; the key says whose.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NotBefore {
    /// Unix seconds.
    pub(crate) at: u64,
}

impl Record for NotBefore {
    const COLLECTION: &'static str = "not_before";
    const FORMAT: u8 = 1;
}
