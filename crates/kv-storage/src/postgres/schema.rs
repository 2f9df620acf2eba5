//! Making, recognizing and upgrading the tables.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::time;

use super::error;
use crate::{Error, ErrorKind, Result};

/// What makes the tables of each format from those of the format before; the last is what we
/// write. `{schema}` stands for the schema, quoted.
///
/// Values are sealed mostly, so the server need not try to compress them. A free part of each page
/// lets records be replaced in place.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE {schema}.kv_entries (
        collection text COLLATE \"C\" NOT NULL,
        key bytea NOT NULL,
        version bytea NOT NULL CHECK (octet_length(version) = 16),
        expires_at timestamptz,
        value bytea NOT NULL,
        PRIMARY KEY (collection, key)
    ) WITH (fillfactor = 80);
    ALTER TABLE {schema}.kv_entries ALTER COLUMN value SET STORAGE EXTERNAL;
    CREATE INDEX kv_entries_by_expiry ON {schema}.kv_entries (expires_at)
        WHERE expires_at IS NOT NULL;
    CREATE TABLE {schema}.kv_format (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        format integer NOT NULL
    );
    INSERT INTO {schema}.kv_format (format) VALUES (1);
"];

/// The lock for making the tables: the first number is "KVST".
const LOCK: &str = "SELECT pg_advisory_xact_lock(1263948628, hashtext('{schema}'))";

/// How long to wait for another process that is making the tables, and for the server to do it.
/// The statement below says the same to the server.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(2);

const WAIT_FOR_OTHERS: &str = "SET LOCAL lock_timeout = '60s'";

/// Which of schema and tables there are.
const LOOK: &str = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{schema}'), \
     EXISTS (SELECT FROM pg_tables WHERE schemaname = '{schema}' AND tablename = 'kv_format'), \
     EXISTS (SELECT FROM pg_tables WHERE schemaname = '{schema}' AND tablename = 'kv_entries')";

/// The table of records.
pub(super) fn entries(schema: &str) -> String {
    format!("{}.kv_entries", quoted(schema))
}

/// Makes sure that the tables are there, ours and of the present format.
///
/// Where they are, this reads only, so that a user who may not make tables can go on with those
/// that somebody else made.
pub(super) async fn prepare(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let preparing = async {
        if format(connection, schema).await? == Some(MIGRATIONS.len()) {
            return Ok(());
        }
        migrate(connection, schema).await
    };
    let late = |_| NotReady::Postgres(sqlx::Error::PoolTimedOut);
    let ready = time::timeout(MIGRATION_TIMEOUT, preparing).await.map_err(late);
    ready.and_then(|ready| ready).map_err(|not_ready| match not_ready {
        NotReady::Postgres(error) => error::prepare(schema, error),
        NotReady::Foreign => misconfigured(
            schema,
            "its table kv_entries was not made by kv-storage; name another schema by ?schema=",
        ),
        NotReady::Later(format) => misconfigured(
            schema,
            &format!(
                "its tables have format {format} and were written by a later version; this one \
                 knows formats up to {}",
                MIGRATIONS.len()
            ),
        ),
    })
}

enum NotReady {
    Postgres(sqlx::Error),
    Foreign,
    Later(i32),
}

impl From<sqlx::Error> for NotReady {
    fn from(error: sqlx::Error) -> Self {
        Self::Postgres(error)
    }
}

/// One process does it, the others wait and find it done.
async fn migrate(connection: &mut PgConnection, schema: &str) -> Result<(), NotReady> {
    let quoted = quoted(schema);
    let mut transaction = connection.begin().await?;
    let lock = format!("{WAIT_FOR_OTHERS}; {}", LOCK.replace("{schema}", schema));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *transaction).await?;
    let present = format(&mut transaction, schema).await?;
    if present.is_none() {
        // Only if need be: who owns nothing but the schema may not even try to make it.
        let create = format!("CREATE SCHEMA IF NOT EXISTS {quoted}");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *transaction).await?;
    }
    for migration in MIGRATIONS.iter().skip(present.unwrap_or(0)) {
        let migration = migration.replace("{schema}", &quoted);
        sqlx::raw_sql(AssertSqlSafe(migration)).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The format of the tables: zero if there are none, `None` if there is not even a schema.
async fn format(connection: &mut PgConnection, schema: &str) -> Result<Option<usize>, NotReady> {
    let look = sqlx::raw_sql(AssertSqlSafe(LOOK.replace("{schema}", schema)));
    let row = look.fetch_one(&mut *connection).await?;
    let (has_schema, has_format, has_entries) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    match (has_schema, has_format, has_entries) {
        (false, ..) => return Ok(None),
        (true, false, false) => return Ok(Some(0)),
        (true, false, true) => return Err(NotReady::Foreign),
        (true, true, _) => {}
    }
    let sql = format!("SELECT format FROM {}.kv_format", quoted(schema));
    let found = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_optional(connection).await?;
    let format: i32 = found.ok_or(NotReady::Foreign)?.try_get(0)?;
    match usize::try_from(format) {
        Ok(known) if (1..=MIGRATIONS.len()).contains(&known) => Ok(Some(known)),
        _ => Err(NotReady::Later(format)),
    }
}

/// The name was checked to need no escaping; quoted, it is no keyword either.
fn quoted(schema: &str) -> String {
    format!("\"{schema}\"")
}

fn misconfigured(schema: &str, reason: &str) -> Error {
    Error::new(ErrorKind::Misconfigured, format!("PostgreSQL schema {schema}: {reason}"))
}
