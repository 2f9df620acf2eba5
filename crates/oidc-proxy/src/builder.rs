//! Putting provider and authorization server together.

use std::{fmt, sync::Arc, time::Duration};

use jwt_issuer::{KeyRing, SigningAlgorithm};
use kv_storage::Protected;
use oauth_proxy::{
    AccessPolicy, AuditSink, ClientDocuments, ClientSettings, Lifetimes, OAuthProxy,
    OAuthProxyBuilder, ProviderRevocation,
    provider::{Application, ApplicationBuilder, ClientAuthMethod},
};
use oidc_discovery::{Clock, Discovery, DiscoveryBuilder};
use outbound_http::Client;
use secrecy::SecretString;

use crate::{BuildError, OidcProvider, OidcProviderBuilder, OidcProxy};

/// A step that waits until the builder that it changes can be made.
type Step<B> = Box<dyn FnOnce(B) -> B + Send>;

/// Collects what an [`OidcProxy`] needs; [`build`](Self::build) says what is missing.
///
/// Required: [`client_id`](Self::client_id), [`base_url`](Self::base_url),
/// [`storage`](Self::storage), [`signing_keys`](Self::signing_keys), [`access`](Self::access).
#[must_use = "a builder does nothing until `build` is called"]
pub struct OidcProxyBuilder {
    config_url: String,
    base_url: Option<String>,
    client_id: Option<String>,
    application: ApplicationBuilder,
    http: outbound_http::ClientBuilder,
    discovery: Vec<Step<DiscoveryBuilder>>,
    provider: Vec<Step<OidcProviderBuilder>>,
    proxy: Vec<Step<OAuthProxyBuilder>>,
}

impl OidcProxyBuilder {
    pub(crate) fn new(config_url: String) -> Self {
        Self {
            config_url,
            base_url: None,
            client_id: None,
            application: Application::builder(""),
            http: Client::builder(),
            discovery: Vec::new(),
            provider: Vec::new(),
            proxy: Vec::new(),
        }
    }

    /// The client id of the application that stands registered at the provider. Required.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Its client secret; without one it is a public client.
    pub fn client_secret(self, secret: SecretString) -> Self {
        self.application(|application| application.client_secret(secret))
    }

    /// Under which URL clients and browsers reach this server, without a trailing slash. Required.
    ///
    /// It is the issuer, byte for byte.
    pub fn base_url(mut self, base_url: impl Into<String>) -> Self {
        self.base_url = Some(base_url.into());
        self
    }

    /// Where clients, transactions, codes and grants rest: encrypted, or in plain memory. Required.
    pub fn storage(self, storage: impl Protected) -> Self {
        self.proxy(|proxy| proxy.storage(storage))
    }

    /// Signs and seals everything that we issue. Required.
    pub fn signing_keys(self, keys: KeyRing) -> Self {
        self.proxy(|proxy| proxy.signing_keys(keys))
    }

    /// What access tokens are signed with. Default: HS256. With the others, resource servers
    /// elsewhere can verify them, and none lives longer than
    /// [`Lifetimes::MAX_PUBLIC_ACCESS_TOKEN`].
    pub fn signing_algorithm(self, algorithm: SigningAlgorithm) -> Self {
        self.proxy(move |proxy| proxy.signing_algorithm(algorithm))
    }

    /// Who may log in. Required.
    pub fn access(self, policy: AccessPolicy) -> Self {
        self.proxy(|proxy| proxy.access(policy))
    }

    /// A protected resource as a path below the base URL. Default: `/mcp`.
    pub fn resource(self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.proxy(|proxy| proxy.resource(path))
    }

