//! Ports for servers that are told theirs before they start.

use std::{
    hash::{BuildHasher, RandomState},
    net::TcpListener,
    ops::Range,
};

use anyhow::{Context, Result};

/// Below those that the system gives to outgoing connections, so that a server can have its port
/// again after a restart.
const PORTS: Range<u16> = 12_000..32_000;

/// Enough to find one on a machine that runs many servers.
const TRIES: u64 = 100;

/// A port that nothing listens on now.
pub(crate) fn free() -> Result<u16> {
    let random = RandomState::new();
    (0..TRIES)
        .map(|index| {
            let span = u64::from(PORTS.end - PORTS.start);
            let offset = u16::try_from(random.hash_one(index) % span).unwrap_or_default();
            PORTS.start + offset
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no port is free")
}
