//! Where the state rests.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use etcetera::BaseStrategy;
use kv_storage::Memory;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// Our directory in the platform's data directory, and the database in it.
const DIRECTORY: &str = "oidc-proxy";
const DATABASE: &str = "state.sqlite";

/// What can be given.
const KINDS: &str = "it is sqlite:///path, disk:///path, postgres://..., redis://... (or rediss, each also with \
     +sentinel or +cluster) or memory:";

/// How far "once" reaches where writes are on disk before they are acknowledged.
const KEPT: &str = "every acknowledged write is kept, a crash included";

/// How far "once" reaches where a replica may take over.
const WITH_REPLICAS: &str =
    "an acknowledged write is kept if a replica that wait_replicas counted takes over";

/// The storage that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Nothing is kept; the URL, which may state bounds.
    Memory(String),
    /// A database file.
    Sqlite(PathBuf),
    /// A directory with a database, for this process alone.
    Disk(PathBuf),
    /// A server that several processes may share.
    Shared(Shared),
}

/// A server that keeps the state.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// How the servers are arranged.
    kind: &'static str,
    /// How far "once" reaches with them (D2).
    once: &'static str,
    /// May hold a password.
    url: SecretString,
}

impl Shared {
    /// For kv-storage, which understands the rest of it.
    pub(crate) fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// `None` for other schemes.
    fn parse(scheme: &str, text: &str) -> Option<Self> {
        let (kind, once) = match scheme {
            "redis" | "rediss" => {
                ("redis", "every acknowledged write is kept, as far as its append-only file is")
            }
            "redis+sentinel" | "rediss+sentinel" => ("redis sentinel", WITH_REPLICAS),
            "redis+cluster" | "rediss+cluster" => ("redis cluster", WITH_REPLICAS),
            "postgres" | "postgresql" => ("postgres", KEPT),
            _ => return None,
        };
        Some(Self { kind, once, url: text.into() })
    }
}

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        self.url() == other.url()
    }
}

impl Eq for Shared {}

/// What there is to know of a storage besides whether it answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorageFacts {
    pub(crate) kind: &'static str,
    /// How far "once" reaches with it (D2).
    pub(crate) once: &'static str,
}

impl Storage {
    /// A file of ours that belongs to this storage, if it is on this machine.
    pub(crate) fn beside(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Sqlite(path) | Self::Disk(path) => {
                let database = path.file_name()?.to_string_lossy();
                Some(path.with_file_name(format!("{database}.{name}")))
            }
            _ => None,
        }
    }

    /// For `/readyz`.
    pub(crate) fn facts(&self) -> StorageFacts {
        match self {
            Self::Shared(Shared { kind, once, .. }) => StorageFacts { kind, once },
            Self::Memory(_) => StorageFacts { kind: "memory", once: "while this process lives" },
            Self::Sqlite(_) => StorageFacts { kind: "sqlite", once: KEPT },
            Self::Disk(_) => StorageFacts { kind: "disk", once: KEPT },
        }
    }

    /// Understands the URL of a storage; the complaint repeats nothing but its scheme.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("memory") => match Memory::open(text) {
                Ok(_) => Ok(Self::Memory(text.to_owned())),
                Err(error) => Err(error.to_string()),
            },
            Some("sqlite") => path(text).map(Self::Sqlite).ok_or_else(|| {
                "a database is named by its absolute path and nothing more, as in \
                 sqlite:///var/lib/oidc-proxy/state.sqlite"
                    .to_owned()
            }),
            Some("disk") => path(text).map(Self::Disk).ok_or_else(|| {
                "a directory is named by its absolute path and nothing more, as in \
                 disk:///var/lib/oidc-proxy/state"
                    .to_owned()
            }),
            Some("file") => Err(format!("there is no file: here; {KINDS}")),
            Some(scheme) if text.len() > scheme.len() + "://".len() => {
                Shared::parse(scheme, text).map(Self::Shared).ok_or_else(|| KINDS.to_owned())
            }
            _ => Err(KINDS.to_owned()),
        }
    }

    /// SQLite in the platform's data directory.
    pub(crate) fn platform() -> Result<Self, String> {
        let strategy = etcetera::choose_base_strategy().map_err(|_| {
            "it was not given, and there is no home directory to keep the database in; \
             name a place with sqlite:///path"
                .to_owned()
        })?;
        Ok(Self::Sqlite(strategy.data_dir().join(DIRECTORY).join(DATABASE)))
    }
}

