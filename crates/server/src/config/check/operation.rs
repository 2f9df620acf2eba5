//! How the server is watched, and what it can bear.

use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use super::{
    super::{
        AdminListen, AdminPlace, AuditLog, Given, Listen, Operation, Problems, Storage, TokenFile,
        setting::{
            ADMIN_HOST, ADMIN_LISTEN, ADMIN_TOKEN_FILE, AUDIT_LOG, DRAIN_TIME, LISTEN,
            MAX_CONNECTIONS, TRUSTED_PROXIES,
        },
    },
    listen,
    reader::Reader,
};
use crate::cli::duration;

/// More proxies in a row than anybody has.
const MOST_PROXIES: usize = 16;

/// Each connection may have two file descriptors; no process has more than a few million.
const MOST_CONNECTIONS: usize = 1_000_000;

/// Supervisors wait ten to ninety seconds before they kill; an hour is beyond all of them.
const LONGEST_DRAIN: Duration = Duration::from_hours(1);

/// `None` if something is wrong; the reader knows what.
pub(super) fn read(
    reader: &mut Reader<'_>,
    public: Option<Listen>,
    storage: Option<&Storage>,
) -> Option<Operation> {
    let admin = admin(reader, public, storage);
    let audit_log = reader.parsed(&AUDIT_LOG, |text| Ok::<_, String>(AuditLog::parse(text)));
    let trusted_proxies = reader.parsed(&TRUSTED_PROXIES, |text| number(text, 0..=MOST_PROXIES));
    let max_connections =
        reader.parsed(&MAX_CONNECTIONS, |text| number(text, 1..=MOST_CONNECTIONS));
    let drain = reader.parsed(&DRAIN_TIME, |text| {
        let drain = duration::parse(text).map_err(|why| format!("{text:?}: {why}"))?;
        if drain > LONGEST_DRAIN {
            return Err(format!("{text} is too long: at most 1h"));
        }
        Ok(drain)
    });
    Some(Operation {
        admin,
        audit_log: audit_log?,
        trusted_proxies: trusted_proxies?,
        max_connections: max_connections?,
        drain: drain?,
    })
}

/// Where the administration of a server with these settings is, as far as they say it.
pub(in super::super) fn admin_place(
    given: &Given,
    problems: Problems,
) -> Result<AdminPlace, Problems> {
    let mut reader = Reader::new(given, problems);
    let storage = super::storage(&mut reader);
    let token = token(&mut reader, storage.as_ref());
    let at = reader.is_given(&ADMIN_LISTEN).then(|| reader.parsed(&ADMIN_LISTEN, listen));
    let problems = reader.into_problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(AdminPlace { url: at.flatten().map(url), token })
}

/// How to reach what listens there from this machine.
fn url(listen: Listen) -> String {
    match listen {
        Listen::Loopback(port) => format!("http://localhost:{port}"),
        Listen::At(mut address) => {
            if address.ip().is_unspecified() {
                let v4 = address.is_ipv4();
                let loopback: [IpAddr; 2] =
                    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
                address.set_ip(loopback[usize::from(!v4)]);
            }
            format!("http://{address}")
        }
    }
}

fn token(reader: &mut Reader<'_>, storage: Option<&Storage>) -> Option<TokenFile> {
    if reader.is_given(&ADMIN_TOKEN_FILE) {
        return reader.text(&ADMIN_TOKEN_FILE).map(|path| TokenFile::Given(path.into()));
    }
    storage.and_then(|storage| storage.beside("admin-token")).map(TokenFile::Made)
}

fn admin(
    reader: &mut Reader<'_>,
    public: Option<Listen>,
    storage: Option<&Storage>,
) -> Option<AdminListen> {
    let token = token(reader, storage);
    let hosts = reader.each(&ADMIN_HOST, Vec::new(), |mut hosts, name| {
        if name.is_empty() || name.contains(['/', ':', '@', '*']) {
            return Err(format!("{name:?} is not a host name, without a port"));
        }
        hosts.push(name.to_ascii_lowercase());
        Ok(hosts)
    });
    if !reader.is_given(&ADMIN_LISTEN) {
        if !hosts.is_empty() {
            let why = format!("it has no effect without {}", ADMIN_LISTEN.own_name());
            reader.wrong(&ADMIN_HOST, why);
        }
        return None;
    }
    let at = reader.parsed(&ADMIN_LISTEN, listen)?;
    if public.is_some_and(|public| overlap(at, public)) {
        let why = format!(
            "it is where clients are served ({}); give it a port of its own",
            LISTEN.own_name()
        );
        reader.wrong(&ADMIN_LISTEN, why);
    }
    Some(AdminListen { listen: at, hosts, token })
}

/// Whether both could be reached at one address: then one of them would not start, or the public
/// one would answer for the other.
fn overlap(one: Listen, other: Listen) -> bool {
    let port = |listen| match listen {
        Listen::Loopback(port) => port,
        Listen::At(address) => address.port(),
    };
    if port(one) != port(other) || port(one) == 0 {
        return false;
    }
    match (one, other) {
        (Listen::At(one), Listen::At(other)) => {
            one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
        }
        (Listen::Loopback(_), Listen::At(at)) | (Listen::At(at), Listen::Loopback(_)) => {
            at.ip().is_loopback() || at.ip().is_unspecified()
        }
        (Listen::Loopback(_), Listen::Loopback(_)) => true,
    }
}

fn number<N>(text: &str, bounds: RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| {
        format!("{text:?} is not a whole number from {} to {}", bounds.start(), bounds.end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(number("16", 0..=MOST_PROXIES), Ok(16));
        for text in ["17", "-1", "x", "", "1.5"] {
            let why = number(text, 0..=MOST_PROXIES).unwrap_err();
            assert_eq!(why, format!("{text:?} is not a whole number from 0 to 16"));
        }
        assert!(number("0", 1..=MOST_CONNECTIONS).is_err());
    }

    #[test]
    fn one_address_is_not_for_both() {
        let at = |text: &str| listen(text).unwrap();
        for (one, other, expected) in [
            ("127.0.0.1:8000", "127.0.0.1:8000", true),
            ("localhost:8000", "127.0.0.1:8000", true),
            ("localhost:8000", "[::1]:8000", true),
            ("localhost:8000", "localhost:8000", true),
            ("0.0.0.0:8000", "10.0.0.1:8000", true),
            ("localhost:8000", "[::]:8000", true),
            ("10.0.0.1:8000", "10.0.0.2:8000", false),
            ("localhost:8000", "10.0.0.2:8000", false),
            ("localhost:8000", "localhost:8001", false),
            ("localhost:0", "localhost:0", false),
        ] {
            assert_eq!(overlap(at(one), at(other)), expected, "{one} {other}");
            assert_eq!(overlap(at(other), at(one)), expected, "{other} {one}");
        }
    }
}
