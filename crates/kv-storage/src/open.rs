//! Choosing a backend at run time.

mod bounds;
mod path;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

pub(crate) use self::bounds::MemoryBounds;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) use self::path::percent_decode;
use crate::{Error, ErrorKind, KeyValue, Result};

/// What a storage URL can begin with.
struct Scheme {
    name: &'static str,
    /// The whole URL.
    form: &'static str,
    /// Which feature of this crate it needs.
    feature: &'static str,
    /// Understands what follows the scheme's colon.
    parse: fn(&Scheme, &str) -> Result<Place>,
}

const MEMORY: Scheme = Scheme {
    name: "memory",
    form: "memory:",
    feature: "memory",
    parse: |scheme, rest| bounds::bounds(scheme, rest).map(Place::Memory),
};

const DISK: Scheme = Scheme {
    name: "disk",
    form: "disk:///path/to/directory",
    feature: "disk",
    parse: |scheme, rest| path::directory(scheme, rest).map(Place::Disk),
};

const SQLITE: Scheme = Scheme {
    name: "sqlite",
    form: "sqlite:///path/to/file",
    feature: "sqlite",
    parse: |scheme, rest| path::file(scheme, rest).map(Place::Sqlite),
};

/// The form of a URL for PostgreSQL.
pub(crate) const POSTGRES_FORM: &str =
    "postgres://user:password@host:port/database?schema=kv_storage";

/// The backend reads the rest of the URL itself.
const POSTGRES: Scheme = Scheme {
    name: "postgres",
    form: POSTGRES_FORM,
    feature: "postgres",
    parse: |_, _| Ok(Place::Postgres),
};

/// The same by its other name.
const POSTGRESQL: Scheme = Scheme { name: "postgresql", ..POSTGRES };

const SCHEMES: [Scheme; 11] = [
    MEMORY,
    DISK,
    SQLITE,
    POSTGRES,
    POSTGRESQL,
    redis("redis", "redis://…"),
    redis("rediss", "rediss://…"),
    redis("redis+sentinel", "redis+sentinel://…"),
    redis("rediss+sentinel", "rediss+sentinel://…"),
    redis("redis+cluster", "redis+cluster://…"),
    redis("rediss+cluster", "rediss+cluster://…"),
];

/// The backend reads the rest of the URL itself.
const fn redis(name: &'static str, form: &'static str) -> Scheme {
    let parse: fn(&Scheme, &str) -> Result<Place> = |_, _| Ok(Place::Redis);
    Scheme { name, form, feature: "redis", parse }
}

/// What a URL of this version asks for; a new one gets an arm in [`open`].
#[derive(Debug, Eq, PartialEq)]
enum Place {
    Memory(MemoryBounds),
    Disk(PathBuf),
    Sqlite(PathBuf),
    Postgres,
    Redis,
}