/// The path in `scheme:///path`.
fn path(text: &str) -> Option<PathBuf> {
    let (_, rest) = text.split_once(':')?;
    if !rest.starts_with("///") || rest.contains(['?', '#']) {
        return None;
    }
    let path = Url::parse(&format!("file:{rest}")).ok()?.to_file_path().ok()?;
    (!rest.ends_with('/') && path.file_name().is_some()).then_some(path)
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(url) => f.write_str(url),
            Self::Shared(shared) => write!(f, "{}, shared by several processes", shared.kind),
            Self::Sqlite(path) => write_path(f, "sqlite", path),
            Self::Disk(path) => write_path(f, "disk", path),
        }
    }
}

fn write_path(f: &mut fmt::Formatter<'_>, scheme: &str, path: &Path) -> fmt::Result {
    match Url::from_file_path(path) {
        Ok(url) => write!(f, "{scheme}://{}", url.path()),
        Err(()) => write!(f, "{scheme} in {}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_where() {
        let sqlite = |path: &str| Ok(Storage::Sqlite(path.into()));
        for text in ["memory:", "memory:?max_entries=200000&max_bytes=268435456"] {
            assert_eq!(Storage::parse(text), Ok(Storage::Memory(text.to_owned())));
        }
        let why = Storage::parse("memory:?max_entries=many").unwrap_err();
        assert!(why.contains("max_entries and max_bytes are whole numbers from 1 on"), "{why}");
        assert_eq!(Storage::parse("sqlite:///var/lib/x.sqlite"), sqlite("/var/lib/x.sqlite"));
        assert_eq!(Storage::parse("SQLite:///a%20b/c"), sqlite("/a b/c"));
        for text in ["memory:x", "memory", "sqlite:x", "sqlite://x/y", "sqlite:///", "", "x:y"] {
            assert!(Storage::parse(text).is_err(), "{text}");
        }
        let disk = |path: &str| Ok(Storage::Disk(path.into()));
        assert_eq!(Storage::parse("disk:///var/lib/x"), disk("/var/lib/x"));
        assert_eq!(Storage::Disk("/x".into()).facts().kind, "disk");
        for text in ["disk:///a/", "disk:///a?b", "disk://a/b", "disk:", "disk:///"] {
            assert!(Storage::parse(text).unwrap_err().contains("disk:///var"), "{text}");
        }
        for text in ["sqlite:///a/", "sqlite:///a?mode=ro", "sqlite:///a#b", "sqlite::memory:"] {
            assert!(Storage::parse(text).unwrap_err().contains("absolute path"), "{text}");
        }
    }

    #[test]
    fn shared_storage_is_known_by_its_scheme() {
        for (text, kind) in [
            ("redis://:hunter2@db/0", "redis"),
            ("REDISS+Sentinel://:hunter2@a,b/main", "redis sentinel"),
            ("redis+cluster://:hunter2@a,b", "redis cluster"),
            ("postgresql://me:hunter2@db/app", "postgres"),
        ] {
            let storage = Storage::parse(text).unwrap();
            assert_eq!(storage.facts().kind, kind);
            let Storage::Shared(shared) = &storage else { panic!("{storage:?}") };
            assert_eq!(shared.url(), text);
            let shown = format!("{storage} {storage:?}");
            assert!(shown.contains(kind) && !shown.contains("hunter2"), "{shown}");
        }
        for text in ["redis:", "postgres://", "mysql://:hunter2@db", "file:///hunter2"] {
            let why = Storage::parse(text).unwrap_err();
            assert!(why.contains("redis://...") && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn it_is_shown_as_it_can_be_given() {
        for text in ["memory:", "disk:///a%20b", "sqlite:///var/lib/x.sqlite", "sqlite:///a%20b/c"]
        {
            assert_eq!(Storage::parse(text).unwrap().to_string(), text);
        }
        let platform = Storage::platform().unwrap();
        assert_eq!(Storage::parse(&platform.to_string()), Ok(platform));
    }
}
