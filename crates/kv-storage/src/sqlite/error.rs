use std::path::Path;

use crate::{Error, ErrorKind};

// SQLite's primary result codes: https://www.sqlite.org/rescode.html
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const CANTOPEN: i32 = 14;
const TOOBIG: i32 = 18;
const NOTADB: i32 = 26;

/// A failed read.
pub(super) fn read(error: sqlx::Error) -> Error {
    wrap("read from the sqlite file", error, ErrorKind::Unavailable)
}

/// A write that did not get its turn.
pub(super) fn not_begun(error: sqlx::Error) -> Error {
    wrap("get a turn to write to the sqlite file", error, ErrorKind::Unavailable)
}

/// A failed write. SQLite takes back what it refuses; only what breaks on the way to the disk, or
/// with the connection's thread, may have been written.
pub(super) fn write(error: sqlx::Error) -> Error {
    let otherwise =
        if may_have_happened(&error) { ErrorKind::OutcomeUnknown } else { ErrorKind::Unavailable };
    wrap("write to the sqlite file", error, otherwise)
}

/// Whether what failed so, while it was written, may be in the file nevertheless.
pub(super) fn may_have_happened(error: &sqlx::Error) -> bool {
    primary_code(error).is_none_or(|code| code == IOERR)
}

/// A failure to open the file or to make it ready.
pub(super) fn open(path: &Path, error: sqlx::Error) -> Error {
    let path = path.display();
    let (kind, message) = match primary_code(&error) {
        Some(NOTADB) => return foreign(&path.to_string()).with_source(error),
        Some(READONLY) => (
            ErrorKind::Misconfigured,
            format!("open {path}: this process may not write to the file or its directory"),
        ),
        Some(CANTOPEN) => (
            ErrorKind::Misconfigured,
            format!("open {path}: it must be a file that this process may read and write"),
        ),
        Some(BUSY | LOCKED) => {
            (ErrorKind::Unavailable, format!("open {path}: another process keeps it locked"))
        }
        Some(CORRUPT) => (ErrorKind::Corrupt, format!("open {path}: the file is damaged")),
        _ => (ErrorKind::Unavailable, format!("open {path}")),
    };
    Error::new(kind, message).with_source(error)
}

/// The file belongs to something else and is left as it is.
pub(super) fn foreign(path: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("open {path}: the file was not made by kv-storage; give another path"),
    )
}

/// Something in the file is not in the form that this crate writes.
pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} in the sqlite file has a wrong form"))
}

/// Whether another connection holds a lock that is in the way.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

fn wrap(action: &'static str, error: sqlx::Error, otherwise: ErrorKind) -> Error {
    let kind = match primary_code(&error) {
        Some(CORRUPT | NOTADB) => ErrorKind::Corrupt,
        Some(READONLY | CANTOPEN) => ErrorKind::Misconfigured,
        Some(TOOBIG) => ErrorKind::TooLarge,
        _ => otherwise,
    };
    Error::new(kind, action).with_source(error)
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
