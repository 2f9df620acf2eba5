//! The data directory: who may use it, and the keys that are kept in it.
//!
//! One node makes its keys once and keeps them here. Whoever copies the directory copies the keys.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::Fernet;
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::keys::Which;

const LOCK_FILE: &str = "lock";
const STATE_FILE: &str = "state.sqlite";
const SIGNING_KEYS_FILE: &str = "signing-keys";
const STORAGE_KEYS_FILE: &str = "storage-keys";

const SIGNING_KEYS_NOTE: &str = "\
# Signing keys of oidc-proxy, one a line; the first one signs, the others still verify.
# Whoever has one can issue access tokens.
";
const STORAGE_KEYS_NOTE: &str = "\
# Storage keys of oidc-proxy, one a line; the first one encrypts, the others still decrypt.
# Whoever has one and the database can read every session.
";

/// A directory that this process alone uses while it lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// What the names of our files in it begin with.
    prefix: String,
    /// Held until the end; the operating system lets go of it when the process dies.
    _lock: File,
    /// Present if the directory ends with the process.
    temporary: Option<TempDir>,
}

impl DataDir {
    /// A directory for this run only. It is removed by [`close`](Self::close) or on drop.
    #[cfg(any(test, feature = "demo"))]
    pub(crate) fn temporary() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("oidc-proxy-")
            .tempdir()
            .context("could not make a temporary directory")?;
        let path = directory.path().to_owned();
        Ok(Self { temporary: Some(directory), ..Self::locked(path, String::new())? })
    }

    /// A directory that outlives the process; made, readable by its owner only, if it is not there.
    #[cfg(any(test, feature = "demo"))]
    pub(crate) fn kept(path: &Path) -> anyhow::Result<Self> {
        make(path)?;
        Self::locked(path.to_owned(), String::new())
    }

    /// The directory of a database. What is kept in it is named after the database, so that several
    /// can have one directory.
    ///
    /// That is where the file really lies: whoever comes by a symbolic link finds the same lock.
    pub(crate) fn beside(database: &Path) -> anyhow::Result<Self> {
        let database = real_path(database)?;
        let (Some(directory), Some(name)) = (database.parent(), database.file_name()) else {
            bail!("{} is not the name of a file", database.display());
        };
        make(directory)?;
        Self::locked(directory.to_owned(), format!("{}.", name.to_string_lossy()))
    }

    fn locked(path: PathBuf, prefix: String) -> anyhow::Result<Self> {
        let lock = lock(&path, &prefix)?;
        Ok(Self { path, prefix, _lock: lock, temporary: None })
    }

    /// How to call it in a sentence.
    #[cfg(feature = "demo")]
    pub(crate) fn name(&self) -> String {
        match self.temporary {
            None => self.path.display().to_string(),
            Some(_) => "the temporary directory".to_owned(),
        }
    }

    /// A path inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(format!("{}{name}", self.prefix))
    }

    /// Where the database is. The file is made here, so that only its owner can read it.
    pub(crate) fn state_file(&self) -> anyhow::Result<PathBuf> {
        let path = match self.prefix.strip_suffix('.') {
            Some(database) => self.path.join(database),
            None => self.join(STATE_FILE),
        };
        private_file()
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("could not make {}", path.display()))?;
        Ok(path)
    }

    /// The keys under which tokens are signed and texts sealed; made at the first call.
    pub(crate) fn signing_keys(&self) -> anyhow::Result<KeyRing> {
        let make = || MasterKey::generate().to_base64url();
        let (path, lines) = self.keys(SIGNING_KEYS_FILE, SIGNING_KEYS_NOTE, make)?;
        let mut keys = lines.iter().map(|line| {
            MasterKey::from_base64url(line)
                .with_context(|| format!("{} holds a key that is not usable", path.display()))
        });
        let current = keys.next().ok_or_else(|| anyhow!("{} holds no key", path.display()))??;
        keys.try_fold(KeyRing::new(current), |ring, key| Ok(ring.with_older(key?)))
    }

    /// The keys under which the database is encrypted, good for either cipher; made at the first
    /// call.
    pub(crate) fn storage_keys(&self) -> anyhow::Result<Vec<SecretString>> {
        let (path, keys) = self.keys(STORAGE_KEYS_FILE, STORAGE_KEYS_NOTE, Fernet::generate_key)?;
        // What Fernet reads as a key, AES-GCM does too.
        Fernet::new(&keys)
            .with_context(|| format!("{} holds a key that is not usable", path.display()))?;
        Ok(keys)
    }

    /// Removes a temporary directory; a kept one stays.
    #[cfg(any(test, feature = "demo"))]
    pub(crate) fn close(self) -> io::Result<()> {
        self.temporary.map_or(Ok(()), TempDir::close)
    }

    fn keys(
        &self,
        name: &str,
        note: &str,
        make: impl Fn() -> SecretString,
    ) -> anyhow::Result<(PathBuf, Vec<SecretString>)> {
        let path = self.join(name);
        refuse_if_written_by_others(path.parent().unwrap_or(Path::new(".")))?;
        if !path.try_exists().with_context(|| format!("could not look for {}", path.display()))? {
            let text = Zeroizing::new(format!("{note}{}\n", make().expose_secret()));
            write_new(&path, text.as_bytes())
                .with_context(|| format!("could not write {}", path.display()))?;
            if self.temporary.is_none() {
                tracing::warn!(
                    path = %path.display(),
                    "made a key that is kept in this file; whoever copies its directory copies it"
                );
            }
        }
        refuse_if_written_by_others(&path)?;
        warn_if_readable_by_others(&path);
        let text = read_keys(&path)?;
        // A note behind a key is for `oidc-proxy keys`.
        let lines = text.lines().filter_map(|line| line.split('#').next()).map(str::trim);
        let keys = lines.filter(|line| !line.is_empty());
        Ok((path, keys.map(SecretString::from).collect()))
    }
}

