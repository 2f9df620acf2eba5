//! Reading `postgres://…`: strictly, and without repeating what could hold a password.

use std::{net::IpAddr, path::PathBuf};

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

use crate::{
    Error, ErrorKind, Result,
    open::{POSTGRES_FORM, percent_decode},
};

/// The schema unless the URL names one.
const DEFAULT_SCHEMA: &str = "kv_storage";

/// The longest name that PostgreSQL keeps whole.
const MAX_SCHEMA_BYTES: usize = 63;

const DEFAULT_PORT: u16 = 5432;

/// How many connections a process makes at most unless the URL says: a server has a hundred for
/// all by default, and more than a few for each of its cores make nothing faster.
const DEFAULT_CONNECTIONS: u32 = 10;

/// Each connection is a process of the server: beyond this, it is a mistake.
const MAX_CONNECTIONS: u32 = 1000;

const OPTIONS: &str =
    "the options are schema, sslmode, sslrootcert, sslcert, sslkey, connections, prepared and host";

/// What a URL names.
pub(super) struct Target {
    pub(super) options: PgConnectOptions,
    pub(super) schema: String,
    pub(super) connections: u32,
    /// Whether statements are prepared, which needs a session of one's own.
    pub(super) prepared: bool,
    /// Where it is, for people: no secret.
    pub(super) place: String,
    /// The files that the options name, each with its option.
    pub(super) files: Vec<(&'static str, PathBuf)>,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(wrong("two slashes and a host follow the scheme"));
        };
        if !["postgres", "postgresql"].iter().any(|name| name.eq_ignore_ascii_case(scheme)) {
            return Err(wrong("its scheme is postgres or postgresql"));
        }
        if rest.contains('#') {
            return Err(wrong("a # is written %23"));
        }
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let settings = Settings::parse(options)?;
        let Some((authority, database)) = place.split_once('/') else {
            return Err(wrong(
                "it must name a database after the host; a / in the password is written %2F",
            ));
        };
        let database = decode(database)?;
        if database.is_empty() || database.contains('/') {
            return Err(wrong("it must name one database after the host"));
        }
        let Some((login, host)) = authority.rsplit_once('@') else {
            return Err(wrong(
                "it must name a user before the host; a / or ? in the password is written %2F or \
                 %3F",
            ));
        };
        if login.contains('@') {
            return Err(wrong("an @ in user or password is written %40"));
        }
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (decode(user)?, decode(password)?),
            None => (decode(login)?, String::new()),
        };
        if user.is_empty() {
            return Err(wrong("it must name a user before the host"));
        }
        let host = Host::parse(host, settings.host.as_deref())?;
        let place = format!("{}/{database}", host.place);
        let ssl_mode = settings.ssl_mode.unwrap_or(if host.near {
            PgSslMode::Disable
        } else {
            PgSslMode::VerifyFull
        });
        // Everything is set, so that libpq's environment variables for it have no effect.
        let mut connect = PgConnectOptions::new_without_pgpass()
            .host(&host.name)
            .port(host.port)
            .username(&user)
            .password(&password)
            .database(&database)
            .ssl_mode(ssl_mode)
            .application_name("kv-storage")
            // A pooler may refuse a session's settings that it does not know.
            .extra_float_digits(None)
            .disable_statement_logging();
        for (option, path) in &settings.files {
            connect = match *option {
                "sslrootcert" => connect.ssl_root_cert(path),
                "sslcert" => connect.ssl_client_cert(path),
                _ => connect.ssl_client_key(path),
            };
        }
        Ok(Self {
            options: connect,
            schema: settings.schema.unwrap_or_else(|| DEFAULT_SCHEMA.into()),
            connections: settings.connections.unwrap_or(DEFAULT_CONNECTIONS),
            prepared: settings.prepared.unwrap_or(true),
            place,
            files: settings.files,
        })
    }
}

/// Where the server listens.
struct Host {
    name: String,
    port: u16,
    place: String,
    /// Whether nobody else can listen in: on this machine.
    near: bool,
}

