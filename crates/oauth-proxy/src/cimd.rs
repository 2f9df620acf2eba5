//! Clients that are described by a document at their own URL (OAuth Client ID Metadata Document,
//! draft-ietf-oauth-client-id-metadata-document; the MCP authorization of 2026-07-28 recommends
//! it).
//!
//! The client id is the URL, and the document there is the registration: it is fetched, checked and
//! kept in memory. Nothing of it is stored until a person has approved a login; from then on the
//! grant has a copy of what is needed, so that no later request depends on the document's host.

mod assertion;
mod budget;
mod cache;
mod client_url;
mod document;
mod fetch;
mod freshness;

use std::{sync::Arc, time::Duration};

use token_verifier::{PublicKeys, SignatureError};
use url::{Host, Url};

use self::{
    assertion::Assertion,
    cache::Cache,
    fetch::{Fetcher, Trouble},
};
use crate::{
    client::Client,
    clock::UnixClock,
    config::Config,
    context,
    error::{ErrorCode, OAuthError},
    measure,
};

pub(crate) use self::{
    assertion::{ASSERTION_ALGORITHMS, PRIVATE_KEY_JWT, client_id as assertion_client_id},
    cache::Source,
    client_url::{ClientUrl, Named, is_url},
};

/// Which clients may be described by a document at their own URL.
///
/// Default: those of every public host. That is what MCP clients expect of a server, and no more
/// than open registration gives to strangers; what a document can make this server do is bounded
/// ([limits](crate#limits)), and people see on the consent page which host describes the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientDocuments {
    hosts: Hosts,
    loopback: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Hosts {
    Nobody,
    #[default]
    Everybody,
    These(Vec<String>),
}

impl ClientDocuments {
    /// No client: a URL is a client id that nobody registered, and the metadata do not offer it.
    pub fn off() -> Self {
        Self { hosts: Hosts::Nobody, loopback: false }
    }

    /// Only clients of these hosts: `app.example`, or `*.app.example` for every name below it.
    pub fn only<S: Into<String>>(hosts: impl IntoIterator<Item = S>) -> Self {
        let hosts = hosts.into_iter().map(Into::into).collect();
        Self { hosts: Hosts::These(hosts), loopback: false }
    }

    /// Also clients that are described on this very machine, on any port and over plain http: for
    /// trying out a client that is being written.
    ///
    /// Refused unless the base URL is on loopback too: elsewhere a stranger could have this server
    /// ask the services that it shares a machine with.
    #[must_use]
    pub fn danger_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Whether any client may.
    pub(crate) fn is_on(&self) -> bool {
        self.hosts != Hosts::Nobody
    }

    /// Whether clients may be described on this machine.
    pub(crate) fn allows_loopback(&self) -> bool {
        self.loopback && self.is_on()
    }

    /// Whether clients of this host may.
    fn allows(&self, host: &str) -> bool {
        match &self.hosts {
            Hosts::Nobody => false,
            Hosts::Everybody => true,
            Hosts::These(hosts) => hosts.iter().any(|allowed| match allowed.strip_prefix('*') {
                Some(below) => host.len() > below.len() && host.ends_with(below),
                None => host == allowed,
            }),
        }
    }

    /// The host that can be no client's, if one was given, and why.
    pub(crate) fn complaint(&self) -> Option<(String, &'static str)> {
        let Hosts::These(hosts) = &self.hosts else { return None };
        hosts.iter().find_map(|host| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let why = "expected a host name such as `app.example`, in lower case and without \
                       scheme, port and path, or `*.app.example`";
            (!is_public_name(name)).then(|| (host.clone(), why))
        })
    }
}

/// Whether this is the name of a host on the internet, in normal form.
///
/// A name without a dot is one of the local network, and an address tells people nothing.
fn is_public_name(name: &str) -> bool {
    let Ok(url) = Url::parse(&format!("https://{name}/")) else { return false };
    let in_normal_form = url.host_str() == Some(name) && url.port().is_none() && url.path() == "/";
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_name = matches!(url.host(), Some(Host::Domain(_))) && name.bytes().all(is_letter);
    in_normal_form && is_name && name.contains('.') && !name.ends_with('.') && !is_local(name)
}

/// Names that lead nowhere but to this machine (RFC 6761 §6.3).
fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Why there is no client.
#[derive(Debug)]
pub(crate) enum NoClient {
    /// Nobody registered with this id.
    Unknown,
    /// Its id, its document or its document's host does not make it one; in words for its
    /// developer.
    Refused(String),
    /// Nobody knows at present.
    Unavailable(OAuthError),
}

/// The documents that this process has fetched.
#[derive(Debug)]
pub(crate) struct Documents {
    fetcher: Fetcher,
    clients: Cache<Described>,
    keys: Cache<PublicKeys>,
}

/// What a document says.
#[derive(Debug)]
struct Described {
    client: Arc<Client>,
    keys: Keys,
}

/// With what a client's assertions are verified.
#[derive(Debug)]
enum Keys {
    /// It has no keys: it is a public client.
    None,
    /// They stand in the document.
    Inline(Arc<PublicKeys>),
    /// They stand at a URL of their own.
    At(ClientUrl),
}

/// A key set that lacks the key of an assertion is fetched again if it is this old: a client that
/// changed its keys is not kept waiting, and nobody makes us ask without a pause.
const KEYS_REST: Duration = Duration::from_mins(1);

impl Documents {
    pub(crate) fn new() -> Self {
        Self { fetcher: Fetcher::new(), clients: Cache::new(), keys: Cache::new() }
    }

