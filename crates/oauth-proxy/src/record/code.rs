//! An authorization code that we issued (D3): immutable, and its own tombstone.

use serde::{Deserialize, Serialize};

use crate::store::Record;

/// Stored under the SHA-256 of the code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CodeRecord {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) code_challenge: String,
    pub(crate) resource: String,
    pub(crate) grant_id: String,
    /// Unix seconds.
    pub(crate) redeem_until: u64,
    /// Joins the steps of this login in logs and audit; no secret.
    #[serde(default)]
    pub(crate) login: String,
}

impl Record for CodeRecord {
    const COLLECTION: &'static str = "codes";
    const FORMAT: u8 = 1;
}
