//! The files of the state directory: whole or not at all, and for their owner only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{Error, SigningKey};

const SIGNING_KEY: &str = "signing-key.p8";

/// The key of this directory, made at the first time.
pub(crate) fn signing_key(directory: &Path) -> Result<SigningKey, Error> {
    let path = directory.join(SIGNING_KEY);
    if let Some(pkcs8) = read(&path)? {
        return SigningKey::from_pkcs8(&pkcs8);
    }
    let key = SigningKey::generate()?;
    write(&path, key.pkcs8())?;
    Ok(key)
}

/// The content of a file, if it exists.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Replaces a file by one rename, so that a crash leaves the old content or the new.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    write_through(path, &temporary, content).map_err(|source| {
        // What is left of the attempt would only be in the way; the first error is the one to tell.
        drop(fs::remove_file(&temporary));
        Error::File { path: path.to_owned(), source }
    })
}

fn write_through(path: &Path, temporary: &PathBuf, content: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // A leftover of a crashed process could have other permissions: never reuse it.
    drop(fs::remove_file(temporary));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}
