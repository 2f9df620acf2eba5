//! One approved authorization on its way through the provider.

use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{record::secret, scope::ScopeSet, store::Record};

/// What the client asked for at the authorization endpoint, after all checks.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Authorization {
    /// Joins the steps of this login in logs and audit; no secret.
    #[serde(default)]
    pub(crate) login: String,
    pub(crate) client: ClientSnapshot,
    pub(crate) redirect_uri: String,
    /// The client's `state`, to be returned as it came.
    pub(crate) state: Option<String>,
    /// The client's PKCE challenge (S256).
    pub(crate) code_challenge: String,
    pub(crate) scopes: ScopeSet,
    /// Canonical resource URL (RFC 8707).
    pub(crate) resource: String,
}

/// What later steps need to know of the client, even if its registration is gone by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientSnapshot {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// Whether the client may refresh.
    pub(crate) refreshes: bool,
    /// Whether it proves who it is with an assertion that it signs (`private_key_jwt`).
    #[serde(default)]
    pub(crate) signs: bool,
}

/// Stored under the SHA-256 of the `state` that went to the provider.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub(crate) authorization: Authorization,
    /// Our PKCE verifier toward the provider.
    #[serde(with = "secret")]
    pub(crate) code_verifier: SecretString,
    /// Expected in the ID token.
    #[serde(with = "secret")]
    pub(crate) nonce: SecretString,
    /// SHA-256 of the cookie that ties the transaction to one browser.
    pub(crate) binding: String,
    /// When the person approved, in Unix seconds.
    #[serde(default)]
    pub(crate) created_at: u64,
}

/// Without the client's `state`, which is a secret of its own.
impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("client", &self.client)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl Record for Transaction {
    const COLLECTION: &'static str = "transactions";
    const FORMAT: u8 = 1;
}
