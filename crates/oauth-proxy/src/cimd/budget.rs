//! How much strangers can make this server fetch.
//!
//! Everybody can open `/authorize` with a URL of their choice, so what follows from it is counted:
//! by the hour, altogether, for each host that is asked and for each address that asks. Documents
//! that are known cost nothing here, and one that is there was asked for rightly: its host's count
//! goes back.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Fetches per hour and process of documents that are not in memory: as many as clients may
/// register in an hour, each a few kilobytes over a connection of seconds.
const FETCHES_PER_HOUR: u32 = 10_000;

/// Fetches per hour and process from one host that brought no document: far more than a mistake
/// makes, far fewer than a host notices.
const FAILURES_PER_HOST: u32 = 100;

/// Fetches per hour and process for one address: a whole office behind it has fewer apps.
const FETCHES_PER_PEER: u32 = 200;

const HOUR: u64 = 60 * 60;

#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Hour>);

#[derive(Debug, Default)]
struct Hour {
    /// Hours since 1970.
    number: u64,
    fetches: u32,
    failures: HashMap<String, u32>,
    peers: HashMap<IpAddr, u32>,
}

/// The time until there is budget again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted(pub(super) Duration);

impl Budget {
    /// Counts a fetch that is about to begin, as one that fails.
    pub(super) fn charge(
        &self,
        host: &str,
        peer: Option<IpAddr>,
        now: u64,
    ) -> Result<(), Exhausted> {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hour.number != now / HOUR {
            *hour = Hour { number: now / HOUR, ..Hour::default() };
        }
        let peer = peer.map(network);
        let by_peer = peer.and_then(|peer| hour.peers.get(&peer)).copied().unwrap_or(0);
        let by_host = hour.failures.get(host).copied().unwrap_or(0);
        if hour.fetches >= FETCHES_PER_HOUR
            || by_host >= FAILURES_PER_HOST
            || by_peer >= FETCHES_PER_PEER
        {
            return Err(Exhausted(Duration::from_secs(HOUR - now % HOUR)));
        }
        hour.fetches += 1;
        hour.failures.insert(host.to_owned(), by_host + 1);
        if let Some(peer) = peer {
            hour.peers.insert(peer, by_peer + 1);
        }
        Ok(())
    }

    /// The host had what it was asked for.
    pub(super) fn succeeded(&self, host: &str) {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failures) = hour.failures.get_mut(host) {
            *failures = failures.saturating_sub(1);
        }
    }
}

/// One customer of a provider has at least a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn peer(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn one_host_is_not_hammered_whoever_asks() {
        let budget = Budget::default();
        for number in 0..FAILURES_PER_HOST {
            assert_eq!(budget.charge("victim.example", Some(peer(number)), NOW), Ok(()));
        }
        let spent = budget.charge("victim.example", Some(peer(1_000_000)), NOW);
        assert_eq!(spent, Err(Exhausted(Duration::from_secs(HOUR - NOW % HOUR))));
        assert_eq!(budget.charge("other.example", Some(peer(1_000_000)), NOW), Ok(()));
        assert_eq!(budget.charge("victim.example", Some(peer(1_000_000)), NOW + HOUR), Ok(()));
    }

    #[test]
    fn a_host_that_has_its_documents_is_not_held_up() {
        let budget = Budget::default();
        for number in 0..10 * FAILURES_PER_HOST {
            assert_eq!(budget.charge("app.example", Some(peer(number)), NOW), Ok(()));
            budget.succeeded("app.example");
        }
    }

    #[test]
    fn one_address_does_not_spend_everybodys() {
        let budget = Budget::default();
        let hosts = |number: u32| format!("h{number}.example");
        for number in 0..FETCHES_PER_PEER {
            let address = format!("2001:db8::{number:x}").parse().ok();
            assert_eq!(budget.charge(&hosts(number), address, NOW), Ok(()));
            budget.succeeded(&hosts(number));
        }
        let same = "2001:db8::ffff:1".parse().ok();
        assert!(budget.charge("new.example", same, NOW).is_err());
        let mapped = "::ffff:192.0.2.1".parse().ok();
        assert_eq!(budget.charge("new.example", mapped, NOW), Ok(()));
    }

    #[test]
    fn there_is_an_end_for_all_together() {
        let budget = Budget::default();
        for number in 0..FETCHES_PER_HOUR {
            assert_eq!(
                budget.charge(&format!("h{number}.example"), Some(peer(number)), NOW),
                Ok(())
            );
        }
        assert!(budget.charge("new.example", Some(peer(FETCHES_PER_HOUR)), NOW).is_err());
        assert_eq!(budget.charge("new.example", Some(peer(0)), NOW + HOUR), Ok(()));
    }
}
