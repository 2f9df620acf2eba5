//! The directory: making it, and having it to oneself.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::{task, time};

use super::error;
use crate::{Error, ErrorKind, Result};

/// Whoever holds it has the directory.
const LOCK: &str = "lock";

/// The database.
const ENTRIES: &str = "entries.redb";

/// How long to wait for a predecessor that is just ending, as at a restart.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How often to look whether it has ended.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A directory that is ours for as long as this lives.
///
/// The lock is the operating system's, on the file and not on its name: it is found by whatever
/// links the directory is reached by, and it ends with the process, however that ends.
pub(super) struct Place {
    directory: PathBuf,
    lock: File,
}

/// Makes the directory unless there is one, and locks it.
pub(super) async fn take(directory: &Path) -> Result<Place> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let path = directory.to_owned();
        let taking = task::spawn_blocking(move || try_take(&path));
        let taken = taking.await.map_err(|panicked| {
            Error::new(ErrorKind::Unavailable, "open the directory").with_source(panicked)
        })?;
        match taken? {
            Ok(place) => return Ok(place),
            Err(_) if Instant::now() < deadline => time::sleep(RETRY_INTERVAL).await,
            Err(holder) => {
                return Err(Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "open {}: {holder} has it open; stop that one, or give this one another \
                         directory",
                        directory.display()
                    ),
                ));
            }
        }
    }
}

/// The inner error says who has the directory.
fn try_take(directory: &Path) -> Result<Result<Place, String>> {
    // A full path stays the same when the process changes its directory.
    let directory = &std::path::absolute(directory)
        .map_err(|error| error::place(directory, "it has no full path", error))?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(directory) {
        Ok(()) => keep_names(directory.parent()),
        Err(_) if directory.is_dir() => {}
        Err(error) => return Err(error::place(directory, "cannot make the directory", error)),
    }
    let cannot_lock = |error| error::place(directory, "cannot lock it", error);
    let mut lock = open_private(&directory.join(LOCK)).map_err(cannot_lock)?;
    match lock.try_lock() {
        Ok(()) => {
            let name_us = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| write!(lock, "process {}", std::process::id()));
            name_us.map_err(cannot_lock)?;
            Ok(Ok(Place { directory: directory.clone(), lock }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only a courtesy: it may be half written.
            let read = lock.take(64).read_to_string(&mut holder);
            let known = read.is_ok() && holder.starts_with("process ");
            Ok(Err(if known { holder } else { "another process".to_owned() }))
        }
        Err(TryLockError::Error(error)) => Err(cannot_lock(error)),
    }
}

impl Place {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets others have the directory.
    pub(super) fn release(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, directory = ?self.directory, "the lock was not released");
        }
    }

    /// The database's file, empty if there was none.
    pub(super) fn open_entries(&self) -> Result<File> {
        let opened = open_private(&self.directory.join(ENTRIES));
        keep_names(Some(&self.directory));
        opened.map_err(|error| error::place(&self.directory, "cannot open its database", error))
    }

    /// How long the database's file is.
    pub(super) fn entries_length(&self) -> io::Result<u64> {
        Ok(fs::metadata(self.directory.join(ENTRIES))?.len())
    }

    /// Fails unless `file` still lies where it was opened.
    #[cfg(unix)]
    pub(super) fn check_still_there(&self, file: &FileId) -> Result<()> {
        let there = fs::metadata(self.directory.join(ENTRIES)).map(|there| FileId::of(&there));
        if there.is_ok_and(|there| there == *file) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "{} was removed, moved or replaced while it was open; restart",
                self.directory.display()
            ),
        ))
    }

    #[cfg(not(unix))]
    pub(super) fn check_still_there(&self, _: &FileId) -> Result<()> {
        Ok(())
    }
}

/// Tells one file from another that came to lie under the same path.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct FileId {
    #[cfg(unix)]
    device_and_inode: (u64, u64),
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;

            Self { device_and_inode: (metadata.dev(), metadata.ino()) }
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            Self {}
        }
    }
}

/// Puts on disk what files a directory has, so that a new one outlives a power failure.
fn keep_names(directory: Option<&Path>) {
    let Some(directory) = directory else { return };
    // Not every system can do this, and those that cannot need not.
    let kept = File::open(directory).and_then(|directory| directory.sync_all());
    if let Err(error) = kept {
        tracing::debug!(%error, ?directory, "the directory was not synchronized");
    }
}

/// Opens a file to read and write, made for its owner's eyes only if there is none.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