    /// What an access token of ours must have at the resource. Default: `openid`.
    pub fn required_scopes<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = owned(scopes);
        self.proxy(|proxy| proxy.required_scopes(scopes))
    }

    /// What to ask of the provider; `openid` is always among it.
    ///
    /// Default: `openid profile email`, as far as the provider knows them. Many providers renew a
    /// session only if they are asked for `offline_access` (Auth0, Okta, Entra), or by
    /// `access_type=offline` (Google, see [`extra_authorize_params`](Self::extra_authorize_params)).
    pub fn scopes<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.application(|application| application.scopes(scopes))
    }

    /// An `audience` parameter for the provider (Auth0 and others).
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.application(|application| application.audience(audience))
    }

    /// More parameters for the authorization request at the provider.
    pub fn extra_authorize_params<N: Into<String>, V: Into<String>>(
        self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.application(|application| application.extra_authorize_params(params))
    }

    /// More parameters for token requests at the provider.
    pub fn extra_token_params<N: Into<String>, V: Into<String>>(
        self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.application(|application| application.extra_token_params(params))
    }

    /// How to authenticate at the provider; by default what its metadata advertise.
    pub fn token_endpoint_auth_method(self, method: ClientAuthMethod) -> Self {
        self.application(|application| application.auth_method(method))
    }

    /// The algorithms that ID tokens may be signed with, instead of the asymmetric ones that the
    /// provider advertises. `HS256` is accepted only here.
    pub fn id_token_algorithms<A: Into<String>>(
        mut self,
        algorithms: impl IntoIterator<Item = A>,
    ) -> Self {
        let algorithms = owned(algorithms);
        self.provider.push(Box::new(|provider| provider.id_token_algorithms(algorithms)));
        self
    }

    /// Whether to ask the provider's userinfo endpoint too, for claims that the ID token lacks.
    /// Default: no.
    pub fn userinfo(mut self, ask: bool) -> Self {
        self.provider.push(Box::new(move |provider| provider.userinfo(ask)));
        self
    }

    /// Where the provider returns, below the base URL. Default: `/auth/callback`.
    ///
    /// The base URL with this path is the redirect URI to register at the provider.
    pub fn redirect_path(self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.proxy(|proxy| proxy.callback_path(path))
    }

    /// How long one request to the provider may take. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.http = self.http.timeout(timeout);
        self
    }

    /// Which clients may be described by a document at their own URL (client-ID metadata
    /// documents). Default: those of every public host.
    pub fn client_documents(self, documents: ClientDocuments) -> Self {
        self.proxy(|proxy| proxy.client_documents(documents))
    }

    /// When the provider is told that a grant was revoked. Default: when it was the person's last.
    pub fn provider_revocation(self, policy: ProviderRevocation) -> Self {
        self.proxy(move |proxy| proxy.provider_revocation(policy))
    }

    /// How long everything lives.
    pub fn lifetimes(self, lifetimes: Lifetimes) -> Self {
        self.proxy(|proxy| proxy.lifetimes(lifetimes))
    }

    /// What holds for some clients instead of what holds for all; the most specific settings hold
    /// alone.
    pub fn client_settings(self, settings: ClientSettings) -> Self {
        self.proxy(|proxy| proxy.client_settings(settings))
    }

    /// Who keeps the events that an auditor may ask for. Default: nobody; they stand in the log
    /// either way.
    pub fn audit(self, sink: Arc<dyn AuditSink>) -> Self {
        self.proxy(|proxy| proxy.audit(sink))
    }

    /// How many proxies of the operator stand in front and add to `X-Forwarded-For`. Default: none.
    pub fn trusted_proxies(self, proxies: usize) -> Self {
        self.proxy(move |proxy| proxy.trusted_proxies(proxies))
    }

    /// Where the present moment comes from. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        let (ours, theirs) = (Arc::clone(&clock), Arc::clone(&clock));
        self.discovery.push(Box::new(|discovery| discovery.clock(ours)));
        self.provider.push(Box::new(|provider| provider.clock(theirs)));
        self.proxy(|proxy| proxy.clock(clock))
    }

    /// Changes how the provider's metadata and keys are found, say its expected issuer.
    pub fn discovery(
        mut self,
        change: impl FnOnce(DiscoveryBuilder) -> DiscoveryBuilder + Send + 'static,
    ) -> Self {
        self.discovery.push(Box::new(change));
        self
    }

    /// Changes the authorization server beyond what this builder names, say its redirect policy.
    pub fn proxy(
        mut self,
        change: impl FnOnce(OAuthProxyBuilder) -> OAuthProxyBuilder + Send + 'static,
    ) -> Self {
        self.proxy.push(Box::new(change));
        self
    }

    /// The proxy. Nothing is fetched: the provider may be down.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names what is missing or wrong, and the way out.
    pub fn build(self) -> Result<OidcProxy, BuildError> {
        let missing = |what, fix| BuildError::Missing { what, fix };
        let client_id = self.client_id.ok_or_else(|| {
            missing(
                "client_id",
                "call `.client_id(…)` with that of the application at the provider",
            )
        })?;
        let base_url = self.base_url.ok_or_else(|| {
            missing("base_url", "call `.base_url(…)` with the URL under which clients reach us")
        })?;
        let http = self.http.build().map_err(BuildError::Http)?;
        let application = self.application.client_id(client_id).http(http.clone()).build()?;
        let discovery = all(self.discovery, Discovery::builder(&self.config_url, http))
            .build()
            .map_err(BuildError::ConfigUrl)?;
        let provider =
            all(self.provider, OidcProvider::builder(discovery.clone(), application)).build()?;
        let proxy = all(self.proxy, OAuthProxy::builder(base_url, Arc::new(provider))).build()?;
        Ok(OidcProxy::new(proxy, discovery))
    }

    fn application(
        mut self,
        change: impl FnOnce(ApplicationBuilder) -> ApplicationBuilder,
    ) -> Self {
        self.application = change(self.application);
        self
    }
}

impl fmt::Debug for OidcProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProxyBuilder")
            .field("config_url", &self.config_url)
            .field("base_url", &self.base_url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

fn all<B>(steps: Vec<Step<B>>, builder: B) -> B {
    steps.into_iter().fold(builder, |builder, step| step(builder))
}

fn owned<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Vec<String> {
    items.into_iter().map(Into::into).collect()
}
