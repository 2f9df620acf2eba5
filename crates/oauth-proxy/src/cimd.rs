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
mod party;
mod slots;

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use token_verifier::{PublicKeys, SignatureError};
use url::{Host, Url};

use self::{
    assertion::Assertion,
    cache::{Cache, Stale, Standing, Want},
    fetch::{Answer, Fetcher, Trouble},
    freshness::LONGEST_OF_KEYS,
    party::Party,
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
    cache::{Source, Withdrawn},
    client_url::{ClientUrl, Named, is_url},
    fetch::RETRY_AFTER,
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
    /// Its id or its document does not make it one, or its host says that there is none; in words
    /// for its developer.
    Refused(String),
    /// Its host answers with something else than a document, which may be said of the host's
    /// trouble rather than of the client; in words for its developer.
    Unusable(String),
    /// Nobody knows at present.
    Unavailable(OAuthError),
}

/// The documents that this process has fetched.
#[derive(Debug)]
pub(crate) struct Documents {
    /// For whoever opens `/authorize`.
    strangers: Fetcher,
    /// For clients that have to prove who they are: they hold a genuine code or token, so no
    /// stranger spends anything of it, and nobody with a login more than a share.
    proofs: Fetcher,
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

/// Keys that do not verify an assertion are fetched again if they are this old: a client that
/// changed its keys is not kept waiting, and nobody makes us ask without a pause.
const KEYS_REST: Duration = Duration::from_mins(1);

/// What is asked for, and on whose account.
#[derive(Clone, Copy)]
struct Errand<'a> {
    fetcher: &'a Fetcher,
    parties: &'a [Party],
    want: Want,
}

