//! On whose account something is fetched, and what is whose share.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use outbound_http::AddressPolicy;

use super::ClientUrl;

/// How much of it all one party may cause.
pub(super) struct Share {
    /// In an hour.
    pub(super) fetches: u32,
    /// In an hour, from one host.
    pub(super) in_vain: u32,
    pub(super) at_once: usize,
}

/// An address: a whole office behind it has fewer apps, and makes fewer mistakes at one host.
pub(super) const CUSTOMER: Share = Share { fetches: 200, in_vain: 10, at_once: 8 };

/// What one customer of a generous provider has of IPv6, or several of an ordinary one.
pub(super) const SITE: Share = Share { fetches: 1000, in_vain: 100, at_once: 16 };

/// A person: has fewer apps with keys. What is in vain is the app's doing, which tries again by
/// itself, so it is more than that of somebody who opens pages: a host in trouble for a quarter of
/// an hour.
pub(super) const PERSON: Share = Share { fetches: 200, in_vain: 100, at_once: 4 };

/// A host that describes clients which have their keys anywhere: on one that is open to everybody,
/// two people with clients that keep us waiting leave something to others.
pub(super) const DESCRIBER: Share =
    Share { fetches: 1000, in_vain: 1000, at_once: 3 * PERSON.at_once };

/// Who has a share.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Party {
    /// An IPv4 address or a /64 of IPv6: the least that one customer of a provider has.
    Customer(IpAddr),
    /// A /48 of IPv6.
    Site(IpAddr),
    /// Whose login is used.
    Person(String),
    /// The host that describes the client.
    Describer(String),
}

impl Party {
    pub(super) fn share(&self) -> &'static Share {
        match self {
            Self::Customer(_) => &CUSTOMER,
            Self::Site(_) => &SITE,
            Self::Person(_) => &PERSON,
            Self::Describer(_) => &DESCRIBER,
        }
    }
}

/// The networks of which an address is, the smallest first.
///
/// An address that is not public names nobody: it is that of a proxy in front about which this
/// server was not told, and everybody would be one.
pub(super) fn networks(address: IpAddr) -> Vec<Party> {
    let address = address.to_canonical();
    if !AddressPolicy::PublicOnly.allows(address) {
        return Vec::new();
    }
    match address {
        IpAddr::V4(_) => vec![Party::Customer(address)],
        IpAddr::V6(v6) => {
            let first = |bits: u32| {
                IpAddr::from(Ipv6Addr::from_bits(v6.to_bits() & (!0 << (u128::BITS - bits))))
            };
            vec![Party::Customer(first(64)), Party::Site(first(48))]
        }
    }
}

/// Who has the client at `url` prove who it is. Its machine does not count: it stands for all of
/// its people.
pub(super) fn of_login(person: String, url: &ClientUrl) -> Vec<Party> {
    vec![Party::Person(person), Party::Describer(url.host().to_owned())]
}

/// Shows nothing of people and their addresses.
impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Customer(_) => "Customer",
            Self::Site(_) => "Site",
            Self::Person(_) => "Person",
            Self::Describer(_) => "Describer",
        };
        f.debug_tuple(kind).finish_non_exhaustive()
    }
}
