//! What keeps a proxy from being built.

use oauth_proxy::provider::InvalidSetting;

/// What keeps an [`OidcProxy`](crate::OidcProxy) from being built, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Something that has no default was not given.
    #[error("nothing was given for `{what}`: {fix}")]
    Missing {
        /// The builder's method.
        what: &'static str,
        /// What to call.
        fix: &'static str,
    },
    /// A setting of the application at the provider cannot work.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The discovery URL cannot be used.
    #[error("the config URL cannot be used; it is what the provider calls its discovery URL")]
    ConfigUrl(#[source] oidc_discovery::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client for the provider cannot be made")]
    Http(#[source] outbound_http::Error),
    /// The authorization server cannot be put together.
    #[error(transparent)]
    Proxy(#[from] oauth_proxy::BuildError),
}