impl Errand<'_> {
    async fn fetch(
        &self,
        url: &ClientUrl,
        standing: Standing,
        now: u64,
    ) -> Result<Answer, Trouble> {
        self.fetcher.fetch(url, self.parties, standing, now).await
    }
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self {
            strangers: Fetcher::new(),
            proofs: Fetcher::new(),
            clients: Cache::new(),
            keys: Cache::new(),
        }
    }

    /// The client that the document at this URL describes, for whoever asks; `embedded` if that is
    /// no person but a page that loads us as a part of itself.
    ///
    /// # Errors
    ///
    /// [`NoClient::Refused`] is the answer of the document's host, [`NoClient::Unusable`] the lack
    /// of a usable one; everything that may be over in a while is [`NoClient::Unavailable`] (D7).
    pub(crate) async fn client(
        &self,
        url: &ClientUrl,
        embedded: bool,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Arc<Client>, NoClient> {
        if embedded && !self.clients.is_known(url.as_str(), clock.now()).await {
            return Err(NoClient::Unavailable(OAuthError::new(
                ErrorCode::InvalidRequest,
                "a login begins with a page that a person opens, not with an image, a frame or a \
                 script on another page",
            )));
        }
        let stale_for = config.lifetimes.client_document_stale.as_secs();
        let parties = context::peer().map(party::networks).unwrap_or_default();
        let errand = Errand {
            fetcher: &self.strangers,
            parties: &parties,
            want: Want::Good(Stale { failing: stale_for, unasked: stale_for }),
        };
        Ok(Arc::clone(&self.described(url, errand, config, clock).await?.client))
    }

    async fn described(
        &self,
        url: &ClientUrl,
        errand: Errand<'_>,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Arc<Described>, NoClient> {
        let (policy, documents) = (&config.redirect_policy, &config.client_documents);
        let fetch = |standing| async move {
            let answer = errand.fetch(url, standing, clock.now()).await?;
            let described =
                document::read(&answer.body, url, policy, documents).map_err(Trouble::Withdrawn)?;
            errand.fetcher.succeeded(&answer);
            let fresh_for = match &described.keys {
                Keys::None => answer.fresh_for,
                Keys::Inline(_) | Keys::At(_) => answer.fresh_for.min(LONGEST_OF_KEYS),
            };
            tracing::info!(
                client = url.as_str(),
                name = ?described.client.snapshot.name,
                fresh_for,
                "what the client's document says"
            );
            Ok((described, fresh_for))
        };
        let (outcome, source) = self.clients.get(url.as_str(), errand.want, clock, fetch).await;
        measure::client_document(source);
        outcome.map_err(|trouble| no_client(url, &trouble))
    }

    /// Whether the client at `url` signed this assertion, and says in it what it must (RFC 7523
    /// §3), when it uses the login of `person`. Good for once: the caller has to remember what is
    /// returned.
    ///
    /// # Errors
    ///
    /// [`NoClient::Refused`] if it did not, [`NoClient::Unavailable`] and [`NoClient::Unusable`] if
    /// that cannot be told now.
    pub(crate) async fn verify(
        &self,
        assertion: &str,
        url: &ClientUrl,
        person: String,
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Assertion, NoClient> {
        // Keys may have been taken back since: they serve on while their host is in trouble, and
        // otherwise no longer than it takes until there is budget again.
        let failing = config.lifetimes.client_document_stale.as_secs();
        let want = Want::Good(Stale { failing, unasked: LONGEST_OF_KEYS.min(failing) });
        let parties = party::of_login(person, url);
        let errand = Errand { fetcher: &self.proofs, parties: &parties, want };
        let mut opened = self.open(assertion, url, (errand, errand), config, clock).await?;
        if matches!(opened, Err(SignatureError::UnknownKey | SignatureError::Wrong))
            && let Some(errands) = self.for_newer_keys(url, errand, clock.now()).await
        {
            opened = self.open(assertion, url, errands, config, clock).await?;
        }
        let claims = opened.map_err(|error| refused(&error.to_string()))?;
        assertion::check(&claims, url.as_str(), &config.issuer, clock.now()).map_err(refused)
    }

    /// What the client's keys make of this assertion; one errand for its document, and one for keys
    /// that stand elsewhere.
    async fn open(
        &self,
        assertion: &str,
        url: &ClientUrl,
        (for_document, for_keys): (Errand<'_>, Errand<'_>),
        config: &Config,
        clock: &UnixClock,
    ) -> Result<Result<Map<String, Value>, SignatureError>, NoClient> {
        match &self.described(url, for_document, config, clock).await?.keys {
            Keys::None => Err(refused("the client's metadata document has no keys")),
            Keys::Inline(keys) => Ok(keys.open(assertion)),
            Keys::At(place) => Ok(self.fetched_keys(place, for_keys, clock).await?.open(assertion)),
        }
    }

    /// The errands for document and keys that bring newer keys, if those that are known are old
    /// enough.
    ///
    /// They are for this caller, whose assertion anybody may have written: until newer ones are
    /// there, the known ones serve on.
    async fn for_newer_keys<'a>(
        &self,
        url: &ClientUrl,
        errand: Errand<'a>,
        now: u64,
    ) -> Option<(Errand<'a>, Errand<'a>)> {
        let newer = |than| Errand { want: Want::Newer { than }, ..errand };
        match &self.clients.known(url.as_str()).await.ok()??.keys {
            Keys::Inline(_) => {
                let than = self.clients.aged(url.as_str(), KEYS_REST, now).await?;
                Some((newer(than), errand))
            }
            Keys::At(place) => {
                let than = self.keys.aged(place.as_str(), KEYS_REST, now).await?;
                Some((errand, newer(than)))
            }
            Keys::None => None,
        }
    }

    async fn fetched_keys(
        &self,
        place: &ClientUrl,
        errand: Errand<'_>,
        clock: &UnixClock,
    ) -> Result<Arc<PublicKeys>, NoClient> {
        let fetch = |standing| async move {
            let answer = errand.fetch(place, standing, clock.now()).await?;
            let set = serde_json::from_slice(&answer.body).unwrap_or_default();
            let keys = PublicKeys::from_key_set(&set);
            let why =
                || Trouble::Withdrawn("there is no key set at the client's `jwks_uri`".into());
            let keys = keys.ok_or_else(why)?;
            errand.fetcher.succeeded(&answer);
            Ok((keys, answer.fresh_for.min(LONGEST_OF_KEYS)))
        };
        let (outcome, source) = self.keys.get(place.as_str(), errand.want, clock, fetch).await;
        measure::client_document(source);
        outcome.map_err(|trouble| no_client(place, &trouble))
    }

    /// The client as this process knows it, fresh or not, if it does, without a fetch.
    ///
    /// # Errors
    ///
    /// The host says that there is none.
    pub(crate) async fn known(&self, url: &ClientUrl) -> Result<Option<Arc<Client>>, Withdrawn> {
        let described = self.clients.known(url.as_str()).await?;
        Ok(described.map(|described| Arc::clone(&described.client)))
    }

    /// Somebody uses a login with this client: the copies of its document and its keys stay, and
    /// they are fetched again whatever strangers do.
    pub(crate) async fn note_use(&self, url: &ClientUrl) {
        self.clients.note_use(url.as_str()).await;
        if let Ok(Some(described)) = self.clients.known(url.as_str()).await
            && let Keys::At(place) = &described.keys
        {
            self.keys.note_use(place.as_str()).await;
        }
    }
}

fn refused(why: &str) -> NoClient {
    NoClient::Refused(why.to_owned())
}

fn no_client(url: &ClientUrl, trouble: &Trouble) -> NoClient {
    let host = url.host();
    tracing::info!(client = url.as_str(), %trouble, "a client's document is of no use");
    match trouble {
        Trouble::Withdrawn(why) => NoClient::Refused(why.clone()),
        Trouble::Unusable(why) => NoClient::Unusable(why.clone()),
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
