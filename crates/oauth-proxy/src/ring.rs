//! The canary of the signing keys: a record that tells at start-up whether ours are the right ones
//! (D8).
//!
//! It names the key that was promoted last. A process that lacks it could not verify what the
//! others sign, and would log people out; it must not start. A process whose first key is another
//! one that the record does not know promotes that key. One whose first key was promoted before
//! is a replica that was not restarted yet, and changes nothing.
//!
//! Every start writes the record anew, so that it is encrypted with the storage key of the day: one
//! that nothing is encrypted with can be retired.

use std::time::Duration;

use jwt_issuer::{KeyId, KeyRing};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    error::OAuthError,
    store::{Record, Stored},
};

/// How many times the record is read again that another process changed meanwhile: each of them
/// does so once.
const ROUNDS: usize = 32;

/// As many ids are remembered: nobody rotates this often within the life of a login.
const MAX_PROMOTED: usize = 64;

/// Far longer than anything that is signed.
const KEPT: Duration = Duration::from_hours(10 * 365 * 24);

/// Why a process must not start with its signing keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeysError {
    /// The key that signs now is not in the ring: these keys are another deployment's, new ones, or
    /// a ring that was not told of the latest rotation.
    #[error(
        "the storage belongs to a server that signs with the key {current}, which is not among \
         the signing keys here ({found})"
    )]
    Foreign {
        /// The id of the key that was promoted last.
        current: String,
        /// The ids of the keys that were given.
        found: String,
    },
    /// The record could not be read or written.
    #[error("the signing keys could not be compared with the storage")]
    Storage(#[source] OAuthError),
}

/// Which keys have signed; stored under the issuer.
#[derive(Debug, Serialize, Deserialize)]
struct Promoted {
    /// Ids in the order of their promotion; the last one signs.
    ids: Vec<String>,
}

impl Record for Promoted {
    const COLLECTION: &'static str = "key_rings";
    const FORMAT: u8 = 1;
}

/// Compares the ring with the record, and notes a promotion.
pub(crate) async fn check(app: &App, ring: &KeyRing) -> Result<(), SigningKeysError> {
    let (key, ours) = (app.config.issuer.as_str(), ring.current().id().as_str());
    for _ in 0..ROUNDS {
        let Some(Stored { mut record, version }) =
            app.store.get::<Promoted>(key).await.map_err(storage)?
        else {
            let first = Promoted { ids: vec![ours.to_owned()] };
            if app.store.put_if_absent(key, &first, KEPT).await.map_err(storage)? {
                return Ok(());
            }
            continue;
        };
        if let Some(current) = record.ids.last()
            && ring.ids().all(|id| id.as_str() != current)
        {
            let found: Vec<&str> = ring.ids().map(KeyId::as_str).collect();
            return Err(SigningKeysError::Foreign {
                current: current.clone(),
                found: found.join(", "),
            });
        }
        if record.ids.iter().all(|id| id != ours) {
            record.ids.push(ours.to_owned());
            if record.ids.len() > MAX_PROMOTED {
                record.ids.remove(0);
            }
        }
        let written = app.store.compare_and_swap(key, version, &record, KEPT).await;
        if written.map_err(storage)?.is_some() {
            return Ok(());
        }
    }
    let busy = OAuthError::new(
        crate::ErrorCode::TemporarilyUnavailable,
        "too many processes start at once",
    );
    Err(SigningKeysError::Storage(busy))
}

/// Forgets which keys signed before; ours are the right ones from now on.
pub(crate) async fn replace(app: &App, ring: &KeyRing) -> Result<(), SigningKeysError> {
    let ours = Promoted { ids: vec![ring.current().id().to_string()] };
    app.store.put(&app.config.issuer, &ours, KEPT).await.map_err(storage)
}

fn storage(error: impl Into<OAuthError>) -> SigningKeysError {
    SigningKeysError::Storage(error.into())
}
