use std::{io, path::Path};

use crate::{Error, ErrorKind};

// SQLite's primary result codes: https://www.sqlite.org/rescode.html
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const TOOBIG: i32 = 18;
const NOTADB: i32 = 26;

const NOT_WRITABLE: &str = "this process must be allowed to write to the file and its directory";
const NOT_A_FILE: &str = "it must be a file that this process may read and write, as are those \
     beside it that end in -wal and -shm";
const DISK_FULL: &str = "the disk is full; make room";

/// A failed read.
pub(super) fn read(error: sqlx::Error) -> Error {
    wrap("read from the sqlite file", error, ErrorKind::Unavailable)
}

/// A write that did not get its turn.
pub(super) fn not_begun(error: sqlx::Error) -> Error {
    wrap("get a turn to write to the sqlite file", error, ErrorKind::Unavailable)
}

/// A write that was refused, and taken back.
pub(super) fn not_written(error: sqlx::Error) -> Error {
    wrap("write to the sqlite file", error, ErrorKind::Unavailable)
}

/// A write of which nobody can say.
pub(super) fn unknown(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "write to the sqlite file: it failed in the middle")
        .with_source(error)
}

/// A write that was handed over and is waited for no longer.
pub(super) fn not_answered() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "write to the sqlite file: it does not answer")
}

/// Whether a transaction whose commit failed so may be in the file nevertheless: SQLite takes back
/// what it refuses, but not what breaks on the way to the disk, or with the connection's thread.
pub(super) fn may_have_happened(error: &sqlx::Error) -> bool {
    primary_code(error).is_none_or(|code| code == IOERR)
}

/// A failure to make the file, or to find out where it is.
pub(super) fn make(path: &Path, error: io::Error) -> Error {
    let (kind, way_out) = match error.kind() {
        io::ErrorKind::NotFound => {
            (ErrorKind::Misconfigured, ": its directory must exist; make it first")
        }
        io::ErrorKind::NotADirectory => {
            (ErrorKind::Misconfigured, ": what should be its directory is a file")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (ErrorKind::Misconfigured, ": this process must be allowed to write to its directory")
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            (ErrorKind::Misconfigured, ": it cannot be the name of a file")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Unavailable, ": the disk is full; make room")
        }
        _ => (ErrorKind::Unavailable, ""),
    };
    let message = format!("open {}: cannot make the file{way_out}", path.display());
    Error::new(kind, message).with_source(error)
}

/// A failure to open the file or to make it ready.
pub(super) fn open(path: &Path, error: sqlx::Error) -> Error {
    let path = path.display();
    let (kind, message) = match primary_code(&error) {
        Some(NOTADB) => return foreign(&path.to_string()).with_source(error),
        Some(READONLY) => (ErrorKind::Misconfigured, format!("open {path}: {NOT_WRITABLE}")),
        Some(CANTOPEN) => (ErrorKind::Misconfigured, format!("open {path}: {NOT_A_FILE}")),
        Some(FULL) => (ErrorKind::Unavailable, format!("open {path}: {DISK_FULL}")),
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
    let (kind, way_out) = match primary_code(&error) {
        Some(CORRUPT | NOTADB) => (ErrorKind::Corrupt, "the file is damaged"),
        Some(READONLY) => (ErrorKind::Misconfigured, NOT_WRITABLE),
        Some(CANTOPEN) => (ErrorKind::Misconfigured, NOT_A_FILE),
        Some(FULL) => (ErrorKind::Unavailable, DISK_FULL),
        Some(BUSY | LOCKED) => (ErrorKind::Unavailable, "another process keeps it locked"),
        Some(TOOBIG) => (ErrorKind::TooLarge, ""),
        _ => (otherwise, ""),
    };
    let error = Error::new(kind, action).with_source(error);
    if way_out.is_empty() { error } else { error.with_hint(way_out) }
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, io, path::Path};

    use super::make;
    use crate::ErrorKind;

    #[test]
    fn a_disk_that_is_full_or_fails_is_no_wrong_setting() {
        for (cause, kind, way_out) in [
            (io::ErrorKind::StorageFull, ErrorKind::Unavailable, "make room"),
            (io::ErrorKind::QuotaExceeded, ErrorKind::Unavailable, "make room"),
            (io::ErrorKind::Other, ErrorKind::Unavailable, "cannot make the file"),
            (io::ErrorKind::ReadOnlyFilesystem, ErrorKind::Misconfigured, "allowed to write"),
            (io::ErrorKind::InvalidFilename, ErrorKind::Misconfigured, "the name of a file"),
        ] {
            let error = make(Path::new("/a/kv.sqlite"), cause.into());
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().starts_with("open /a/kv.sqlite: "), "{error}");
            assert!(error.to_string().contains(way_out), "{error}");
            assert!(error.source().is_some());
        }
    }
}
