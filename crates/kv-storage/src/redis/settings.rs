//! What a storage URL of Redis says.

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, time::Duration};

use secrecy::SecretString;

/// Enough for a handshake across a continent; a server that needs longer is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Far longer than any of our commands takes, and short enough that a person still waits.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Replicas acknowledge within a round trip; one that needs longer is not there.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1);

/// More cannot be meant: a wait that long is an outage.
const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// More replicas than anybody gives one master.
const MAX_REPLICAS: u32 = 16;

/// Redis and Cluster nodes, by default.
const PORT: u16 = 6379;

/// Sentinels, by default.
const SENTINEL_PORT: u16 = 26379;

/// What keys begin with unless told: a Redis is often shared.
const PREFIX: &str = "kv";

/// Prefixes are in every key.
const MAX_PREFIX_BYTES: usize = 64;

/// What a storage URL may begin with. With `rediss`, connections are TLS.
const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];

const OPTIONS: &str = "prefix, wait_replicas, wait_timeout, connect_timeout, response_timeout, \
     ca_file (with rediss), sentinel_user and sentinel_password (with +sentinel)";

/// A host and its port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Address {
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Who we are to the server.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// An ACL user; none is the user `default`.
    pub(super) user: Option<String>,
    pub(super) password: SecretString,
}

/// How the servers are arranged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Arrangement {
    Single,
    /// A master that sentinels watch under this name.
    Sentinel(String),
    Cluster,
}

/// How TLS is checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Tls {
    /// Trusted instead of the platform's certificates.
    pub(super) ca_file: Option<PathBuf>,
}

/// A storage URL, understood.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(super) arrangement: Arrangement,
    /// The server, some sentinels, or some nodes of the cluster; at least one.
    pub(super) addresses: Vec<Address>,
    pub(super) credentials: Option<Credentials>,
    pub(super) sentinel_credentials: Option<Credentials>,
    pub(super) database: u32,
    pub(super) prefix: String,
    pub(super) tls: Option<Tls>,
    pub(super) wait_replicas: u32,
    pub(super) wait_timeout: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

impl Settings {
    /// Understands a URL of which `scheme` was before the first colon and `rest` after it.
    ///
    /// # Errors
    ///
    /// What is wrong, without a part of the URL that could be a password.
    pub(crate) fn parse(scheme: &str, rest: &str) -> Result<Self, String> {
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            // Not repeated: where a colon is missing, it is the whole URL.
            return Err(format!("it must begin with one of {}, then ://", SCHEMES.join(", ")));
        }
        let (protocol, arrangement) = scheme.split_once('+').unwrap_or((&scheme, ""));
        let rest = rest.strip_prefix("//").ok_or("two slashes must follow the scheme")?;
        if rest.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control()) {
            return Err("a # or a space in it is written %23 or %20".into());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(parse_userinfo(userinfo)?), hosts),
            None => (None, authority),
        };
        let (arrangement, database) = match arrangement {
            "" => (Arrangement::Single, path),
            "cluster" => (Arrangement::Cluster, path),
            _ => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err("the master's name, as the sentinels know it, must follow the \
                         hosts and a slash"
                        .into());
                }
                (Arrangement::Sentinel(decode(name)?), database)
            }
        };
        let (port, wait_replicas) = match arrangement {
            Arrangement::Single => (PORT, 0),
            Arrangement::Sentinel(_) => (SENTINEL_PORT, 1),
            Arrangement::Cluster => (PORT, 1),
        };
        let addresses = hosts
            .split(',')
            .map(|host| parse_address(host, port))
            .collect::<Result<Vec<_>, _>>()?;
        if arrangement == Arrangement::Single && addresses.len() > 1 {
            return Err("several hosts need the scheme with +sentinel or +cluster".into());
        }
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| {
                "what follows the last slash must be the number of a database".to_owned()
            })?,
        };
        if arrangement == Arrangement::Cluster && database != 0 {
            return Err("a cluster has no database but 0".into());
        }
        let mut settings = Self {
            arrangement,
            addresses,
            credentials,
            sentinel_credentials: None,
            database,
            prefix: PREFIX.to_owned(),
            tls: (protocol == "rediss").then_some(Tls { ca_file: None }),
            wait_replicas,
            wait_timeout: WAIT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
        };
        settings.parse_options(query)?;
        Ok(settings)
    }

    fn parse_options(&mut self, query: &str) -> Result<(), String> {
        let mut seen = Vec::new();
        let (mut sentinel_user, mut sentinel_password) = (None, None);
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or("an option is written name=value")?;
            if seen.contains(&name) {
                return Err("an option is given twice".into());
            }
            seen.push(name);
            let value = decode(value)?;
            match name {
                "prefix" => self.prefix = parse_prefix(value)?,
                "wait_replicas" => self.wait_replicas = parse_replicas(&value)?,
                "wait_timeout" => self.wait_timeout = parse_duration(name, &value)?,
                "connect_timeout" => self.connect_timeout = parse_duration(name, &value)?,
                "response_timeout" => self.response_timeout = parse_duration(name, &value)?,
                "ca_file" => {
                    let tls = self.tls.as_mut().ok_or("ca_file needs the scheme rediss")?;
                    tls.ca_file = Some(value.into());
                }
                "sentinel_user" => sentinel_user = Some(value),
                "sentinel_password" => sentinel_password = Some(SecretString::from(value)),
                _ => return Err(format!("the options are {OPTIONS}")),
            }
        }
        let of_sentinels = sentinel_user.is_some() || sentinel_password.is_some();
        if of_sentinels && !matches!(self.arrangement, Arrangement::Sentinel(_)) {
            return Err("sentinel_user and sentinel_password need the scheme with +sentinel".into());
        }
        self.sentinel_credentials = match (sentinel_user, sentinel_password) {
            (Some(_), None) => return Err("sentinel_user needs sentinel_password".into()),
            (user, Some(password)) => Some(Credentials { user, password }),
            (None, None) => None,
        };
        Ok(())
    }
}

