//! A revocation that the provider is to hear of.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    record::{grant::Lease, secret},
    store::Record,
};

/// Stored under a random id, until the provider has heard of it or nobody cares any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// The provider's token that is no longer needed.
    #[serde(with = "secret")]
    pub(crate) token: SecretString,
    /// The grant that held the token, if one ever did: told only when it is gone.
    pub(crate) grant_id: Option<String>,
    /// Whose token it is.
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// Unix seconds.
    pub(crate) created_at: u64,
    /// How often the provider did not take it.
    pub(crate) tries: u32,
    /// Unix seconds.
    pub(crate) next_try: u64,
    /// Which replica is telling the provider right now.
    pub(crate) telling: Option<Lease>,
}

impl Record for Notice {
    const COLLECTION: &'static str = "outbox";
    const FORMAT: u8 = 1;
}
