//! Making, recognizing and upgrading the file.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{fs, time};

use super::{BUSY_TIMEOUT, error};
use crate::{Error, ErrorKind, Result};

/// "KVST": tells our files from other SQLite databases.
const APPLICATION_ID: i64 = 0x4B56_5354;

/// What makes a file of each format from one of the format before; the last is what we write.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE entries (
        collection TEXT NOT NULL,
        key BLOB NOT NULL,
        version BLOB NOT NULL,
        expires_at INTEGER,
        value BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX entries_by_key ON entries (collection, key);
    CREATE INDEX entries_by_expiry ON entries (expires_at) WHERE expires_at IS NOT NULL;
    PRAGMA application_id = 0x4B565354;
    PRAGMA user_version = 1;
"];

/// How often to try again when another process is just making the file: SQLite cannot wait for
/// a change of the journal mode by itself.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Makes the file, empty and for the owner's eyes only, unless there is one; its full path, free of
/// links.
pub(super) async fn create(path: &Path) -> Result<PathBuf> {
    let failed = |error| error::make(path, error);
    // A full path is never taken for one of SQLite's special names, such as `:memory:`.
    let full_path = std::path::absolute(path).map_err(failed)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    match options.open(&full_path).await {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    // Through a symbolic link, the logs lie beside the file itself; let errors name that place.
    let real_path = fs::canonicalize(&full_path).await.map_err(failed)?;
    check_single_name(&real_path).await?;
    Ok(real_path)
}

/// SQLite names the logs after the file: under two names, a file would get two sets of them, and
/// be damaged.
#[cfg(unix)]
async fn check_single_name(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;

    let metadata = fs::metadata(path).await.map_err(|error| gone(path).with_source(error))?;
    if metadata.is_dir() || metadata.nlink() <= 1 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!(
            "open {}: the file has {} names (hard links), of which only one can be used; remove \
             the others",
            path.display(),
            metadata.nlink()
        ),
    ))
}

#[cfg(not(unix))]
async fn check_single_name(_: &Path) -> Result<()> {
    Ok(())
}

/// Makes sure that the file is ours, writable, in WAL mode and of the present format.
pub(super) async fn prepare(options: &SqliteConnectOptions, path: &Path) -> Result<()> {
    let failed = |error| error::open(path, error);
    let deadline = time::Instant::now() + BUSY_TIMEOUT;
    let mut connection = options.connect().await.map_err(failed)?;
    while let Err(error) = prepare_connection(&mut connection).await {
        match error {
            NotReady::Sqlite(error)
                if error::is_busy(&error) && time::Instant::now() < deadline =>
            {
                time::sleep(RETRY_INTERVAL).await;
            }
            NotReady::Sqlite(error) => return Err(failed(error)),
            NotReady::Foreign => return Err(error::foreign(&path.display().to_string())),
            NotReady::Later(format) => {
                return Err(Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "open {}: the file has format {format} and was written by a later \
                         version; this one knows formats up to {}",
                        path.display(),
                        MIGRATIONS.len()
                    ),
                ));
            }
        }
    }
    connection.close().await.map_err(failed)
}

enum NotReady {
    Sqlite(sqlx::Error),
    Foreign,
    Later(i64),
}

impl From<sqlx::Error> for NotReady {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlite(error)
    }
}

async fn prepare_connection(connection: &mut SqliteConnection) -> Result<(), NotReady> {
    // Look first: a file of somebody else's must stay as it is.
    let mut look = connection.begin().await?;
    format(&mut look).await?;
    look.rollback().await?;
    sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut *connection).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let format = format(&mut transaction).await?;
    for migration in MIGRATIONS.iter().skip(format) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The file's format; zero for an empty file. To be asked within a transaction: another process
/// may be making the file, and what is read here must go together.
async fn format(connection: &mut SqliteConnection) -> Result<usize, NotReady> {
    let application_id: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await?;
    let format: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(connection).await?;
    match (application_id, usize::try_from(format), tables) {
        (0, Ok(0), 0) => Ok(0),
        (APPLICATION_ID, Ok(known), _) if (1..=MIGRATIONS.len()).contains(&known) => Ok(known),
        (APPLICATION_ID, ..) => Err(NotReady::Later(format)),
        _ => Err(NotReady::Foreign),
    }
}

/// Tells one file from another that came to lie under the same path.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct FileId {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileId {
    pub(super) async fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).await.map_err(|error| gone(path).with_source(error))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;

            Ok(Self { device_and_inode: (metadata.dev(), metadata.ino()) })
        }
        #[cfg(not(unix))]
        {
            drop(metadata);
            Ok(Self {})
        }
    }

    pub(super) async fn check_still_at(&self, path: &Path) -> Result<()> {
        if Self::of(path).await? == *self { Ok(()) } else { Err(gone(path)) }
    }
}

fn gone(path: &Path) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("{} was removed or replaced while it was open; restart", path.display()),
    )
}
