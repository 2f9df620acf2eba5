//! How much strangers can make this server fetch.
//!
//! Everybody can open `/authorize` with a URL of their choice, and a hostile page can have browsers
//! open many, so what follows from it is counted by the hour: altogether, for each network that
//! asks, and for each host what it was asked for in vain. No single network can spend a host for
//! others, and what was good lately is renewed out of a budget of its own.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use outbound_http::AddressPolicy;

/// Fetches per hour and process of what is not known: as many as clients may register in an hour,
/// each a few kilobytes over a connection of seconds.
const FETCHES_PER_HOUR: u32 = 10_000;

/// Fetches per hour and process of what was good lately, beyond which it is counted as if it were
/// not: two hundred copies of hosts in trouble, each asked for again as soon as may be.
const RENEWALS_PER_HOUR: u32 = 10_000;

/// Fetches per hour and process from one host that brought nothing: fewer than a host notices, and
/// a hundred addresses' shares. Beyond it whoever asked nothing of it in vain has one try still, so
/// that strangers who spent it keep out nobody who names a URL that is there.
const IN_VAIN_PER_HOST: u32 = 1000;

/// How much of it all one network may cause in an hour.
struct Share {
    fetches: u32,
    /// From one host.
    in_vain: u32,
}

/// An address: a whole office behind it has fewer apps, and makes fewer mistakes at one host.
const CUSTOMER: Share = Share { fetches: 200, in_vain: 10 };

/// What one customer of a generous provider has of IPv6, or several of an ordinary one.
const SITE: Share = Share { fetches: 1000, in_vain: 100 };

const HOUR: u64 = 60 * 60;

#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Hour>);

#[derive(Debug, Default)]
struct Hour {
    /// Hours since 1970.
    number: u64,
    fetches: u32,
    renewals: u32,
    by_network: HashMap<Network, u32>,
    /// By host, and of these by network; no network stands for all.
    in_vain: HashMap<(String, Option<Network>), u32>,
}

/// The time until there is budget again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted(pub(super) Duration);

/// What is given back if the host has what it is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Charge {
    hour: u64,
    in_vain: Vec<(String, Option<Network>)>,
}

impl Budget {
    /// Counts a fetch that is about to begin, as one in vain. Of a renewal of what was good lately
    /// no host and no network hears.
    pub(super) fn charge(
        &self,
        host: &str,
        peer: Option<IpAddr>,
        renews: bool,
        now: u64,
    ) -> Result<Charge, Exhausted> {
        let mut hour = self.hour();
        if hour.number != now / HOUR {
            *hour = Hour { number: now / HOUR, ..Hour::default() };
        }
        if renews && hour.renewals < RENEWALS_PER_HOUR {
            hour.renewals += 1;
            return Ok(Charge::default());
        }
        let networks = peer.map(networks).unwrap_or_default();
        if hour.is_spent(host, &networks) {
            return Err(Exhausted(Duration::from_secs(HOUR - now % HOUR)));
        }
        hour.fetches += 1;
        for network in &networks {
            *hour.by_network.entry(*network).or_default() += 1;
        }
        let all = networks.into_iter().map(Some).chain([None]);
        let in_vain: Vec<_> = all.map(|network| (host.to_owned(), network)).collect();
        for counter in &in_vain {
            *hour.in_vain.entry(counter.clone()).or_default() += 1;
        }
        Ok(Charge { hour: hour.number, in_vain })
    }

