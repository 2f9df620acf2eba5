//! Choosing a backend at run time.

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use crate::{Error, ErrorKind, KeyValue, Result};

/// What a storage URL can begin with.
struct Scheme {
    name: &'static str,
    /// The whole URL.
    form: &'static str,
    availability: Availability,
}

enum Availability {
    /// Part of this version, if the feature of that name is on.
    Feature(&'static str),
    /// Only recognized.
    Later,
}

const MEMORY: Scheme =
    Scheme { name: "memory", form: "memory:", availability: Availability::Feature("memory") };

const SQLITE: Scheme = Scheme {
    name: "sqlite",
    form: "sqlite:///path/to/file",
    availability: Availability::Feature("sqlite"),
};

const SCHEMES: [Scheme; 11] = [
    MEMORY,
    SQLITE,
    later("disk", "disk:///path"),
    later("postgres", "postgres://…"),
    later("postgresql", "postgresql://…"),
    later("redis", "redis://…"),
    later("rediss", "rediss://…"),
    later("redis+sentinel", "redis+sentinel://…"),
    later("rediss+sentinel", "rediss+sentinel://…"),
    later("redis+cluster", "redis+cluster://…"),
    later("rediss+cluster", "rediss+cluster://…"),
];

const fn later(name: &'static str, form: &'static str) -> Scheme {
    Scheme { name, form, availability: Availability::Later }
}

/// What a URL of this version asks for.
#[derive(Debug, Eq, PartialEq)]
enum Place {
    Memory,
    Sqlite(PathBuf),
}

/// Opens the store that a URL names, so that the backend is a matter of configuration.
///
/// | URL | store | feature |
/// | --- | --- | --- |
/// | `memory:` | `Memory` with the default bounds | `memory` |
/// | `sqlite:///path/to/file` | `Sqlite`; the file is made if there is none, its directory must exist | `sqlite` |
///
/// Paths are absolute; what a URL cannot hold in a path (`?`, `#`, `%`) is percent-encoded.
/// The schemes `disk`, `postgres`, `postgresql`, `redis`, `rediss`, and the latter two with
/// `+sentinel` or `+cluster`, are kept for later versions.
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
        Place::Memory => Ok(Arc::new(crate::Memory::new())),
        #[cfg(feature = "sqlite")]
        Place::Sqlite(path) => {
            let opened = crate::Sqlite::open(path).await;
            let store = opened.map_err(|error| error.with_hint(&form_hint(&SQLITE)))?;
            Ok(Arc::new(store))
        }
        #[cfg(not(all(feature = "memory", feature = "sqlite")))]
        place => Err(compiled_out(&place)),
    }
}

fn parse(url: &str) -> Result<Place> {
    let Some((name, rest)) = url.split_once(':') else {
        return Err(misconfigured(format!("the storage URL has no scheme: {}", known_forms())));
    };
    let known = |scheme: &&Scheme| scheme.name.eq_ignore_ascii_case(name);
    match SCHEMES.iter().find(known) {
        Some(scheme) if scheme.name == MEMORY.name => parse_memory(rest),
        Some(scheme) if scheme.name == SQLITE.name => parse_sqlite(rest),
        Some(scheme) => Err(misconfigured(format!(
            "storage {} is not built into this version: {}",
            scheme.form,
            known_forms()
        ))),
        // Without slashes it may be no scheme but, say, a user's name before a password.
        None if rest.starts_with("//") => Err(misconfigured(format!(
            "storage URLs with scheme {name:?} are unknown: {}",
            known_forms()
        ))),
        None => Err(misconfigured(format!("the storage URL has no scheme: {}", known_forms()))),
    }
}

fn parse_memory(rest: &str) -> Result<Place> {
    if rest.is_empty() {
        return Ok(Place::Memory);
    }
    Err(wrong(&MEMORY, "it takes neither a path nor options"))
}

fn parse_sqlite(rest: &str) -> Result<Place> {
    let refused = |reason| Err(wrong(&SQLITE, reason));
    if rest == ":memory:" {
        return refused("for a store in memory give memory:");
    }
    let Some(path) = rest.strip_prefix("//") else {
        return refused("the path must be absolute and follow three slashes");
    };
    if path.contains(['?', '#']) {
        return refused("it takes no options; a ? or # in the path is written %3F or %23");
    }
    if !path.starts_with('/') {
        return refused("the path must be absolute, and no host may stand before it");
    }
    if path.ends_with('/') {
        return refused("the path must name a file, not a directory");
    }
    match percent_decode(path) {
        Some(path) if !path.contains('\0') => Ok(Place::Sqlite(path.into())),
        _ => refused("a % in the path is written %25, and the decoded path must be UTF-8"),
    }
}

/// Undoes RFC 3986 §2.1.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(decoded).ok()
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
    let known = SCHEMES.iter().filter_map(|scheme| match scheme.availability {
        Availability::Feature(feature) => Some(format!("{} (feature {feature})", scheme.form)),
        Availability::Later => None,
    });
    format!("give one of {}", known.collect::<Vec<_>>().join(", "))
}

/// A place of this version whose backend this build does not have.
#[cfg(any(test, not(all(feature = "memory", feature = "sqlite"))))]
fn compiled_out(place: &Place) -> Error {
    let scheme = match place {
        Place::Memory => MEMORY,
        Place::Sqlite(_) => SQLITE,
    };
    misconfigured(format!(
        "storage {} is not compiled into this build: turn on feature {} of kv-storage",
        scheme.form, scheme.name
    ))
}
