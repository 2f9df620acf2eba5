#![doc = include_str!("../README.md")]

mod builder;
mod error;
mod id_token;
mod issuer;
mod provider;
mod proxy;

pub use crate::{
    builder::OidcProxyBuilder,
    error::BuildError,
    provider::{OidcProvider, OidcProviderBuilder},
    proxy::OidcProxy,
};

/// What every program that uses the facade names, so that it needs no further dependency for it.
pub use jwt_issuer::{KeyRing, MasterKey, SigningAlgorithm};
pub use oauth_proxy::{
    AccessPolicy, AccessTokenBasis, AuditAction, AuditEvent, AuditOutcome, AuditSink,
    ClientDocuments, ClientSettings, ErrorCode, Lifetimes, METRICS, Metric, MetricKind, OAuthError,
    ProviderRevocation, ResourceServer, SigningKeysError, StreamEnd, admin,
    provider::ClientAuthMethod, vouched_email,
};
pub use token_verifier::{Principal, VerifyError};
