//! Name lookup under the address policy.

use std::{io, net::SocketAddr};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::address::{AddressPolicy, Reason};

/// Turns a host name into addresses, without judging them.
pub(crate) trait Lookup: Send + Sync + 'static {
    /// Looks `host` up; the port of the addresses is 0, which stands for that of the URL.
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The lookup of the operating system.
#[derive(Debug)]
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    }
}

/// A resolver whose answers keep to the address policy.
///
/// The connection is made to the very addresses that were judged here, so a name cannot show one
/// address to the check and another to the connection (DNS rebinding).
pub(crate) struct PolicyResolver<L> {
    pub(crate) lookup: L,
    pub(crate) policy: AddressPolicy,
}

impl<L: Lookup> Resolve for PolicyResolver<L> {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup.lookup(name.as_str());
        let policy = self.policy;
        Box::pin(async move {
            let found = lookup.await.map_err(ResolveError::Lookup)?;
            let permitted = permitted(found, policy)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// Keeps the addresses that may be called; when there is none, says why.
fn permitted(
    found: Vec<SocketAddr>,
    policy: AddressPolicy,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let mut refusal = None;
    let permitted: Vec<_> = found
        .into_iter()
        .filter(|address| match policy.check(address.ip()) {
            Ok(()) => true,
            Err(reason) => {
                refusal.get_or_insert(reason);
                false
            }
        })
        .collect();
    match refusal {
        Some(reason) if permitted.is_empty() => Err(ResolveError::Refused(reason)),
        None if permitted.is_empty() => {
            Err(ResolveError::Lookup(io::Error::new(io::ErrorKind::NotFound, "no address")))
        }
        _ => Ok(permitted),
    }
}

/// Why a name led to no connection; found again in the cause of the client's error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The name has addresses, none of which may be called.
    #[error("{0}")]
    Refused(Reason),
    /// The name could not be looked up.
    #[error("the name lookup failed")]
    Lookup(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect()
    }

    #[test]
    fn only_permitted_addresses_are_connected_to() {
        let found = addresses(&["10.0.0.1", "8.8.8.8", "::1", "2606:4700:4700::1111"]);
        let kept = permitted(found, AddressPolicy::PublicOnly).expect("two are public");
        assert_eq!(kept, addresses(&["8.8.8.8", "2606:4700:4700::1111"]));
    }

    #[test]
    fn a_name_with_inside_addresses_only_is_refused() {
        let found = addresses(&["127.0.0.1", "::1"]);
        let error = permitted(found, AddressPolicy::PublicOnly).expect_err("none is public");
        assert!(matches!(error, ResolveError::Refused(_)), "{error:?}");
    }

    #[test]
    fn a_name_without_addresses_is_a_failed_lookup() {
        let error = permitted(Vec::new(), AddressPolicy::Any).expect_err("there is none");
        assert!(matches!(error, ResolveError::Lookup(_)), "{error:?}");
    }
}
