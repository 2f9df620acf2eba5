//! Metadata and keys of one provider, fetched when needed and kept.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, CACHE_CONTROL},
};
use outbound_http::Client;

use crate::{
    Error, KeySet, ProviderMetadata,
    cached::{Cached, Entry, Fetched, Policy},
    issuer::{Source, is_secure},
};

/// Tells the time; given in, so that tests can.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Keys are rotated over days; an hour bounds how long a withdrawn one is trusted.
const DEFAULT_MAX_AGE: Duration = Duration::from_hours(1);
/// Strangers choose the key id of the tokens they send, so they must not be able to choose how
/// often the provider is asked.
const DEFAULT_MIN_REFETCH: Duration = Duration::from_secs(30);
/// Soon enough that recovery is noticed, rare enough that a dead provider is not hammered.
const DEFAULT_FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// The metadata and the key set of one provider.
///
/// Nothing is fetched until it is asked for, so a program can start while its provider is down.
/// One caller fetches for all. What was fetched is kept until it is stale, and served stale for as
/// long as a newer one cannot be had. A failure is remembered for a few seconds.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Discovery {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    client: Client,
    settings: Settings,
    metadata: Cached<ProviderMetadata>,
    keys: Cached<KeySet>,
}

#[derive(Clone)]
struct Settings {
    clock: Clock,
    max_age: Duration,
    min_refetch: Duration,
    failure_pause: Duration,
    allow_http: bool,
}

impl Discovery {
    /// Makes a discovery with the defaults that the methods of [`DiscoveryBuilder`] name.
    ///
    /// # Errors
    ///
    /// See [`DiscoveryBuilder::build`].
    pub fn new(config_url: &str, client: Client) -> Result<Self, Error> {
        Self::builder(config_url, client).build()
    }

    /// Starts a discovery from the URL of the metadata document, usually the issuer and
    /// `/.well-known/openid-configuration`; the issuer alone will do.
    pub fn builder(config_url: &str, client: Client) -> DiscoveryBuilder {
        #[expect(clippy::disallowed_methods, reason = "the default clock")]
        let clock: Clock = Arc::new(SystemTime::now);
        DiscoveryBuilder {
            config_url: config_url.to_owned(),
            client,
            expected_issuer: None,
            settings: Settings {
                clock,
                max_age: DEFAULT_MAX_AGE,
                min_refetch: DEFAULT_MIN_REFETCH,
                failure_pause: DEFAULT_FAILURE_PAUSE,
                allow_http: false,
            },
        }
    }

    /// Returns the provider's metadata.
    ///
    /// # Errors
    ///
    /// When there is none yet and it cannot be had.
    pub async fn metadata(&self) -> Result<Arc<ProviderMetadata>, Error> {
        let good = |entry: &Entry<_>, now| entry.is_fresh(now);
        let policy = self.policy(&good, true);
        self.inner.metadata.get(&policy, || self.inner.fetch_metadata()).await
    }

    /// Returns the provider's key set.
    ///
    /// # Errors
    ///
    /// When there is none yet and it cannot be had.
    pub async fn keys(&self) -> Result<Arc<KeySet>, Error> {
        let good = |entry: &Entry<_>, now| entry.is_fresh(now);
        let policy = self.policy(&good, true);
        self.inner.keys.get(&policy, || self.fetch_keys()).await
    }

    /// Returns a key set with the key `kid`, if the provider has one.
    ///
    /// A key that is not in the set is looked for in a newer one, but not more often than
    /// [`DiscoveryBuilder::min_refetch`] says. So a set without the key means that the provider
    /// did not have it that short a time ago.
    ///
    /// # Errors
    ///
    /// When nothing can be said about the key: it is not in the set, and no newer set can be had.
    pub async fn keys_for(&self, kid: Option<&str>) -> Result<Arc<KeySet>, Error> {
        let keys = self.keys().await?;
        let Some(kid) = kid.filter(|kid| !keys.contains(kid)) else { return Ok(keys) };
        let min_refetch = self.inner.settings.min_refetch;
        let good = |entry: &Entry<KeySet>, now| {
            entry.value.contains(kid) || entry.is_younger_than(min_refetch, now)
        };
        let policy = self.policy(&good, false);
        self.inner.keys.get(&policy, || self.fetch_keys()).await
    }

    async fn fetch_keys(&self) -> Fetched<KeySet> {
        let metadata = self.metadata().await?;
        self.inner.fetch_keys(&metadata.jwks_uri).await
    }

    fn policy<'a, T>(
        &'a self,
        good: &'a (dyn Fn(&Entry<T>, SystemTime) -> bool + Send + Sync),
        serve_stale: bool,
    ) -> Policy<'a, T> {
        let Settings { clock, failure_pause, .. } = &self.inner.settings;
        Policy { now: &**clock, failure_pause: *failure_pause, good, serve_stale }
    }
}