impl Host {
    /// Reads `name:port`, `[::1]:port`, or nothing if `socket` names a directory.
    fn parse(text: &str, socket: Option<&str>) -> Result<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) =
                    rest.split_once(']').ok_or_else(|| wrong("a [ is not closed"))?;
                if name.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(wrong("only an IPv6 address stands in [ ]"));
                }
                (name.to_owned(), port.strip_prefix(':'))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (decode(name)?, Some(port)),
                None => (decode(text)?, None),
            },
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| wrong("a port is a number from 1 to 65535, on one host only"))?,
        };
        let name = match (name.is_empty(), socket) {
            (true, Some(directory)) => directory.to_owned(),
            (true, None) => return Err(wrong("it must name a host")),
            (false, Some(_)) => {
                return Err(wrong("host= names a socket's directory, so no other host is given"));
            }
            (false, None) => name,
        };
        if name.contains(',') {
            return Err(wrong("it must name one host, the primary server"));
        }
        let near = name.starts_with('/')
            || name == "localhost"
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let place = if name.contains(':') && !name.starts_with('/') {
            format!("[{name}]:{port}")
        } else {
            format!("{name}:{port}")
        };
        Ok(Self { name, port, place, near })
    }
}

/// What stands after the question mark.
#[derive(Default)]
struct Settings {
    schema: Option<String>,
    ssl_mode: Option<PgSslMode>,
    connections: Option<u32>,
    prepared: Option<bool>,
    host: Option<String>,
    files: Vec<(&'static str, PathBuf)>,
}

impl Settings {
    fn parse(text: &str) -> Result<Self> {
        let mut settings = Self::default();
        for option in text.split('&').filter(|option| !option.is_empty()) {
            let Some((name, value)) = option.split_once('=') else {
                return Err(wrong("an option is a name, = and a value"));
            };
            let value = decode(value)?;
            let given = match name {
                "schema" => settings.schema.replace(schema(value)?).is_some(),
                "sslmode" => settings.ssl_mode.replace(ssl_mode(&value)?).is_some(),
                "connections" => settings.connections.replace(connections(&value)?).is_some(),
                "prepared" => settings.prepared.replace(boolean(&value)?).is_some(),
                "host" => settings.host.replace(directory(value)?).is_some(),
                "sslrootcert" => settings.file("sslrootcert", value),
                "sslcert" => settings.file("sslcert", value),
                "sslkey" => settings.file("sslkey", value),
                // The name is not repeated: with an unescaped ? it would be of the password.
                _ => return Err(wrong(&format!("it has an unknown option; {OPTIONS}"))),
            };
            if given {
                return Err(wrong("it gives an option twice"));
            }
        }
        let has = |name| settings.files.iter().any(|(option, _)| *option == name);
        if has("sslcert") != has("sslkey") {
            return Err(wrong("sslcert and sslkey are given together"));
        }
        Ok(settings)
    }

    /// Adds a file; whether that option was given before.
    fn file(&mut self, option: &'static str, path: String) -> bool {
        let given = self.files.iter().any(|(other, _)| *other == option);
        self.files.push((option, path.into()));
        given
    }
}

fn schema(name: String) -> Result<String> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    if !begins || name.len() > MAX_SCHEMA_BYTES || !name.bytes().all(good) {
        return Err(wrong("schema is up to 63 of a-z, 0-9 and _, and begins with no digit"));
    }
    if name.starts_with("pg_") || name == "information_schema" {
        return Err(wrong("schema must not be one of PostgreSQL's own"));
    }
    Ok(name)
}

fn ssl_mode(name: &str) -> Result<PgSslMode> {
    match name {
        "disable" => Ok(PgSslMode::Disable),
        "require" => Ok(PgSslMode::Require),
        "verify-ca" => Ok(PgSslMode::VerifyCa),
        "verify-full" => Ok(PgSslMode::VerifyFull),
        "allow" | "prefer" => {
            Err(wrong("sslmode allow and prefer protect from nobody; give disable or verify-full"))
        }
        _ => Err(wrong("sslmode is disable, require, verify-ca or verify-full")),
    }
}

fn connections(number: &str) -> Result<u32> {
    let number = number.parse().ok().filter(|number| (1..=MAX_CONNECTIONS).contains(number));
    number.ok_or_else(|| wrong("connections is a number from 1 to 1000"))
}

fn boolean(word: &str) -> Result<bool> {
    word.parse().map_err(|_| wrong("prepared is true or false"))
}

fn directory(path: String) -> Result<String> {
    if path.starts_with('/') {
        return Ok(path);
    }
    Err(wrong("host= names the directory of a Unix socket, by its full path"))
}

fn decode(text: &str) -> Result<String> {
    percent_decode(text)
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| wrong("a % is written %25, and what is decoded must be UTF-8"))
}

fn wrong(reason: &str) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!("the postgres storage URL is wrong: {reason}; the URL's form is {POSTGRES_FORM}"),
    )
}

#[cfg(test)]
mod tests;