/// Where the keys of a database are kept.
pub(crate) fn kept_keys(database: &Path, which: Which) -> PathBuf {
    let name = match which {
        Which::Signing => SIGNING_KEYS_FILE,
        Which::Storage => STORAGE_KEYS_FILE,
    };
    // Beside the file itself, as when it is served.
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let database_name = database.file_name().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!("{database_name}.{name}"))
}

/// What is in a file of keys.
pub(crate) fn read_keys(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("could not read {}", path.display()))
}

/// Keeps other commands from changing keys beside these, until it is dropped. A server that runs
/// reads its keys at start-up only and need not be kept out.
#[cfg(unix)]
pub(crate) fn lock_keys(path: &Path) -> anyhow::Result<Option<File>> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let lock = File::open(directory)
        .and_then(|directory| directory.lock().map(|()| directory))
        .with_context(|| format!("could not lock {}", directory.display()))?;
    Ok(Some(lock))
}

#[cfg(not(unix))]
pub(crate) fn lock_keys(_: &Path) -> anyhow::Result<Option<File>> {
    Ok(None)
}

/// Puts other keys in the place of a file of keys, in one step.
pub(crate) fn replace_keys(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    refuse_if_written_by_others(directory)?;
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text)?;
        keep_owner(path, file.path())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok::<(), io::Error>(())
    };
    write().with_context(|| format!("could not write {}", path.display()))
}

/// Gives the new file to whom the old one belongs: keys are rotated by an administrator and read
/// by the service.
#[cfg(unix)]
fn keep_owner(old: &Path, new: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};

    let Ok(old) = fs::metadata(old) else { return Ok(()) };
    let made = fs::metadata(new)?;
    if (old.uid(), old.gid()) == (made.uid(), made.gid()) {
        return Ok(());
    }
    chown(new, Some(old.uid()), Some(old.gid()))
}

#[cfg(not(unix))]
fn keep_owner(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Refuses a secret that others could have put there, and says if they can read it.
pub(crate) fn check_given(path: &Path) -> anyhow::Result<()> {
    refuse_if_written_by_others(path)?;
    warn_if_readable_by_others(path);
    Ok(())
}

/// The one name of a database, if there is one already.
fn real_path(database: &Path) -> anyhow::Result<PathBuf> {
    match fs::canonicalize(database) {
        Ok(path) => {
            refuse_if_hard_linked(&path)?;
            Ok(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !database.is_symlink() => {
            Ok(database.to_owned())
        }
        Err(error) => Err(error)
            .with_context(|| format!("could not find what {} leads to", database.display())),
    }
}

/// Makes a directory that only its owner can read, unless there is one.
fn make(directory: &Path) -> anyhow::Result<()> {
    create_private(directory)
        .with_context(|| format!("could not make the directory {}", directory.display()))
}

/// Takes the directory for this process.
fn lock(directory: &Path, prefix: &str) -> anyhow::Result<File> {
    let path = directory.join(format!("{prefix}{LOCK_FILE}"));
    let file = private_file()
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("could not make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let used = match prefix.strip_suffix('.') {
                Some(database) => directory.join(database),
                None => directory.to_owned(),
            };
            bail!("{} is in use by another oidc-proxy", used.display())
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

/// Writes a file that is either absent or whole, and readable by its owner only.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

/// Writes a file that its owner only can read, in the place of whatever is there.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn create_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn create_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

/// A lock that goes by the name does not hold for a file that has another one as well.
#[cfg(unix)]
fn refuse_if_hard_linked(database: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let metadata = fs::metadata(database)
        .with_context(|| format!("could not look at {}", database.display()))?;
    if metadata.is_file() && metadata.nlink() > 1 {
        bail!(
            "{} has {} names (hard links), of which only one can be used; remove the others",
            database.display(),
            metadata.nlink()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_hard_linked(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// A key that others could have put there is not ours.
#[cfg(unix)]
fn refuse_if_written_by_others(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o002 != 0 {
        let path = path.display();
        bail!("everybody can write to {path}, so keys in it cannot be trusted; chmod o-w {path}");
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_if_written_by_others(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// Somebody widened the permissions of a key; the operator should know, the service goes on.
#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others can read this key file; chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_: &Path) {}

#[cfg(test)]
mod tests;
