//! The facade.

use std::{pin::Pin, sync::Arc};

use axum::Router;
use oauth_proxy::{OAuthError, OAuthProxy, SigningKeysError, StreamEnd, admin::Administration};
use oidc_discovery::Discovery;
use secrecy::SecretString;
use token_verifier::{Guard, Principal, TokenVerifier, VerifyError};

use crate::OidcProxyBuilder;

/// An authorization server for MCP clients in front of one OpenID provider.
///
/// Cheap to clone; all clones are one server.
#[derive(Clone, Debug)]
pub struct OidcProxy {
    proxy: OAuthProxy,
    discovery: Discovery,
}

impl OidcProxy {
    /// Begins with the provider's discovery URL, usually its issuer and
    /// `/.well-known/openid-configuration`; the issuer alone will do.
    pub fn builder(config_url: impl Into<String>) -> OidcProxyBuilder {
        OidcProxyBuilder::new(config_url.into())
    }

    pub(crate) fn new(proxy: OAuthProxy, discovery: Discovery) -> Self {
        Self { proxy, discovery }
    }

    /// The OAuth endpoints, and `resource` behind the guard.
    ///
    /// `resource` must route the path of the resource. Its handlers find the [`Principal`] in the
    /// request's extensions, or take it as an argument.
    pub fn protect(self, resource: Router) -> Router {
        self.proxy.protect(resource)
    }

    /// The OAuth endpoints: metadata, registration, authorization, consent, callback, token,
    /// revocation.
    pub fn into_router(self) -> Router {
        self.proxy.into_router()
    }

    /// The tower layer that lets only good access tokens of the resource pass.
    pub fn guard(&self) -> Guard {
        self.proxy.guard()
    }

    /// Verifies the access tokens that this server issues.
    pub fn verifier(&self) -> Arc<dyn TokenVerifier> {
        self.proxy.verifier()
    }

    /// The provider's access token of the person who asks, renewed first if it has ended or
    /// is about to; never one that has ended. Whoever has it can act as that person.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Invalid`] if the login has ended, [`VerifyError::Unavailable`] if storage or
    /// provider do not answer and there is no token that is still good.
    pub async fn provider_token(&self, principal: &Principal) -> Result<SecretString, VerifyError> {
        self.proxy.provider_token(principal).await
    }

    /// Resolves when an open stream of this principal must end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the watching.
    pub fn watch(
        &self,
        principal: &Principal,
    ) -> Pin<Box<dyn Future<Output = StreamEnd> + Send + 'static>> {
        self.proxy.watch(principal)
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
        self.proxy.watch_revocation(principal)
    }

    /// The issuer: the base URL, byte for byte.
    pub fn issuer(&self) -> &str {
        self.proxy.issuer()
    }

    /// The redirect URI to register at the provider.
    pub fn callback_url(&self) -> String {
        self.proxy.callback_url()
    }

    /// The canonical URL of the (first) resource.
    pub fn resource(&self) -> &str {
        self.proxy.resource()
    }

    /// Checks at start-up, before anything is served, that the signing keys are those of the
    /// deployment that the storage belongs to. The first call notes them.
    ///
    /// # Errors
    ///
    /// [`SigningKeysError::Foreign`] names the key that is missing.
    pub async fn check_signing_keys(&self) -> Result<(), SigningKeysError> {
        self.proxy.check_signing_keys().await
    }

    /// Notes that our signing keys are the right ones from now on. Everybody has to log in again.
    ///
    /// # Errors
    ///
    /// [`SigningKeysError::Storage`] if it could not be noted.
    pub async fn danger_replace_signing_keys(&self) -> Result<(), SigningKeysError> {
        self.proxy.danger_replace_signing_keys().await
    }

    /// Whether the storage answers.
    ///
    /// # Errors
    ///
    /// `temporarily_unavailable` with the cause for the operator.
    pub async fn health(&self) -> Result<(), OAuthError> {
        self.proxy.health().await
    }

    /// Whether the provider's metadata and keys can be had, fetching them if they are not known.
    ///
    /// # Errors
    ///
    /// What is wrong with them, or why they cannot be fetched.
    pub async fn check_provider(&self) -> Result<(), oidc_discovery::Error> {
        self.discovery.metadata().await?;
        self.discovery.keys().await.map(drop)
    }

    /// Grants and clients from the operator's side: listing them, and ending them.
    pub fn administration(&self) -> Administration {
        self.proxy.administration()
    }

    /// Does what no request waits for, until [`shutdown`](Self::shutdown): tells the provider of
    /// revocations that it did not hear of at once.
    ///
    /// Run it beside the listener, once per process.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the work; what is left stays in the storage.
    pub fn maintain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.proxy.maintain()
    }

    /// Waits for what no client may interrupt: calls to the provider under way, and their writes.
    ///
    /// Call it after the listener has stopped.
    pub async fn shutdown(&self) {
        self.proxy.shutdown().await;
    }
}
