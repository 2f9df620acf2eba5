//! Which grants a person or a client has: rows beside the grants, for listing.
//!
//! A row outlives its grant rather than costing a write at every rotation; whoever reads rows
//! removes those without a grant.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_issuer::sha256_base64url;

use crate::{
    app::App,
    record::{
        grant::Grant,
        mark::{ByClient, BySubject},
    },
    store::{Found, Record, Result, Stored},
};

/// Writes the rows of a new grant, which was written before them.
pub(crate) async fn add(app: &App, grant: &Grant) -> Result<()> {
    let ttl = app.config.lifetimes.refresh_absolute;
    let mac = &app.keys.by_subject;
    let subject = subject_prefix(mac.tag(&[grant.issuer.as_bytes(), grant.subject.as_bytes()]));
    app.store.put(&format!("{subject}{}", grant.id), &BySubject, ttl).await?;
    let client = client_prefix(&grant.client.id);
    app.store.put(&format!("{client}{}", grant.id), &ByClient, ttl).await
}

/// Below what the rows of a person stand: under every key of the ring.
pub(crate) fn subject_prefixes(app: &App, issuer: &str, subject: &str) -> Vec<String> {
    let parts = [issuer.as_bytes(), subject.as_bytes()];
    app.keys.by_subject.tags_all(&parts).map(|(_, tag)| subject_prefix(tag)).collect()
}

fn subject_prefix(tag: [u8; 32]) -> String {
    format!("{}/", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

/// Below what the rows of a client stand. Hashed: an id may be longer than a key may be.
pub(crate) fn client_prefix(client_id: &str) -> String {
    format!("{}/", sha256_base64url(client_id.as_bytes()))
}

/// Every grant of a person, pending ones included.
pub(crate) async fn live_grants(
    app: &App,
    issuer: &str,
    subject: &str,
) -> Result<Vec<Stored<Grant>>> {
    let mut rows = Vec::new();
    for prefix in subject_prefixes(app, issuer, subject) {
        rows.extend(app.store.keys::<BySubject>(&prefix).await?);
    }
    grants_of::<BySubject>(app, &rows).await
}

/// The grants that these rows name; rows whose grant is gone go as well.
pub(crate) async fn grants_of<Row: Record>(
    app: &App,
    rows: &[String],
) -> Result<Vec<Stored<Grant>>> {
    let ids: Vec<&str> =
        rows.iter().filter_map(|row| row.rsplit_once('/')).map(|(_, id)| id).collect();
    let mut grants = Vec::new();
    for (row, found) in rows.iter().zip(app.store.get_many::<Grant>(&ids).await?) {
        match found {
            Found::Record(grant) => grants.push(grant),
            Found::Unreadable => {}
            // A grant is written before its rows, so this one is over.
            Found::Absent => {
                app.store.delete::<Row>(row).await?;
            }
        }
    }
    Ok(grants)
}
