use std::{io, path::Path};

use crate::{Error, ErrorKind};

/// Something in the directory is not in the form that this crate writes.
pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} on the disk has a wrong form"))
}

/// The directory was closed, by its owner or because the disk failed.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the directory is closed")
}

/// A failed read.
pub(super) fn read(error: redb::Error) -> Error {
    wrap("read from the disk", error)
}

/// A write of which nothing was kept.
pub(super) fn not_written(error: redb::Error) -> Error {
    wrap("write to the disk", error)
}

/// A write of which nobody can say.
pub(super) fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "write to the disk: it failed in the middle")
}

/// A failure to open the directory or to make it ready.
pub(super) fn open(directory: &Path, error: redb::Error) -> Error {
    let shown = directory.display();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Error::new(
            ErrorKind::Misconfigured,
            format!("open {shown}: another process has its database open"),
        ),
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            foreign(directory).with_source(error)
        }
        redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. } => foreign(directory).with_source(error),
        redb::Error::Io(error) => place(directory, "cannot use its files", error),
        error => wrap(format!("open {shown}"), error),
    }
}

/// Trouble with the directory itself: says what to do about it.
pub(super) fn place(directory: &Path, what: &str, error: io::Error) -> Error {
    let (kind, way_out) = match error.kind() {
        io::ErrorKind::NotFound => {
            (ErrorKind::Misconfigured, ": the directory that it is in must exist; make it first")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (ErrorKind::Misconfigured, ": it must be a directory, and is a file or lies in one")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::Misconfigured,
            ": it and its files must belong to the user of this process, which must be allowed to \
             write to them",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Unavailable, ": the disk is full; make room")
        }
        _ => (ErrorKind::Unavailable, ""),
    };
    Error::new(kind, format!("open {}: {what}{way_out}", directory.display())).with_source(error)
}

/// The directory holds something else and is left as it is.
pub(super) fn foreign(directory: &Path) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "open {}: its database was not made by kv-storage; give another directory",
            directory.display()
        ),
    )
}

fn wrap(action: impl Into<String>, error: redb::Error) -> Error {
    let action = action.into();
    match error {
        redb::Error::Corrupted(_) | redb::Error::RepairAborted => {
            Error::new(ErrorKind::Corrupt, format!("{action}: the database is damaged"))
                .with_source(error)
        }
        redb::Error::Io(error) => {
            let full =
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let way_out = if full { ": the disk is full; make room" } else { "" };
            Error::new(ErrorKind::Unavailable, format!("{action}{way_out}")).with_source(error)
        }
        redb::Error::DatabaseClosed => closed(),
        error => Error::new(ErrorKind::Unavailable, action).with_source(error),
    }
}
