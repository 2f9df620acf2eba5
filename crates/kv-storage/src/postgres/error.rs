use std::{fmt, io};

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::{Error, ErrorKind};

/// Whether an operation has changed something, as far as its failure tells.
pub(super) enum Failure {
    /// The server took everything back and the connection is good: nothing happened.
    RolledBack(Error),
    /// As before, and only for having met others: the same statement may succeed.
    Collided(Error),
    /// As before, but the connection must not be used again.
    Refused(Error),
    /// The connection is gone, with whatever it was doing.
    Lost(sqlx::Error),
}

impl Failure {
    /// Reads the answer to a statement.
    pub(super) fn of(error: sqlx::Error) -> Self {
        let Some(answer) = answer(&error) else { return Self::Lost(error) };
        // Only an error that ends the statement, and not the session, comes after the rollback.
        if answer.severity() != PgSeverity::Error {
            return Self::Lost(error);
        }
        let rolled_back = |kind, message: &'static str| {
            Self::RolledBack(Error::new(kind, message).with_source(Cause::of(answer)))
        };
        match answer.code() {
            // statement_completion_unknown; a pooler that lost its server
            "40003" => Self::Lost(error),
            code if code.starts_with("08") => Self::Lost(error),
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => Self::Collided(
                Error::new(
                    ErrorKind::Conflict,
                    "PostgreSQL: other writers kept getting in between",
                )
                .with_source(Cause::of(answer)),
            ),
            // read_only_sql_transaction
            "25006" => Self::Refused(read_only().with_source(Cause::of(answer))),
            // invalid_sql_statement_name, duplicate_prepared_statement
            "26000" | "42P05" => Self::Refused(shared_session().with_source(Cause::of(answer))),
            // lock_not_available
            "55P03" => rolled_back(
                ErrorKind::Unavailable,
                "PostgreSQL: another session keeps the record locked",
            ),
            // insufficient_privilege
            "42501" => rolled_back(ErrorKind::Misconfigured, NO_PRIVILEGE),
            // undefined_table, invalid_schema_name, undefined_column
            "42P01" | "3F000" | "42703" => rolled_back(
                ErrorKind::Misconfigured,
                "PostgreSQL: the tables were removed or changed while in use; restart",
            ),
            // data_corrupted, index_corrupted
            code if code.starts_with("XX00") && code != "XX000" => {
                rolled_back(ErrorKind::Corrupt, "PostgreSQL: the database is damaged")
            }
            "53100" => rolled_back(ErrorKind::Unavailable, "PostgreSQL: the server's disk is full"),
            _ => rolled_back(ErrorKind::Unavailable, "PostgreSQL refused the operation"),
        }
    }
}

const NO_PRIVILEGE: &str = "PostgreSQL: the user of the storage URL must be allowed to select, \
     insert, update and delete in the tables of its schema";

/// A server that only reads is no place for one-time records.
pub(super) fn read_only() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "PostgreSQL only reads: it is a standby, or default_transaction_read_only is on; the \
         storage URL must lead to the primary server",
    )
}

/// A session that is not ours alone keeps neither settings nor prepared statements for us.
pub(super) fn shared_session() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "PostgreSQL is behind a pooler that shares its sessions (transaction mode): add \
         prepared=false to the storage URL, or have the pooler use session mode",
    )
}

/// No connection became free in time, although they could be made.
pub(super) fn busy() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "PostgreSQL: all connections are busy; if the server is not slow to answer, raise \
         ?connections= of the storage URL",
    )
}

/// A connection that was lost in the course of a read.
pub(super) fn lost_read(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to PostgreSQL was lost")
        .with_source(cause(error))
}

/// A connection that was lost after a write was sent.
pub(super) fn lost_write(error: sqlx::Error) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the connection to PostgreSQL was lost before it answered",
    )
    .with_source(cause(error))
}

/// No connection could be made to `place`: nothing happened.
pub(super) fn connect(place: &str, error: sqlx::Error) -> Error {
    let (kind, reason) = match (&error, answer(&error).map(PgDatabaseError::code)) {
        // invalid_authorization_specification, invalid_password
        (_, Some("28000" | "28P01")) => (
            ErrorKind::Misconfigured,
            "the server refused the user; check user and password of the storage URL (special \
             characters in them are percent-encoded) and the server's pg_hba.conf",
        ),
        (_, Some("3D000")) => (
            ErrorKind::Misconfigured,
            "there is no such database; create it, or name another one in the storage URL",
        ),
        (_, Some("42501")) => (
            ErrorKind::Misconfigured,
            "the user of the storage URL may not connect to this database; GRANT CONNECT",
        ),
        (_, Some("53300")) => (
            ErrorKind::Unavailable,
            "the server has no connection left; raise its max_connections or lower \
             ?connections= of the storage URL",
        ),
        (_, Some("57P03")) => (ErrorKind::Unavailable, "the server is starting or stopping"),
        (_, Some(_)) => (ErrorKind::Unavailable, "the server refused the connection"),
        (sqlx::Error::Tls(_), _) => (ErrorKind::Misconfigured, TLS),
        // What rustls finds wrong with a certificate comes as invalid data.
        (sqlx::Error::Io(error), _) if error.kind() == io::ErrorKind::InvalidData => {
            (ErrorKind::Misconfigured, TLS)
        }
        (sqlx::Error::Io(error), _) if error.kind() == io::ErrorKind::PermissionDenied => (
            ErrorKind::Misconfigured,
            "this process may not use the socket that the storage URL names",
        ),
        (sqlx::Error::Protocol(_), _) => (
            ErrorKind::Misconfigured,
            "what listens there does not speak PostgreSQL's protocol; check host and port of the \
             storage URL",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the server cannot be reached; check host and port of the storage URL, and whether it \
             runs",
        ),
    };
    Error::new(kind, format!("connect to PostgreSQL at {place}: {reason}"))
        .with_source(cause(error))
}

const TLS: &str = "no TLS connection as the storage URL's sslmode demands; give the certificate of \
     its authority by sslrootcert, or sslmode=disable if the network is to be trusted";

/// A failure to make the tables ready.
pub(super) fn prepare(schema: &str, error: sqlx::Error) -> Error {
    let (kind, reason) = match answer(&error).map(PgDatabaseError::code) {
        Some("42501") => (
            ErrorKind::Misconfigured,
            format!(
                "the user of the storage URL may not use it; have it made by CREATE SCHEMA \
                 {schema} AUTHORIZATION the user, or name another one by ?schema="
            ),
        ),
        Some("25006") => return read_only().with_source(cause(error)),
        Some("55P03") => (
            ErrorKind::Unavailable,
            "another process has been making the tables ready for too long".into(),
        ),
        Some("53100") => (ErrorKind::Unavailable, "the server's disk is full".into()),
        _ => (ErrorKind::Unavailable, "the tables could not be made ready".into()),
    };
    Error::new(kind, format!("PostgreSQL schema {schema}: {reason}")).with_source(cause(error))
}

/// Something in the table is not in the form that this crate writes.
pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} in PostgreSQL has a wrong form"))
}

fn answer(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

fn cause(error: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match answer(&error) {
        Some(answer) => Box::new(Cause::of(answer)),
        None => Box::new(error),
    }
}

/// What the server said, without the details, which can repeat a row.
#[derive(Debug)]
struct Cause {
    code: String,
    message: String,
}

impl Cause {
    fn of(answer: &PgDatabaseError) -> Self {
        Self { code: answer.code().to_owned(), message: answer.message().to_owned() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl std::error::Error for Cause {}