    /// The client that the document at this URL describes.
    ///
    /// # Errors
    ///
    /// [`NoClient::Refused`] is the answer of the document's host, or the lack of a usable one;
    /// everything that may be over in a while is [`NoClient::Unavailable`] (D7).
    pub(crate) async fn client(
        &self,
        url: &ClientUrl,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Arc<Client>, NoClient> {
        Ok(Arc::clone(&self.described(url, config, clock).await?.client))
    }

    async fn described(
        &self,
        url: &ClientUrl,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Arc<Described>, NoClient> {
        let (policy, documents) = (&config.redirect_policy, &config.client_documents);
        let fetch = || async {
            let answer = self.fetcher.fetch(url, context::peer(), clock.now()).await?;
            let described =
                document::read(&answer.body, url, policy, documents).map_err(Trouble::Withdrawn)?;
            self.fetcher.succeeded(url);
            tracing::info!(
                client = url.as_str(),
                name = ?described.client.snapshot.name,
                fresh_for = answer.fresh_for,
                "what the client's document says"
            );
            Ok((described, answer.fresh_for))
        };
        let stale_for = config.lifetimes.client_document_stale.as_secs();
        let (outcome, source) = self.clients.get(url.as_str(), stale_for, clock, fetch).await;
        measure::client_document(source);
        outcome.map_err(|trouble| no_client(url, &trouble))
    }

    /// Whether the client at `url` signed this assertion, and says in it what it must (RFC 7523
    /// §3). Good for once: the caller has to remember what is returned.
    ///
    /// # Errors
    ///
    /// [`NoClient::Refused`] if it did not, [`NoClient::Unavailable`] if that cannot be told now.
    pub(crate) async fn verify(
        &self,
        assertion: &str,
        url: &ClientUrl,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Assertion, NoClient> {
        let described = self.described(url, config, clock).await?;
        let claims = match &described.keys {
            Keys::None => return Err(refused("the client's metadata document has no keys")),
            Keys::Inline(keys) => keys.open(assertion),
            Keys::At(place) => {
                let keys = self.fetched_keys(place, config, clock).await?;
                match keys.open(assertion) {
                    Err(SignatureError::UnknownKey)
                        if self.keys.expire(place.as_str(), KEYS_REST, clock.now()).await =>
                    {
                        self.fetched_keys(place, config, clock).await?.open(assertion)
                    }
                    opened => opened,
                }
            }
        };
        let claims = claims.map_err(|error| refused(&error.to_string()))?;
        assertion::check(&claims, url.as_str(), &config.issuer, clock.now()).map_err(refused)
    }

    async fn fetched_keys(
        &self,
        place: &ClientUrl,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Arc<PublicKeys>, NoClient> {
        let fetch = || async {
            let answer = self.fetcher.fetch(place, context::peer(), clock.now()).await?;
            let set = serde_json::from_slice(&answer.body).unwrap_or_default();
            let keys = PublicKeys::from_key_set(&set);
            let why =
                || Trouble::Withdrawn("there is no key set at the client's `jwks_uri`".into());
            let keys = keys.ok_or_else(why)?;
            self.fetcher.succeeded(place);
            Ok((keys, answer.fresh_for))
        };
        let stale_for = config.lifetimes.client_document_stale.as_secs();
        let (outcome, source) = self.keys.get(place.as_str(), stale_for, clock, fetch).await;
        measure::client_document(source);
        outcome.map_err(|trouble| no_client(place, &trouble))
    }

    /// The client as this process knows it, fresh or not, without a fetch.
    pub(crate) async fn known(&self, url: &ClientUrl) -> Option<Arc<Client>> {
        Some(Arc::clone(&self.clients.known(url.as_str()).await?.client))
    }
}

fn refused(why: &str) -> NoClient {
    NoClient::Refused(why.to_owned())
}

fn no_client(url: &ClientUrl, trouble: &Trouble) -> NoClient {
    let host = url.host();
    tracing::info!(client = url.as_str(), %trouble, "a client's document is of no use");
    match trouble {
        Trouble::Withdrawn(why) | Trouble::Unusable(why) => NoClient::Refused(why.clone()),
        Trouble::Unavailable { retry_after, .. } => NoClient::Unavailable(
            OAuthError::new(
                ErrorCode::TemporarilyUnavailable,
                format!("the client's metadata document cannot be fetched from {host} right now"),
            )
            .with_retry_after(*retry_after),
        ),
        Trouble::OutOfBudget { retry_after } => NoClient::Unavailable(
            OAuthError::new(
                ErrorCode::TemporarilyUnavailable,
                "too many metadata documents of new clients were asked for; try again later",
            )
            .with_retry_after(*retry_after),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_hosts_describe_clients() {
        let documents = ClientDocuments::only(["app.example", "*.corp.example"]);
        assert_eq!(documents.complaint(), None);
        for (host, allowed) in [
            ("app.example", true),
            ("a.corp.example", true),
            ("a.b.corp.example", true),
            ("corp.example", false),
            ("evilcorp.example", false),
            ("a.app.example", false),
            ("example", false),
        ] {
            assert_eq!(documents.allows(host), allowed, "{host}");
        }
        assert!(ClientDocuments::default().allows("any.example"));
        assert!(!ClientDocuments::off().allows("any.example"));
    }

    #[test]
    fn a_host_that_can_be_no_clients_is_named() {
        for host in [
            "",
            "*",
            "*.",
            "App.example",
            "https://app.example",
            "app.example:443",
            "app.example/",
            "app.example.",
            "intranet",
            "localhost",
            "a.localhost",
            "10.0.0.1",
            "[::1]",
            "a.*.example",
            "user@app.example",
        ] {
            let (named, _) = ClientDocuments::only([host]).complaint().expect(host);
            assert_eq!(named, host);
        }
    }
}
