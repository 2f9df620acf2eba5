//! Which issuer a metadata document must name.

use url::{Host, Url};

use crate::Error;

const WELL_KNOWN: &str = "/.well-known/";
const DOCUMENTS: [&str; 2] = ["openid-configuration", "oauth-authorization-server"];

/// The place in Entra's issuer where the tenant of the token goes.
const TENANT: &str = "{tenantid}";
/// The tenants of Entra whose document has [`TENANT`] in the issuer.
const SHARED_TENANTS: [&str; 3] = ["common", "organizations", "consumers"];

/// Where the document is, and which issuer it must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// What is fetched.
    pub(crate) document_url: String,
    /// What the document's `issuer` must be; a trailing slash may be added.
    pub(crate) issuer: String,
    exact: bool,
}

impl Source {
    /// Reads the configured URL: that of a document (OpenID Connect Discovery 1.0 §4, or with the
    /// well-known part before the issuer's path, RFC 8414 §3.1), or the issuer itself.
    pub(crate) fn new(config_url: &str, expected_issuer: Option<String>) -> Result<Self, Error> {
        let (without_query, query) = match config_url.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (config_url, None),
        };
        let invalid = |reason| Error::ConfigUrl { url: without_query.to_owned(), reason };
        let parsed = Url::parse(config_url).map_err(|_| invalid("it is not an absolute URL"))?;
        if !matches!(parsed.scheme(), "https" | "http") || !parsed.has_host() {
            return Err(invalid("it is not an https URL"));
        }
        if parsed.fragment().is_some() {
            return Err(invalid("it has a fragment"));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(Error::ConfigUrl {
                url: parsed.host_str().unwrap_or_default().to_owned(),
                reason: "it has user information",
            });
        }

        // The issuer is cut out of the string as it was written: parsing would normalize it.
        let (issuer, document) = match without_query.split_once(WELL_KNOWN) {
            None => {
                let issuer = without_query.trim_end_matches('/');
                (issuer.to_owned(), format!("{issuer}{WELL_KNOWN}{}", DOCUMENTS[0]))
            }
            Some((before, rest)) => {
                let (name, path) = match rest.split_once('/') {
                    Some((name, path)) => (name, Some(path)),
                    None => (rest, None),
                };
                if !DOCUMENTS.contains(&name) {
                    return Err(invalid("it names another well-known document"));
                }
                let issuer = match path {
                    Some(path) => format!("{before}/{}", path.trim_end_matches('/')),
                    None => before.to_owned(),
                };
                (issuer, without_query.to_owned())
            }
        };
        let document_url = match query {
            Some(query) => format!("{document}?{query}"),
            None => document,
        };
        let exact = expected_issuer.is_some();
        Ok(Self { document_url, issuer: expected_issuer.unwrap_or(issuer), exact })
    }

    /// Whether a document from here may name this issuer.
    ///
    /// Strings are compared as strings. Two deviations belong to the standard or to a provider
    /// that cannot be avoided: an issuer that ends with a slash, which its document's URL cannot
    /// show (OpenID Connect Discovery 1.0 §4.1), and Entra's placeholder for the tenant.
    pub(crate) fn accepts(&self, issuer: &str) -> bool {
        if issuer == self.issuer {
            return true;
        }
        if self.exact {
            return false;
        }
        issuer.strip_suffix('/') == Some(&self.issuer)
            || SHARED_TENANTS.iter().any(|tenant| {
                issuer.contains(TENANT)
                    && issuer.replacen(&format!("/{TENANT}/"), &format!("/{tenant}/"), 1)
                        == self.issuer
            })
    }
}

