#![doc = include_str!("../README.md")]

mod access;
pub mod admin;
mod app;
mod audit;
mod builder;
mod cimd;
mod client;
mod client_auth;
mod client_settings;
mod clock;
mod config;
mod consent;
mod context;
mod cookie;
mod error;
mod flow;
mod grants;
mod measure;
mod outbox;
mod pages;
mod params;
mod pkce;
pub mod provider;
mod provider_token;
mod record;
mod redirect_uri;
mod refresh_token;
mod renewal;
mod resource;
mod resource_server;
mod ring;
mod routes;
mod scope;
mod store;
mod verifier;
mod watch;

use std::{pin::Pin, sync::Arc};

use axum::{Router, middleware::from_fn_with_state};
use secrecy::SecretString;
use token_verifier::{Guard, Principal, TokenVerifier, VerifyError};

use crate::{
    admin::Administration, app::App, provider_token::FreshTokens, verifier::GrantVerifier,
    watch::Watches,
};

pub use crate::{
    access::{AccessPolicy, vouched_email},
    audit::{AuditAction, AuditEvent, AuditOutcome, AuditSink},
    builder::{BuildError, OAuthProxyBuilder},
    cimd::ClientDocuments,
    client_settings::ClientSettings,
    clock::Clock,
    config::{AccessTokenBasis, Lifetimes},
    error::{ErrorCode, OAuthError},
    measure::{METRICS, Metric, MetricKind},
    outbox::ProviderRevocation,
    redirect_uri::RedirectPolicy,
    resource_server::ResourceServer,
    ring::SigningKeysError,
    watch::StreamEnd,
};

/// A complete OAuth 2.1 authorization server toward MCP clients, in front of one [`Provider`].
///
/// Cheap to clone; all clones are one server.
///
/// [`Provider`]: provider::Provider
#[derive(Clone, Debug)]
pub struct OAuthProxy {
    app: Arc<App>,
    verifier: Arc<GrantVerifier>,
    watches: Arc<Watches>,
    fresh_tokens: Arc<FreshTokens>,
}

impl OAuthProxy {
    /// Begins a server whose issuer is `base_url`, byte for byte: https (or http on loopback), in
    /// normal form, without a trailing slash (D1).
    pub fn builder(
        base_url: impl Into<String>,
        provider: Arc<dyn provider::Provider>,
    ) -> OAuthProxyBuilder {
        OAuthProxyBuilder::new(base_url.into(), provider)
    }

    pub(crate) fn new(app: App) -> Self {
        let app = Arc::new(app);
        Self {
            verifier: Arc::new(GrantVerifier::new(Arc::clone(&app))),
            watches: Arc::new(Watches::new(Arc::clone(&app))),
            fresh_tokens: Arc::new(FreshTokens::new(Arc::clone(&app))),
            app,
        }
    }

    /// The OAuth endpoints: metadata, registration, authorization, consent, callback, token,
    /// revocation.
    pub fn into_router(self) -> Router {
        self.in_context(routes::router(&self.app))
    }

    /// The OAuth endpoints, and `resource` behind the guard.
    ///
    /// `resource` must route the path of the (first) resource. Handlers find the
    /// [`Principal`] in the request's extensions.
    pub fn protect(self, resource: Router) -> Router {
        let guarded = resource.layer(self.guard()).layer(routes::cors());
        self.in_context(guarded.merge(routes::router(&self.app)))
    }

