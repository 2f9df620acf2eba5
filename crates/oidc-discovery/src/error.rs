//! Why there is no metadata and no keys.

use std::sync::Arc;

/// Why a document of the provider could not be had.
///
/// Cloneable, because one failed fetch answers everybody who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured URL is not one of a metadata document.
    #[error("{url:?} is no URL of a metadata document: {reason}")]
    ConfigUrl {
        /// The URL as configured, without its query.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The document could not be fetched.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The document's URL, without its query.
        url: String,
        /// What happened.
        source: Arc<outbound_http::Error>,
    },

    /// The provider answered, but not with the document.
    #[error("{url} answered with status {status}")]
    Status {
        /// The document's URL, without its query.
        url: String,
        /// The HTTP status.
        status: u16,
    },

    /// The answer is not a document that can be used.
    #[error("{url} is not usable: {reason}")]
    Invalid {
        /// The document's URL, without its query.
        url: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The document is another issuer's (OpenID Connect Discovery 1.0 §4.3, RFC 8414 §3.3).
    #[error(
        "{url} names the issuer {found:?}, but {expected:?} was expected; \
         if that is right, configure it as the expected issuer"
    )]
    IssuerMismatch {
        /// The document's URL, without its query.
        url: String,
        /// What the document says.
        found: String,
        /// What its URL, or the configuration, says.
        expected: String,
    },
}

impl Error {
    /// Whether the same may succeed later without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Fetch { source, .. } => source.is_temporary(),
            // A proxy's or a maintenance page's answer; 404 is what a provider says while it starts.
            Self::Status { .. } | Self::Invalid { .. } => true,
            Self::ConfigUrl { .. } | Self::IssuerMismatch { .. } => false,
        }
    }
}