/// Whether a URL of the provider may be called: `https`, or `http` on this very machine.
pub(crate) fn is_secure(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => name == "localhost" || name.ends_with(".localhost"),
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> Source {
        Source::new(url, None).expect(url)
    }

    #[test]
    fn the_issuer_is_cut_out_of_the_url() {
        for (url, issuer, document) in [
            (
                "https://op.example/.well-known/openid-configuration",
                "https://op.example",
                "https://op.example/.well-known/openid-configuration",
            ),
            (
                "https://op.example/realms/a/.well-known/openid-configuration",
                "https://op.example/realms/a",
                "https://op.example/realms/a/.well-known/openid-configuration",
            ),
            (
                "https://op.example/.well-known/oauth-authorization-server/tenant/a",
                "https://op.example/tenant/a",
                "https://op.example/.well-known/oauth-authorization-server/tenant/a",
            ),
            (
                "https://op.example/.well-known/openid-configuration?p=B2C_1_x",
                "https://op.example",
                "https://op.example/.well-known/openid-configuration?p=B2C_1_x",
            ),
            (
                "https://OP.example:443/x",
                "https://OP.example:443/x",
                "https://OP.example:443/x/.well-known/openid-configuration",
            ),
            (
                "https://op.example/",
                "https://op.example",
                "https://op.example/.well-known/openid-configuration",
            ),
        ] {
            let source = source(url);
            assert_eq!((source.issuer.as_str(), source.document_url.as_str()), (issuer, document));
        }
    }

    #[test]
    fn what_is_no_document_url_is_refused() {
        for url in [
            "",
            "op.example",
            "/.well-known/openid-configuration",
            "ftp://op.example/.well-known/openid-configuration",
            "https://op.example/.well-known/jwks.json",
            "https://op.example/#x",
            "https://user:secret@op.example/",
        ] {
            let error = Source::new(url, None).expect_err(url);
            assert!(matches!(error, Error::ConfigUrl { .. }), "{url}: {error:?}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn issuers_are_compared_as_strings() {
        let plain = source("https://op.example/a/.well-known/openid-configuration");
        for accepted in ["https://op.example/a", "https://op.example/a/"] {
            assert!(plain.accepts(accepted), "{accepted}");
        }
        for refused in [
            "",
            "https://op.example",
            "https://op.example/a//",
            "https://op.example/A",
            "https://OP.example/a",
            "https://op.example:443/a",
            "http://op.example/a",
            "https://op.example/a/b",
            "https://op.example/{tenantid}",
            "https://evil.example/a",
        ] {
            assert!(!plain.accepts(refused), "{refused}");
        }
    }

    #[test]
    fn entras_placeholder_stands_for_shared_tenants_only() {
        let template = "https://login.example/{tenantid}/v2.0";
        for (tenant, accepted) in [
            ("common", true),
            ("organizations", true),
            ("consumers", true),
            ("88888888-8888-8888-8888-888888888888", false),
            ("contoso.example", false),
        ] {
            let url =
                format!("https://login.example/{tenant}/v2.0/.well-known/openid-configuration");
            assert_eq!(source(&url).accepts(template), accepted, "{tenant}");
        }
        let other = source("https://other.example/common/v2.0/.well-known/openid-configuration");
        assert!(!other.accepts(template));
    }

    #[test]
    fn an_expected_issuer_is_exact() {
        let url = "https://name.ciam.example/t/v2.0/.well-known/openid-configuration";
        let expected = "https://guid.ciam.example/t/v2.0";
        let source = Source::new(url, Some(expected.to_owned())).expect("a document URL");
        assert!(source.accepts(expected));
        for refused in ["https://guid.ciam.example/t/v2.0/", "https://name.ciam.example/t/v2.0"] {
            assert!(!source.accepts(refused), "{refused}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (url, secure) in [
            ("https://op.example/", true),
            ("http://localhost:9000/", true),
            ("http://idp.localhost/", true),
            ("http://127.0.0.1:9000/", true),
            ("http://[::1]/", true),
            ("http://op.example/", false),
            ("http://localhost.example/", false),
            ("http://10.0.0.1/", false),
            ("ftp://localhost/", false),
        ] {
            assert_eq!(is_secure(url), secure, "{url}");
        }
    }
}