    /// Every request has its id, its place in the log and its count.
    fn in_context(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(Arc::clone(&self.app), context::layer))
    }

    /// The tower layer that lets only good access tokens of the (first) resource pass.
    pub fn guard(&self) -> Guard {
        let config = &self.app.config;
        let resource = config.resources.first();
        Guard::new(self.verifier(), resource, resource::metadata_url(resource))
            .required_scopes(config.required_scopes.iter().map(str::to_owned))
    }

    /// Verifies the access tokens that this server issues.
    pub fn verifier(&self) -> Arc<dyn TokenVerifier> {
        Arc::clone(&self.verifier) as Arc<dyn TokenVerifier>
    }

    /// The provider's access token of the person who asks, renewed first if it has ended or is about
    /// to.
    ///
    /// Whoever has it can do at the provider, and everywhere else where it counts, what the person
    /// may do there: keep it out of logs, and send it nowhere but where it belongs. It is never
    /// handed out after its end. A login whose token ended and cannot be renewed is over.
    ///
    /// Costs a read of the storage, at most once per revocation delay and login, and a call to the
    /// provider when it is due.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Invalid`] if the login has ended, [`VerifyError::Unavailable`] if storage or
    /// provider do not answer and there is no token that is still good.
    ///
    /// # Cancel safety
    ///
    /// A call to the provider goes on, and its outcome is stored.
    pub async fn provider_token(&self, principal: &Principal) -> Result<SecretString, VerifyError> {
        self.fresh_tokens.of(principal).await
    }

    /// Resolves when an open stream of this principal must end (D12): at the end of its access
    /// token, or when its grant is revoked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the watching.
    pub fn watch(
        &self,
        principal: &Principal,
    ) -> Pin<Box<dyn Future<Output = StreamEnd> + Send + 'static>> {
        let watches = Arc::clone(&self.watches);
        let principal = principal.clone();
        Box::pin(async move { watches.until_end(&principal).await })
    }

    /// Resolves when the principal's grant is revoked: for an answer in progress, which may outlive
    /// its token.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the watching.
    pub fn watch_revocation(
        &self,
        principal: &Principal,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let watches = Arc::clone(&self.watches);
        let principal = principal.clone();
        Box::pin(async move { watches.until_revoked(&principal).await })
    }

    /// The issuer: the base URL, byte for byte.
    pub fn issuer(&self) -> &str {
        &self.app.config.issuer
    }

    /// The redirect URI to register at the provider.
    pub fn callback_url(&self) -> String {
        self.app.config.callback_url()
    }

    /// The canonical URL of the (first) resource.
    pub fn resource(&self) -> &str {
        self.app.config.resources.first()
    }

    /// Checks that the signing keys are those of the deployment that the storage belongs to, the
    /// one that was promoted last among them.
    ///
    /// Call it at start-up, before anything is served: with other keys everybody would be logged
    /// out, and replicas would refuse one another's tokens. The first call notes our keys.
    ///
    /// # Errors
    ///
    /// [`SigningKeysError::Foreign`] names the key that is missing.
    pub async fn check_signing_keys(&self) -> Result<(), SigningKeysError> {
        ring::check(&self.app, &self.app.keys.ring).await
    }

    /// Notes that our signing keys are the right ones from now on, whatever was noted before.
    ///
    /// For keys that are lost: what was signed with them is not accepted any more, and everybody
    /// has to log in again.
    ///
    /// # Errors
    ///
    /// [`SigningKeysError::Storage`] if it could not be noted.
    pub async fn danger_replace_signing_keys(&self) -> Result<(), SigningKeysError> {
        ring::replace(&self.app, &self.app.keys.ring).await
    }

    /// Whether the storage answers.
    ///
    /// # Errors
    ///
    /// `temporarily_unavailable` with the cause for the operator.
    pub async fn health(&self) -> Result<(), OAuthError> {
        Ok(self.app.store.health().await?)
    }

    /// Grants and clients from the operator's side: listing them, and ending them.
    pub fn administration(&self) -> Administration {
        Administration::new(Arc::clone(&self.app))
    }

    /// Does what no request waits for, until [`shutdown`](Self::shutdown): tells the provider of
    /// revocations that it did not hear of at once.
    ///
    /// Run it beside the listener, once per process. Without it a revocation is told once, when it
    /// happens.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the work; what is left stays in the storage.
    pub fn maintain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let app = Arc::clone(&self.app);
        Box::pin(async move { outbox::work_off(&app).await })
    }

    /// Waits for what no client may interrupt: calls to the provider under way, and their writes.
    ///
    /// Call it after the listener has stopped.
    pub async fn shutdown(&self) {
        self.app.stopping.cancel();
        self.app.tasks.close();
        self.app.tasks.wait().await;
    }
}
