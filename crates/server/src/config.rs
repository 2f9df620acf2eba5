//! The configuration of `serve`: flag over environment over TOML file.
//!
//! One table, [`setting::SETTINGS`], names every setting. The command line, the look-up in the
//! environment and in the file, the complaints, `config print` and the reference in
//! `docs/configuration.md` all follow from it.

mod access;
mod check;
mod client_settings;
mod given;
mod keys;
mod operation;
mod print;
mod problem;
pub(crate) mod setting;
mod storage;

use std::net::SocketAddr;

use jwt_issuer::KeyRing;
use kv_storage::SealedWith;
use oidc_proxy::{
    ClientAuthMethod, ClientDocuments, ClientSettings, Lifetimes, ProviderRevocation,
    ResourceServer, SigningAlgorithm,
};
use rustls::ClientConfig;
use secrecy::SecretString;

pub(crate) use self::{
    access::Access,
    given::{Given, Sources},
    keys::{KeyPlace, KeyPlaces},
    operation::{AdminListen, AdminPlace, AuditLog, Operation, TokenFile},
    print::{effective, reference},
    problem::Problems,
    storage::{Storage, StorageFacts},
};
use crate::{identity::Ways, log};

/// Everything that `serve` needs to know, checked.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the config URL is what the setting is called")]
pub(crate) struct Config {
    pub(crate) config_url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<SecretString>,
    pub(crate) token_endpoint_auth_method: Option<ClientAuthMethod>,
    pub(crate) audience: Option<String>,
    pub(crate) provider_scopes: Vec<String>,
    pub(crate) provider_revocation: ProviderRevocation,
    pub(crate) extra_authorize_params: Vec<(String, String)>,
    pub(crate) userinfo: bool,
    pub(crate) base_url: String,
    pub(crate) listen: Listen,
    pub(crate) mcp_path: String,
    pub(crate) redirect_path: String,
    pub(crate) required_scopes: Vec<String>,
    /// Which clients may be described by a document of their own.
    pub(crate) client_documents: ClientDocuments,
    /// Who may ask about tokens.
    pub(crate) resource_servers: Vec<ResourceServer>,
    pub(crate) access: Access,
    pub(crate) backend: String,
    /// Whom an https backend must have its certificate from, if not one whom the system trusts.
    pub(crate) backend_tls: Option<ClientConfig>,
    /// How the backend is told who asks.
    pub(crate) identity: Ways,
    pub(crate) storage: Storage,
    /// What encrypts the storage, if it was given.
    pub(crate) storage_keys: Option<Vec<SecretString>>,
    /// Without it, what the storage was written with.
    pub(crate) storage_cipher: Option<SealedWith>,
    /// What signs and seals, if it was given.
    pub(crate) signing_keys: Option<KeyRing>,
    pub(crate) signing_algorithm: SigningAlgorithm,
    /// Whether the signing keys may be others than before.
    pub(crate) replace_signing_keys: bool,
    pub(crate) log_format: log::Format,
    pub(crate) lifetimes: Lifetimes,
    /// What holds for some clients instead.
    pub(crate) client_settings: Vec<ClientSettings>,
    pub(crate) operation: Operation,
}

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `localhost:PORT`: every loopback address.
    Loopback(u16),
    /// One address.
    At(SocketAddr),
}

impl Listen {
    /// Whether nobody but this machine can connect.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Loopback(_) => true,
            Self::At(address) => address.ip().is_loopback(),
        }
    }
}

impl Config {
    /// Collects and checks all settings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong or missing, at once. If the file could not be read, what is missing
    /// is not named: it may be in there.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Problems> {
        let (given, problems) = Given::collect(sources);
        Self::check(&given, problems)
    }

    /// As [`Config::load`], for what was collected before with these `problems`.
    pub(crate) fn check(given: &Given, problems: Problems) -> Result<Self, Problems> {
        check::check(given, problems)
    }
}

impl AdminPlace {
    /// Collects the few settings that say where the administration is.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, at once.
    pub(crate) fn find(sources: &Sources) -> Result<Self, Problems> {
        let (given, problems) = Given::collect(sources);
        check::operation::admin_place(&given, problems)
    }
}

#[cfg(test)]
mod tests;
