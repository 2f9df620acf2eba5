//! Why there is no answer.

use std::{error::Error as StdError, io, time::Duration};

use crate::resolve::ResolveError;

/// Why a request has no answer.
///
/// An answer with an error status is an answer, not an error. No variant holds a path, a query, a
/// header or a body: those carry codes, tokens and secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client could not be made, usually because the machine has no certificate store.
    #[error("cannot make an HTTP client")]
    Build(#[source] Box<dyn StdError + Send + Sync>),

    /// The URL of the request cannot be called by anybody.
    #[error("the URL cannot be called: {reason}")]
    InvalidUrl {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The address policy does not allow this request.
    #[error("requests to {host} are refused: {reason}")]
    Forbidden {
        /// The host, with its port if that is not the default.
        host: String,
        /// Which rule it breaks.
        reason: &'static str,
    },

    /// The whole answer was not there in time.
    #[error("{host} did not answer within {limit:?}")]
    Timeout {
        /// The host, with its port if that is not the default.
        host: String,
        /// The deadline of the client.
        limit: Duration,
    },

    /// The body of the answer is longer than the client accepts.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// The host, with its port if that is not the default.
        host: String,
        /// The most that the client accepts.
        limit: usize,
    },

    /// The name could not be looked up, or nothing accepts connections there.
    #[error("cannot connect to {host}")]
    Connect {
        /// The host, with its port if that is not the default.
        host: String,
        /// What the network said.
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The certificate of the server is not one to trust.
    #[error("the certificate of {host} is not trusted")]
    Untrusted {
        /// The host, with its port if that is not the default.
        host: String,
        /// What is wrong with the certificate.
        source: Box<dyn StdError + Send + Sync>,
    },

    /// The connection broke, or what came over it is not HTTP.
    #[error("{host} gave no valid HTTP answer")]
    Http {
        /// The host, with its port if that is not the default.
        host: String,
        /// What the HTTP library said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Connect { .. } | Self::Http { .. } => true,
            Self::Build(_)
            | Self::InvalidUrl { .. }
            | Self::Forbidden { .. }
            | Self::TooLarge { .. }
            | Self::Untrusted { .. } => false,
        }
    }

    /// Sorts an error of the HTTP library by its causes.
    pub(crate) fn of(host: &str, error: reqwest::Error) -> Self {
        let host = host.to_owned();
        let error = error.without_url();
        if let Some(ResolveError::Refused(reason)) = cause::<ResolveError>(&error) {
            return Self::Forbidden { host, reason };
        }
        let untrusted =
            matches!(cause::<rustls::Error>(&error), Some(rustls::Error::InvalidCertificate(_)));
        let is_connect = error.is_connect();
        let source = Box::new(error);
        match (untrusted, is_connect) {
            (true, _) => Self::Untrusted { host, source },
            (false, true) => Self::Connect { host, source },
            (false, false) => Self::Http { host, source },
        }
    }
}

/// The first cause of type `T`.
///
/// Looks into I/O errors too: their `source` skips the error that they were made of.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        next = wrapped.or_else(|| error.source());
    }
    None
}