fn parse_userinfo(userinfo: &str) -> Result<Credentials, String> {
    let Some((user, password)) = userinfo.split_once(':') else {
        return Err("what stands before the @ is user:password or :password".into());
    };
    if password.is_empty() {
        return Err("the password before the @ is empty".into());
    }
    let user = decode(user)?;
    Ok(Credentials {
        user: Some(user).filter(|user| !user.is_empty()),
        password: decode(password)?.into(),
    })
}

fn parse_address(host: &str, default_port: u16) -> Result<Address, String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']').ok_or("the bracket of a host is not closed")?;
            let digits = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
            if !name.contains(':') || !name.chars().all(digits) {
                return Err("in brackets stands an IPv6 address".into());
            }
            (name, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port).filter(|port| !port.is_empty())),
            None => (host, Some("")),
        },
    };
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if name.is_empty() || !name.chars().all(letters) {
        return Err("a host is missing or has characters that no host has; in a password, \
             @ / ? # % : are written %40 %2F %3F %23 %25 %3A"
            .into());
    }
    let digits = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        Some("") => Some(default_port),
        Some(port) => Some(port).filter(digits).and_then(|port| port.parse().ok()),
        None => None,
    };
    let port = port.filter(|&port| port > 0).ok_or("a port is a number from 1 to 65535")?;
    Ok(Address { host: name.to_owned(), port })
}

fn parse_prefix(prefix: String) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if (1..=MAX_PREFIX_BYTES).contains(&prefix.len()) && prefix.bytes().all(good) {
        return Ok(prefix);
    }
    Err(format!("prefix must be 1 to {MAX_PREFIX_BYTES} of A-Z, a-z, 0-9, _, - and ."))
}

fn parse_replicas(number: &str) -> Result<u32, String> {
    match number.parse() {
        Ok(number) if number <= MAX_REPLICAS => Ok(number),
        _ => Err(format!("wait_replicas must be a number from 0 to {MAX_REPLICAS}")),
    }
}

fn parse_duration(name: &str, text: &str) -> Result<Duration, String> {
    let duration = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().ok().map(Duration::from_millis),
        (None, Some(seconds)) => seconds.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    duration
        .filter(|duration| (Duration::from_millis(1)..=MAX_TIMEOUT).contains(duration))
        .ok_or_else(|| format!("{name} must be from 1ms to 60s, such as 500ms or 2s"))
}

fn decode(text: &str) -> Result<String, String> {
    crate::open::percent_decode(text)
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| "a % in it is written %25, and what is decoded must be UTF-8".to_owned())
}