/// Opens the store that a URL names, so that the backend is a matter of configuration.
///
/// | URL | store | feature |
/// | --- | --- | --- |
/// | `memory:`, `memory:?max_entries=200000&max_bytes=268435456` | `Memory` with the default bounds, or with these for each collection | `memory` |
/// | `disk:///path/to/directory` | `Disk`; the directory is made if there is none, what it is in must exist | `disk` |
/// | `sqlite:///path/to/file` | `Sqlite`; the file is made if there is none, its directory must exist | `sqlite` |
/// | `postgres://user:password@host:port/database` (or `postgresql://…`) | `Postgres`, which documents its options, such as `?schema=` | `postgres` |
/// | `redis://…` or `rediss://…`, each also with `+sentinel` or `+cluster` | `Redis`, which documents the forms and their options | `redis` |
///
/// Paths are absolute; what a URL cannot hold in a path (`?`, `#`, `%`) is percent-encoded.
///
/// Values rest as they are given: wrap the store in [`Encrypted`](crate::Encrypted).
///
/// ```
/// # use kv_storage::{Encrypted, Fernet, KeyValue, Ttl};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kv_storage::Result<()> {
/// let store = kv_storage::open("memory:").await?;
/// let store = Encrypted::new(store, Fernet::new(&[Fernet::generate_key()])?, "https://issuer");
/// store.put("codes", "a", "secret".into(), Ttl::Forever).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ErrorKind::Misconfigured`] if the URL names no store that this build has, saying what it
/// should look like or which feature to turn on. The message repeats of the URL no more than
/// scheme and path, never a part that could hold a password. Otherwise what the backend fails
/// with, such as for a directory that is missing or may not be written to.
pub async fn open(url: &str) -> Result<Arc<dyn KeyValue>> {
    match parse(url)? {
        #[cfg(feature = "memory")]
        Place::Memory(bounds) => Ok(Arc::new(crate::Memory::bounded(bounds))),
        #[cfg(not(feature = "memory"))]
        Place::Memory(_) => Err(compiled_out(&MEMORY)),
        #[cfg(feature = "disk")]
        Place::Disk(directory) => {
            let opened = crate::Disk::open(directory).await;
            let store = opened.map_err(|error| error.with_hint(&form_hint(&DISK)))?;
            Ok(Arc::new(store))
        }
        #[cfg(not(feature = "disk"))]
        Place::Disk(_) => Err(compiled_out(&DISK)),
        #[cfg(feature = "sqlite")]
        Place::Sqlite(path) => {
            let opened = crate::Sqlite::open(path).await;
            let store = opened.map_err(|error| error.with_hint(&form_hint(&SQLITE)))?;
            Ok(Arc::new(store))
        }
        #[cfg(not(feature = "sqlite"))]
        Place::Sqlite(_) => Err(compiled_out(&SQLITE)),
        #[cfg(feature = "postgres")]
        Place::Postgres => Ok(Arc::new(crate::Postgres::open(url).await?)),
        #[cfg(not(feature = "postgres"))]
        Place::Postgres => Err(compiled_out(&POSTGRES)),
        #[cfg(feature = "redis")]
        Place::Redis => Ok(Arc::new(crate::Redis::open(url).await?)),
        #[cfg(not(feature = "redis"))]
        Place::Redis => Err(compiled_out(&redis("redis", "redis://…"))),
    }
}

fn parse(url: &str) -> Result<Place> {
    let Some((name, rest)) = url.split_once(':') else {
        return Err(misconfigured(format!("the storage URL has no scheme: {}", known_forms())));
    };
    let known = |scheme: &&Scheme| scheme.name.eq_ignore_ascii_case(name);
    match SCHEMES.iter().find(known) {
        Some(scheme) => (scheme.parse)(scheme, rest),
        // Without slashes it may be no scheme but, say, a user's name before a password.
        None if rest.starts_with("//") => Err(misconfigured(format!(
            "storage URLs with scheme {name:?} are unknown: {}",
            known_forms()
        ))),
        None => Err(misconfigured(format!("the storage URL has no scheme: {}", known_forms()))),
    }
}

/// The bounds in a URL that must be `memory:`.
#[cfg(feature = "memory")]
pub(crate) fn memory_bounds(url: &str) -> Result<MemoryBounds> {
    match parse(url)? {
        Place::Memory(bounds) => Ok(bounds),
        _ => Err(wrong(&MEMORY, "it names another store")),
    }
}

fn misconfigured(message: String) -> Error {
    Error::new(ErrorKind::Misconfigured, message)
}

/// A URL that is not in its scheme's form.
fn wrong(scheme: &Scheme, reason: &str) -> Error {
    misconfigured(format!("the {} storage URL is wrong: {reason}", scheme.name))
        .with_hint(&form_hint(scheme))
}

fn form_hint(scheme: &Scheme) -> String {
    format!("the URL's form is {}", scheme.form)
}

/// Which URLs this version knows, and what each needs.
fn known_forms() -> String {
    let known = SCHEMES.iter().filter(|scheme| scheme.name != POSTGRESQL.name);
    let known = known.map(|scheme| format!("{} (feature {})", scheme.form, scheme.feature));
    format!("give one of {}", known.collect::<Vec<_>>().join(", "))
}

/// A backend of this version that this build does not have.
#[cfg(any(
    test,
    not(all(
        feature = "disk",
        feature = "memory",
        feature = "postgres",
        feature = "redis",
        feature = "sqlite"
    ))
))]
fn compiled_out(scheme: &Scheme) -> Error {
    misconfigured(format!(
        "storage {} is not compiled into this build: turn on feature {} of kv-storage",
        scheme.form, scheme.feature
    ))
}
