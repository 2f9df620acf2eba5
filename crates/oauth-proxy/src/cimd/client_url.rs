//! Which client ids are URLs of documents (draft §3, "Client Identifier URL").

use url::{Host, Url};

use super::{ClientDocuments, is_local, is_public_name};
use crate::redirect_uri::display_host;

/// The longest client id that is fetched, in bytes: it goes into every access token of the client.
/// The longest in use has about 80.
pub(crate) const MAX_CLIENT_URL_BYTES: usize = 512;

/// What a client id names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A client that registered, if there is one.
    Registration,
    /// A document.
    Document(ClientUrl),
    /// A URL at which no document is looked for; in words for the client's developer.
    Nothing(&'static str),
}

/// A client id that is the URL of the client's document, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientUrl {
    text: String,
    host: String,
    loopback: bool,
}

/// Whether a client id can only be that of a client with a document: none that registers here gets
/// one like it.
pub(crate) fn is_url(id: &str) -> bool {
    id.starts_with("https://") || id.starts_with("http://")
}

impl ClientUrl {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The host that describes the client, with the port if it has one: all about the client that
    /// is certain.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the site that describes the client may well be the one of this redirect URI: the
    /// same host, or one below it.
    pub(crate) fn vouches_for(&self, redirect_uri: &str) -> bool {
        let host = display_host(redirect_uri);
        host.strip_suffix(self.host.as_str())
            .is_some_and(|below| below.is_empty() || below.ends_with('.'))
    }

