//! The statements that write, each an operation that is atomic by itself.

use bytes::Bytes;
use sqlx::{FromRow, SqliteConnection};

use super::EntryRow;
use crate::{Ttl, Version};

// An expired record is absent, so it has no expiry that could be kept.
pub(super) const PUT: &str = "INSERT INTO entries (collection, key, version, value, expires_at) \
     VALUES (?1, ?2, ?4, ?5, ?6) \
     ON CONFLICT (collection, key) DO UPDATE SET version = ?4, value = ?5, \
     expires_at = CASE WHEN ?7 AND expires_at > ?3 THEN expires_at ELSE ?6 END";

pub(super) const PUT_IF_ABSENT: &str = "INSERT INTO entries (collection, key, version, value, expires_at) \
     VALUES (?1, ?2, ?4, ?5, ?6) \
     ON CONFLICT (collection, key) DO UPDATE SET version = ?4, value = ?5, expires_at = ?6 \
     WHERE expires_at <= ?3";

pub(super) const COMPARE_AND_SWAP: &str = "UPDATE entries SET version = ?4, value = ?5, \
     expires_at = CASE WHEN ?7 THEN expires_at ELSE ?6 END \
     WHERE collection = ?1 AND key = ?2 AND version = ?8 \
     AND (expires_at IS NULL OR expires_at > ?3)";

// A new version must not make whole what cannot be read.
pub(super) const EXPIRE: &str = "UPDATE entries SET version = ?4, \
     expires_at = CASE WHEN ?7 THEN expires_at ELSE ?6 END \
     WHERE collection = ?1 AND key = ?2 AND length(version) = 16 \
     AND (expires_at IS NULL OR expires_at > ?3)";

pub(super) const DELETE: &str = "DELETE FROM entries \
     WHERE collection = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)";

pub(super) const COMPARE_AND_DELETE: &str = "DELETE FROM entries \
     WHERE collection = ?1 AND key = ?2 AND version = ?8 \
     AND (expires_at IS NULL OR expires_at > ?3)";

const TAKE: &str = "DELETE FROM entries \
     WHERE collection = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3) \
     RETURNING version, value";

/// One statement that writes, and what it is about.
///
/// It is given the time when it runs, not when it is made: it may wait for its turn for longer
/// than the record has left.
pub(super) struct Change {
    sql: &'static str,
    collection: String,
    key: String,
    version: Option<Version>,
    value: Bytes,
    ttl: Ttl,
    expected: Option<Version>,
    /// Whether it answers with what it removed.
    takes: bool,
}

/// What a statement did.
pub(super) struct Done {
    pub(super) changed: bool,
    pub(super) taken: Option<EntryRow>,
}

impl Change {
    pub(super) fn new(sql: &'static str, collection: &str, key: &str) -> Self {
        Self {
            sql,
            collection: collection.to_owned(),
            key: key.to_owned(),
            version: None,
            value: Bytes::new(),
            ttl: Ttl::Keep,
            expected: None,
            takes: false,
        }
    }

    pub(super) fn take(collection: &str, key: &str) -> Self {
        Self { takes: true, ..Self::new(TAKE, collection, key) }
    }

    /// With what the record is to become.
    pub(super) fn to(self, version: Version, value: Bytes, ttl: Ttl) -> Self {
        Self { version: Some(version), value, ttl, ..self }
    }

    /// For the record of this version only.
    pub(super) fn expecting(self, expected: Version) -> Self {
        Self { expected: Some(expected), ..self }
    }

    /// Runs the statement to its end: it has happened only then.
    pub(super) async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: i64,
    ) -> sqlx::Result<Done> {
        // `?1` to `?8` of every statement, whichever of them it uses.
        let query = sqlx::query(self.sql)
            .bind(&self.collection)
            .bind(self.key.as_bytes())
            .bind(now)
            .bind(self.version.as_ref().map(|version| version.as_bytes().as_slice()))
            .bind(&*self.value)
            .bind(self.ttl.expires_at(now, None))
            .bind(self.ttl == Ttl::Keep)
            .bind(self.expected.as_ref().map(|expected| expected.as_bytes().as_slice()));
        if !self.takes {
            let done = query.execute(connection).await?;
            return Ok(Done { changed: done.rows_affected() > 0, taken: None });
        }
        // All of them: the statement ends with the last row only.
        let rows = query.fetch_all(connection).await?;
        let taken = rows.first().map(EntryRow::from_row).transpose()?;
        Ok(Done { changed: taken.is_some(), taken })
    }
}