impl Inner {
    async fn fetch_metadata(&self) -> Fetched<ProviderMetadata> {
        let url = &self.source.document_url;
        let (text, fresh_for) = self.fetch(url).await?;
        let metadata = ProviderMetadata::read(&text, self.settings.allow_http)
            .map_err(|reason| Error::Invalid { url: without_query(url), reason })?;
        if !self.source.accepts(&metadata.issuer) {
            return Err(Error::IssuerMismatch {
                url: without_query(url),
                found: metadata.issuer,
                expected: self.source.issuer.clone(),
            });
        }
        Ok((metadata, fresh_for))
    }

    async fn fetch_keys(&self, jwks_uri: &str) -> Fetched<KeySet> {
        let (text, fresh_for) = self.fetch(jwks_uri).await?;
        let keys = KeySet::from_json(&text)
            .map_err(|reason| Error::Invalid { url: without_query(jwks_uri), reason })?;
        Ok((keys, fresh_for))
    }

    /// Fetches a JSON text, and how long it is fresh.
    async fn fetch(&self, url: &str) -> Result<(String, Duration), Error> {
        let invalid =
            |reason: &str| Error::Invalid { url: without_query(url), reason: reason.to_owned() };
        let request = Request::get(url)
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| invalid("its URL has characters that no URL has"))?;
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| Error::Fetch { url: without_query(url), source: Arc::new(error) })?;
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            return Err(Error::Status { url: without_query(url), status });
        }
        let fresh_for = self.settings.fresh_for(response.headers());
        let text =
            String::from_utf8(response.into_body()).map_err(|_| invalid("it is not text"))?;
        Ok((text, fresh_for))
    }
}

impl Settings {
    /// How long an answer is fresh: as its `Cache-Control` says (RFC 9111 §5.2.2), but neither
    /// longer than `max_age` nor so short that every request would fetch.
    fn fresh_for(&self, headers: &HeaderMap) -> Duration {
        let mut fresh_for = self.max_age;
        for value in headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
            for directive in value.split(',') {
                let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
                let name = name.trim().to_ascii_lowercase();
                let stated = match name.as_str() {
                    "no-store" | "no-cache" => Some(0),
                    "max-age" => argument.trim().trim_matches('"').parse().ok(),
                    _ => None,
                };
                if let Some(seconds) = stated {
                    fresh_for = fresh_for.min(Duration::from_secs(seconds));
                }
            }
        }
        fresh_for.max(self.min_refetch.min(self.max_age))
    }
}

/// A URL as errors show it: queries may hold what is nobody's business.
fn without_query(url: &str) -> String {
    url.split_once('?').map_or(url, |(before, _)| before).to_owned()
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("document_url", &without_query(&self.inner.source.document_url))
            .field("issuer", &self.inner.source.issuer)
            .finish_non_exhaustive()
    }
}

/// Configures a [`Discovery`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct DiscoveryBuilder {
    config_url: String,
    client: Client,
    expected_issuer: Option<String>,
    settings: Settings,
}

impl DiscoveryBuilder {
    /// Sets the clock that ages are measured with; the default is the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Sets how long a document is fresh at most; the default is one hour.
    ///
    /// A `Cache-Control` of the provider can shorten that, down to
    /// [`min_refetch`](Self::min_refetch).
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.settings.max_age = max_age;
        self
    }

    /// Sets how soon a key set is fetched again for a key that is not in it; the default is
    /// 30 seconds.
    pub fn min_refetch(mut self, min_refetch: Duration) -> Self {
        self.settings.min_refetch = min_refetch;
        self
    }

    /// Sets how long after a failed fetch nobody tries again; the default is 5 seconds.
    pub fn failure_pause(mut self, failure_pause: Duration) -> Self {
        self.settings.failure_pause = failure_pause;
        self
    }

    /// Sets the issuer that the document must name, exactly.
    ///
    /// For providers whose document is not where their issuer says. By default the issuer is what
    /// the document's URL says, with or without a slash at the end; for the shared tenants of
    /// Entra (`common`, `organizations`, `consumers`) it may have `{tenantid}` in their place.
    pub fn expected_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.expected_issuer = Some(issuer.into());
        self
    }

    /// Accepts a provider that is called over plain `http` on another machine.
    ///
    /// Dangerous: whoever sits between can put in keys and endpoints of their own, and log in as
    /// anybody.
    pub fn danger_allow_http(mut self) -> Self {
        self.settings.allow_http = true;
        self
    }

    /// Makes the discovery; nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// When the URL is not one of a metadata document, or neither `https` nor on this machine.
    pub fn build(self) -> Result<Discovery, Error> {
        let source = Source::new(&self.config_url, self.expected_issuer)?;
        if !self.settings.allow_http && !is_secure(&source.document_url) {
            return Err(Error::ConfigUrl {
                url: without_query(&self.config_url),
                reason: "it is neither https nor on this machine",
            });
        }
        Ok(Discovery {
            inner: Arc::new(Inner {
                source,
                client: self.client,
                settings: self.settings,
                metadata: Cached::new(),
                keys: Cached::new(),
            }),
        })
    }
}

impl fmt::Debug for DiscoveryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryBuilder")
            .field("config_url", &without_query(&self.config_url))
            .field("expected_issuer", &self.expected_issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