    /// The host had what it was asked for.
    pub(super) fn succeeded(&self, charge: &Charge) {
        let mut hour = self.hour();
        if hour.number != charge.hour {
            return;
        }
        for counter in &charge.in_vain {
            if let Some(count) = hour.in_vain.get_mut(counter) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn hour(&self) -> MutexGuard<'_, Hour> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hour {
    fn is_spent(&self, host: &str, networks: &[Network]) -> bool {
        let in_vain =
            |network| self.in_vain.get(&(host.to_owned(), network)).copied().unwrap_or_default();
        let is_new = networks.first().is_some_and(|network| in_vain(Some(*network)) == 0);
        self.fetches >= FETCHES_PER_HOUR
            || (in_vain(None) >= IN_VAIN_PER_HOST && !is_new)
            || networks.iter().any(|network| {
                let fetches = self.by_network.get(network).copied().unwrap_or_default();
                let share = network.share();
                fetches >= share.fetches || in_vain(Some(*network)) >= share.in_vain
            })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    /// An IPv4 address or a /64 of IPv6: the least that one customer of a provider has.
    Customer(IpAddr),
    /// A /48 of IPv6.
    Site(IpAddr),
}

impl Network {
    fn share(self) -> &'static Share {
        match self {
            Self::Customer(_) => &CUSTOMER,
            Self::Site(_) => &SITE,
        }
    }
}

/// The networks of which an address is, the smallest first.
///
/// An address that is not public names nobody: it is that of a proxy in front about which this
/// server was not told, and everybody would be one.
fn networks(address: IpAddr) -> Vec<Network> {
    let address = address.to_canonical();
    if !AddressPolicy::PublicOnly.allows(address) {
        return Vec::new();
    }
    match address {
        IpAddr::V4(_) => vec![Network::Customer(address)],
        IpAddr::V6(v6) => {
            let first = |bits: u32| {
                IpAddr::from(Ipv6Addr::from_bits(v6.to_bits() & (!0 << (u128::BITS - bits))))
            };
            vec![Network::Customer(first(64)), Network::Site(first(48))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// One of the public addresses 8.x.x.x.
    fn peer(number: u32) -> IpAddr {
        IpAddr::V4((0x0800_0000 + number).into())
    }

    fn spent<T>() -> Result<T, Exhausted> {
        Err(Exhausted(Duration::from_secs(HOUR - NOW % HOUR)))
    }

    /// Asks in vain; whether that was allowed.
    fn ask(budget: &Budget, host: &str, peer: Option<IpAddr>) -> bool {
        budget.charge(host, peer, false, NOW).is_ok()
    }

    #[test]
    fn one_network_spends_no_host_for_others() {
        let budget = Budget::default();
        for _ in 0..CUSTOMER.in_vain {
            assert!(ask(&budget, "app.example", Some(peer(1))));
        }
        assert_eq!(budget.charge("app.example", Some(peer(1)), false, NOW), spent());
        assert!(ask(&budget, "other.example", Some(peer(1))));
        assert!(ask(&budget, "app.example", Some(peer(2))));
        assert!(budget.charge("app.example", Some(peer(1)), false, NOW + HOUR).is_ok());
    }

    #[test]
    fn a_host_is_not_hammered_and_whoever_is_new_has_one_try_still() {
        let budget = Budget::default();
        for number in 0..IN_VAIN_PER_HOST {
            assert!(ask(&budget, "victim.example", Some(peer(number / 2))));
        }
        assert!(!ask(&budget, "victim.example", Some(peer(0))), "it has had its try");
        assert!(!ask(&budget, "victim.example", None), "that may be anybody");
        assert!(ask(&budget, "other.example", None));
        let new = budget.charge("victim.example", Some(peer(1_000_000)), false, NOW);
        assert!(new.is_ok());
        assert!(!ask(&budget, "victim.example", Some(peer(1_000_000))));
        budget.succeeded(&new.unwrap());
        assert!(ask(&budget, "victim.example", Some(peer(1_000_000))), "it named what is there");
        assert!(budget.charge("victim.example", None, false, NOW + HOUR).is_ok());
    }

    #[test]
    fn what_was_good_lately_costs_no_host_and_no_network() {
        let budget = Budget::default();
        for _ in 0..RENEWALS_PER_HOUR {
            let charge = budget.charge("app.example", Some(peer(1)), true, NOW).unwrap();
            assert_eq!(charge, Charge::default());
        }
        for _ in 0..CUSTOMER.in_vain {
            assert!(
                budget.charge("app.example", Some(peer(1)), true, NOW).is_ok(),
                "as if unknown"
            );
        }
        assert_eq!(budget.charge("app.example", Some(peer(1)), true, NOW), spent());
    }

    #[test]
    fn strangers_cannot_keep_what_was_good_from_being_renewed() {
        let budget = Budget::default();
        for number in 0..FETCHES_PER_HOUR {
            assert!(ask(&budget, "app.example", Some(peer(number))));
        }
        assert!(!ask(&budget, "new.example", Some(peer(FETCHES_PER_HOUR))), "there is an end");
        assert!(budget.charge("app.example", Some(peer(0)), true, NOW).is_ok());
        assert!(budget.charge("new.example", Some(peer(0)), false, NOW + HOUR).is_ok());
    }

    #[test]
    fn a_host_that_has_its_documents_is_not_held_up() {
        let budget = Budget::default();
        for number in 0..2 * IN_VAIN_PER_HOST {
            let charge =
                budget.charge("app.example", Some(peer(number % 100)), false, NOW).unwrap();
            budget.succeeded(&charge);
        }
        let late = budget.charge("app.example", None, false, NOW).unwrap();
        for _ in 0..IN_VAIN_PER_HOST {
            assert!(budget.charge("app.example", None, false, NOW + HOUR).is_ok());
        }
        budget.succeeded(&late);
        assert!(budget.charge("app.example", None, false, NOW + HOUR).is_err(), "of another hour");
    }

    #[test]
    fn one_address_does_not_spend_everybodys() {
        let budget = Budget::default();
        let fetch = |number: u32, peer: Option<IpAddr>| {
            budget.charge(&format!("h{number}.example"), peer, false, NOW).is_ok()
        };
        let host = |low: u32| format!("2600:1:2:3::{low:x}").parse().ok();
        assert!((0..CUSTOMER.fetches).all(|number| fetch(number, host(number))));
        assert!(!fetch(10_000, host(0xffff)), "the same /64");
        let mapped = "::ffff:8.8.8.8".parse().ok();
        assert!((0..CUSTOMER.fetches).all(|number| fetch(number, mapped)));
        assert!(!fetch(10_000, "8.8.8.8".parse().ok()), "the same address");

        let network = |number: u32| format!("2600:1:2:{:x}::1", number + 16).parse().ok();
        assert!((CUSTOMER.fetches..SITE.fetches).all(|number| fetch(number, network(number))));
        assert!(!fetch(10_000, network(10_000)), "the same /48");
        assert!(fetch(10_000, "2600:1:3::1".parse().ok()));
    }

    #[test]
    fn one_site_spends_no_host_for_others() {
        let budget = Budget::default();
        let network = |number: u32| format!("2600:1:2:{number:x}::1").parse().ok();
        assert!((0..SITE.in_vain).all(|number| ask(&budget, "app.example", network(number))));
        assert!(!ask(&budget, "app.example", network(SITE.in_vain)));
        assert!(ask(&budget, "app.example", Some(peer(1))));
    }

    #[test]
    fn a_proxy_in_front_is_not_everybody() {
        for address in ["10.0.0.1", "127.0.0.1", "100.64.0.1", "fd00::1", "::1", "::ffff:10.0.0.1"]
        {
            let (budget, peer) = (Budget::default(), address.parse().ok());
            for number in 0..2 * CUSTOMER.fetches {
                assert!(ask(&budget, &format!("h{number}.example"), peer), "{address}");
            }
            for _ in 0..2 * CUSTOMER.in_vain {
                assert!(ask(&budget, "app.example", peer), "{address}");
            }
        }
    }
}
