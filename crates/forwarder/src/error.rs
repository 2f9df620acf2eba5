//! Why a [`Forwarder`](crate::Forwarder) could not be built.

use crate::path::PathError;

/// What [`Builder::build`](crate::Builder::build) refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend's URL cannot be forwarded to.
    #[error("cannot forward to this backend URL: {reason}")]
    Backend {
        /// What is wrong with it, without the URL itself, which may hold a password.
        reason: &'static str,
    },
    /// The resource's path could never match a request that is let through.
    #[error("cannot serve this resource path")]
    ResourcePath(#[source] PathError),
    /// An identity header has a name that carries message framing or routing.
    #[error("cannot use `{name}` as an identity header")]
    IdentityHeader {
        /// The offending name.
        name: http::HeaderName,
    },
    /// The TLS verifier of the operating system is not usable, most often because the system has
    /// no CA certificates (a `scratch` image needs `ca-certificates`).
    #[error("cannot set up TLS for the backend")]
    Tls(#[source] std::io::Error),
}