    /// Whether it is on this machine, which only [`ClientDocuments::danger_loopback`] lets in.
    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl ClientDocuments {
    /// Reads a client id.
    pub(crate) fn read(&self, id: &str) -> Named {
        if !self.is_on() || !is_url(id) {
            return Named::Registration;
        }
        match self.check(id) {
            Ok(url) => Named::Document(url),
            Err(why) => Named::Nothing(why),
        }
    }

    fn check(&self, id: &str) -> Result<ClientUrl, &'static str> {
        if id.len() > MAX_CLIENT_URL_BYTES {
            return Err("a client id that is a URL may have 512 bytes at most");
        }
        let url = Url::parse(id).map_err(|_| "the client id is not a valid URL")?;
        if url.fragment().is_some() {
            return Err("a client id that is a URL must not have a fragment");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a client id that is a URL must not have a user name or password");
        }
        if url.path() == "/" {
            return Err("a client id that is a URL must have a path");
        }
        // Ids are compared as text, so there must be one way to write each. Dot segments, default
        // ports, odd spellings of hosts and characters that a URL cannot have all end here.
        if url.as_str() != id {
            return Err("a client id that is a URL must be in its normal form: lower-case host, \
                        no default port, no dot segments");
        }
        let host = url.host_str().ok_or("a client id that is a URL must have a host")?;
        if self.allows_loopback() && is_this_machine(&url) {
            let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            return Ok(ClientUrl { text: id.to_owned(), host, loopback: true });
        }
        if url.scheme() != "https" {
            return Err("a client id that is a URL must begin with https://");
        }
        if url.port().is_some() {
            return Err("a client id that is a URL must be on the default port");
        }
        if !is_public_name(host) {
            return Err("the host of a client id that is a URL must be a public name");
        }
        if !self.allows(host) {
            return Err("this server does not accept clients that are described at this host");
        }
        Ok(ClientUrl { text: id.to_owned(), host: host.to_owned(), loopback: false })
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_local(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn complaint(documents: &ClientDocuments, id: &str) -> &'static str {
        match documents.read(id) {
            Named::Nothing(why) => why,
            other => panic!("{id}: {other:?}"),
        }
    }

    #[test]
    fn urls_in_use_are_taken_as_they_are_written() {
        let documents = ClientDocuments::default();
        for (id, host) in [
            ("https://claude.ai/oauth/mcp-oauth-client-metadata", "claude.ai"),
            ("https://chatgpt.com/oauth/abc123/client.json", "chatgpt.com"),
            ("https://vscode.dev/oauth/client-metadata.json", "vscode.dev"),
            ("https://app.example/client?version=2", "app.example"),
            ("https://app.example/client/", "app.example"),
            ("https://xn--bcher-kva.example/c", "xn--bcher-kva.example"),
        ] {
            match documents.read(id) {
                Named::Document(url) => {
                    assert_eq!((url.as_str(), url.host(), url.is_loopback()), (id, host, false));
                }
                other => panic!("{id}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_url_is_a_registration() {
        for id in ["mcp_abc", "", "HTTPS://app.example/c", "ftp://app.example/c", "app.example/c"] {
            assert_eq!(ClientDocuments::default().read(id), Named::Registration, "{id}");
        }
        assert_eq!(ClientDocuments::off().read("https://app.example/c"), Named::Registration);
    }

    #[test]
    fn each_defect_of_a_url_is_named() {
        let documents = ClientDocuments::default();
        let long = format!("https://app.example/{}", "a".repeat(MAX_CLIENT_URL_BYTES));
        for (id, why) in [
            ("http://app.example/c", "https://"),
            ("https://", "not a valid URL"),
            ("https://app.example", "a path"),
            ("https://app.example/", "a path"),
            ("https://app.example/c#part", "fragment"),
            ("https://app.example/c#", "fragment"),
            ("https://user@app.example/c", "user name"),
            ("https://:password@app.example/c", "user name"),
            ("https://App.example/c", "normal form"),
            ("https://app.example:443/c", "normal form"),
            ("https://app.example/a/../c", "normal form"),
            ("https://app.example/./c", "normal form"),
            ("https://app.example/a/%2e%2E/c", "normal form"),
            ("https://app.example\\c", "normal form"),
            ("https:///app.example/c", "normal form"),
            ("https://app.example/a b", "normal form"),
            ("https://bücher.example/c", "normal form"),
            ("https://app.example:8443/c", "default port"),
            ("https://app.example./c", "public name"),
            ("https://intranet/c", "public name"),
            ("https://localhost/c", "public name"),
            ("https://a.localhost/c", "public name"),
            ("https://10.0.0.1/c", "public name"),
            ("https://8.8.8.8/c", "public name"),
            ("https://[::1]/c", "public name"),
            ("https://2130706433/c", "normal form"),
            (&long, "512 bytes"),
        ] {
            let complaint = complaint(&documents, id);
            assert!(complaint.contains(why), "{id}: {complaint}");
        }
        let some = ClientDocuments::only(["app.example"]);
        assert!(complaint(&some, "https://other.example/c").contains("does not accept"));
    }

    #[test]
    fn a_redirect_to_another_site_is_noticed() {
        let Named::Document(url) = ClientDocuments::default().read("https://app.example/c") else {
            panic!("a document");
        };
        for (redirect_uri, same) in [
            ("https://app.example/callback", true),
            ("https://insiders.app.example/callback", true),
            ("https://evilapp.example/callback", false),
            ("https://example/callback", false),
            ("https://app.example.evil.example/callback", false),
            ("https://app.example:8443/callback", false),
        ] {
            assert_eq!(url.vouches_for(redirect_uri), same, "{redirect_uri}");
        }
    }

    #[test]
    fn this_machine_is_for_trying_out_only() {
        let danger = ClientDocuments::default().danger_loopback();
        for (id, host) in [
            ("http://127.0.0.1:4711/c", "127.0.0.1:4711"),
            ("https://localhost:8443/c", "localhost:8443"),
            ("http://[::1]/c", "[::1]"),
        ] {
            match danger.read(id) {
                Named::Document(url) => assert_eq!((url.host(), url.is_loopback()), (host, true)),
                other => panic!("{id}: {other:?}"),
            }
            complaint(&ClientDocuments::default(), id);
        }
        for id in ["http://10.0.0.1/c", "https://192.168.1.1/c", "http://app.example/c"] {
            complaint(&danger, id);
        }
        let off = ClientDocuments::off().danger_loopback();
        assert_eq!(off.read("http://127.0.0.1/c"), Named::Registration);
    }

    proptest! {
        #[test]
        fn no_two_ids_lead_to_one_document(id in "https://[a-zA-Z.:@%/#?\\\\2ef]{1,24}") {
            if let Named::Document(url) = ClientDocuments::default().read(&id) {
                let parsed = Url::parse(&id).unwrap();
                prop_assert_eq!(parsed.as_str(), url.as_str());
                prop_assert!(!id.contains(['#', '@', '\\']));
            }
        }
    }
}
