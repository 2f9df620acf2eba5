//! What a server says about itself, and whether we can work with it.

use super::settings::{Address, Arrangement};
use crate::{Error, ErrorKind};

/// `GETDEL` came with it.
const OLDEST: (u32, u32) = (6, 2);

/// The one `maxmemory-policy` that throws nothing away.
const NO_EVICTION: &str = "noeviction";

/// The parts of `INFO` that are looked at, from its sections.
pub(super) const SECTIONS: [&str; 4] = ["server", "replication", "memory", "persistence"];

/// The answers to `INFO`, as far as they matter here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Server {
    version: String,
    /// Drawn anew at every start of the server.
    pub(super) run_id: String,
    /// `standalone`, `sentinel` or `cluster`.
    mode: String,
    /// `master` or `slave`.
    role: String,
    /// How many replicas are connected.
    pub(super) replicas: u32,
    eviction: Option<String>,
    append_only: Option<bool>,
    loading: bool,
}

impl Server {
    /// Reads one section after another.
    pub(super) fn read(&mut self, section: &str) {
        for line in section.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name {
                "redis_version" => value.clone_into(&mut self.version),
                "run_id" => value.clone_into(&mut self.run_id),
                "redis_mode" => value.clone_into(&mut self.mode),
                "role" => value.clone_into(&mut self.role),
                "connected_slaves" => self.replicas = value.parse().unwrap_or(0),
                "maxmemory_policy" => self.eviction = Some(value.to_owned()),
                "aof_enabled" => self.append_only = Some(value == "1"),
                "loading" => self.loading = value == "1",
                _ => {}
            }
        }
    }

    /// Makes sure that records can be kept here.
    pub(super) fn check(&self, address: &Address, arrangement: &Arrangement) -> Result<(), Error> {
        let refused = |reason: &str| {
            Error::new(ErrorKind::Misconfigured, format!("redis at {address} {reason}"))
        };
        if self.mode == "sentinel" {
            return Err(refused("is a sentinel: give a storage URL with +sentinel"));
        }
        let clustered = *arrangement == Arrangement::Cluster;
        if self.mode == "cluster" && !clustered {
            return Err(refused("is part of a cluster: give a storage URL with +cluster"));
        }
        if self.mode == "standalone" && clustered {
            return Err(refused("is no part of a cluster: give a storage URL without +cluster"));
        }
        if self.parsed_version().is_some_and(|version| version < OLDEST) {
            let (major, minor) = OLDEST;
            return Err(refused(&format!(
                "has version {}, which is too old: {major}.{minor} is needed",
                self.version
            )));
        }
        if let Some(policy) = self.eviction.as_deref().filter(|&policy| policy != NO_EVICTION) {
            return Err(refused(&format!(
                "throws records away when its memory is full (maxmemory-policy {policy}): set \
                 maxmemory-policy {NO_EVICTION}"
            )));
        }
        if self.loading {
            let message = format!("redis at {address} is still loading its data");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        if self.role != "master" {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "redis at {address} is a replica, which is neither read nor written: wait \
                     for the failover to end, or give the master's address"
                ),
            ));
        }
        Ok(())
    }

    /// Makes sure that writes can be confirmed as the settings ask.
    pub(super) fn check_replicas(&self, address: &Address, needed: u32) -> Result<(), Error> {
        if self.replicas >= needed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the redis master at {address} has {} replicas connected, and wait_replicas is \
                 {needed}: start replicas, or set wait_replicas={} in the storage URL",
                self.replicas, self.replicas
            ),
        ))
    }

    /// Says what an operator may want to change.
    pub(super) fn warn(&self, address: &Address) {
        if self.eviction.is_none() {
            tracing::warn!(
                %address,
                "redis does not tell its maxmemory-policy: make sure that it is {NO_EVICTION}"
            );
        }
        if self.append_only == Some(false) {
            tracing::warn!(
                %address,
                "redis keeps no append-only file: a restart loses acknowledged writes; \
                 set appendonly yes"
            );
        }
    }

    fn parsed_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changes: &str, arrangement: &Arrangement) -> Result<(), (ErrorKind, String)> {
        let mut server = Server::default();
        server.read(
            "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:abc\r\n\
             role:master\r\nconnected_slaves:1\r\nmaxmemory_policy:noeviction\r\nloading:0\r\n",
        );
        server.read(changes);
        let address = Address { host: "localhost".into(), port: 1 };
        let checked = server.check(&address, arrangement);
        checked.map_err(|error| (error.kind(), error.to_string()))
    }

    #[test]
    fn what_cannot_keep_records_is_refused() {
        let single = Arrangement::Single;
        assert_eq!(check("", &single), Ok(()));
        assert_eq!(check("redis_version:10.0", &single), Ok(()));
        assert_eq!(check("redis_mode:cluster", &Arrangement::Cluster), Ok(()));
        for (changes, arrangement, kind, part) in [
            ("redis_version:6.0.16", &single, ErrorKind::Misconfigured, "6.2 is needed"),
            ("redis_version:5.9", &single, ErrorKind::Misconfigured, "6.2 is needed"),
            ("redis_mode:sentinel", &single, ErrorKind::Misconfigured, "with +sentinel"),
            ("redis_mode:cluster", &single, ErrorKind::Misconfigured, "with +cluster"),
            ("", &Arrangement::Cluster, ErrorKind::Misconfigured, "without +cluster"),
            ("role:slave", &single, ErrorKind::Unavailable, "is a replica"),
            ("loading:1", &single, ErrorKind::Unavailable, "loading"),
            (
                "maxmemory_policy:volatile-ttl",
                &single,
                ErrorKind::Misconfigured,
                "set maxmemory-policy noeviction",
            ),
        ] {
            let (found, message) = check(changes, arrangement).unwrap_err();
            assert_eq!(found, kind, "{message}");
            assert!(message.contains(part), "{message}");
        }
    }
}
