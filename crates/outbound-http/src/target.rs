//! Which URLs may be called, as far as the URL itself tells.

use http::Uri;
use url::{Host, Url};

use crate::{AddressPolicy, Error};

/// A URL that passed, with its host as error messages name it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) url: Url,
    /// Host, and port if the URL has one that is not the default.
    pub(crate) host: String,
}

impl Target {
    /// Checks scheme, user information, port and, when the host is an address, that.
    ///
    /// The check and the request use the same parsed URL, in which every spelling of an address
    /// (`0x7f.1`, `2130706433`) has become the address.
    pub(crate) fn new(
        uri: &Uri,
        policy: AddressPolicy,
        allowed_ports: &[u16],
    ) -> Result<Self, Error> {
        let url = Url::parse(&uri.to_string())
            .map_err(|_| Error::InvalidUrl { reason: "it is not an absolute URL" })?;
        let Some(host) = url.host() else {
            return Err(Error::InvalidUrl { reason: "it has no host" });
        };
        let name = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let forbidden = |reason| Error::Forbidden { host: name.clone(), reason };

        match (url.scheme(), policy) {
            ("https", _) | ("http", AddressPolicy::Any) => {}
            ("http", AddressPolicy::PublicOnly) => {
                return Err(forbidden("the scheme is not https"));
            }
            _ => return Err(Error::InvalidUrl { reason: "its scheme is not http or https" }),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(forbidden("the URL has user information"));
        }
        if policy == AddressPolicy::PublicOnly
            && url.port().is_some_and(|port| !allowed_ports.contains(&port))
        {
            return Err(forbidden("the port is not allowed"));
        }
        match host {
            Host::Domain(_) => {} // judged by the resolver
            Host::Ipv4(address) => policy.check(address.into()).map_err(forbidden)?,
            Host::Ipv6(address) => policy.check(address.into()).map_err(forbidden)?,
        }
        Ok(Self { host: name, url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, policy: AddressPolicy) -> Result<Target, Error> {
        Target::new(&uri.parse().expect("a URI"), policy, &[8443])
    }

    #[test]
    fn a_strangers_url_is_https_on_a_public_host() {
        for uri in [
            "https://client.example/metadata",
            "https://client.example:443/",
            "https://client.example:8443/",
            "https://8.8.8.8/",
            "https://[2606:4700:4700::1111]/",
        ] {
            assert!(target(uri, AddressPolicy::PublicOnly).is_ok(), "{uri}");
        }
        for uri in [
            "http://client.example/",
            "https://client.example:80/",
            "https://client.example:22/",
            "https://user@client.example/",
            "https://user:secret@client.example/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:a00:1]/",
            "https://[fe80::1]/",
            "https://169.254.169.254/latest/meta-data/",
        ] {
            let error = target(uri, AddressPolicy::PublicOnly).expect_err(uri);
            assert!(matches!(error, Error::Forbidden { .. }), "{uri}: {error:?}");
        }
    }

    #[test]
    fn the_operators_url_may_be_inside() {
        for uri in ["http://localhost:9000/", "https://10.0.0.1:8080/", "http://[::1]/"] {
            assert!(target(uri, AddressPolicy::Any).is_ok(), "{uri}");
        }
        for uri in [
            "http://169.254.169.254/",
            "http://[fd00:ec2::254]/",
            "http://0xa9fea9fe/",
            "http://user:secret@localhost/",
        ] {
            let error = target(uri, AddressPolicy::Any).expect_err(uri);
            assert!(matches!(error, Error::Forbidden { .. }), "{uri}: {error:?}");
        }
    }

    #[test]
    fn what_is_no_http_url_is_invalid() {
        for uri in ["/path", "client.example:443", "ftp://client.example/", "*"] {
            for policy in [AddressPolicy::Any, AddressPolicy::PublicOnly] {
                let error = target(uri, policy).expect_err(uri);
                assert!(matches!(error, Error::InvalidUrl { .. }), "{uri}: {error:?}");
            }
        }
    }

    #[test]
    fn no_secret_of_the_url_reaches_the_error() {
        let uri = "https://user:pass-word@client.example/?code=secret";
        let error = target(uri, AddressPolicy::PublicOnly).expect_err("user information");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret") && !shown.contains("pass-word"), "{shown}");
    }
}
