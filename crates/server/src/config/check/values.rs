//! What the text of one setting stands for.

use std::{net::SocketAddr, time::Duration};

use anyhow::Error;
use forwarder::Forwarder;
use jwt_issuer::{KeyRing, MAX_ASSERTION_LIFETIME, MasterKey};
use kv_storage::Memory;
use oidc_proxy::{
    AccessPolicy, ClientAuthMethod, OidcProxy, OidcProxyBuilder, ProviderRevocation, ResourceServer,
};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{
    super::{Listen, access},
    reader,
};
use crate::cli::duration;

/// Stands in for settings that are not on trial.
pub(super) const GOOD_CONFIG_URL: &str = "https://provider.example";

/// The crates know best what they accept, so they are asked, one setting at a time.
pub(super) fn trial(config_url: &str) -> OidcProxyBuilder {
    let builder = OidcProxy::builder(config_url)
        .client_id("trial")
        .base_url("http://localhost")
        .access(AccessPolicy::any_user());
    with_stand_ins(builder)
}

pub(super) fn with_stand_ins(builder: OidcProxyBuilder) -> OidcProxyBuilder {
    builder.storage(Memory::new()).signing_keys(KeyRing::new(MasterKey::generate()))
}

pub(super) fn build(builder: OidcProxyBuilder) -> Result<(), String> {
    builder.build().map(drop).map_err(|error| format!("{:#}", Error::from(error)))
}

pub(super) fn provider_revocation(text: &str) -> Result<ProviderRevocation, String> {
    match text {
        "last-session" => Ok(ProviderRevocation::LastGrant),
        "always" => Ok(ProviderRevocation::Always),
        "never" => Ok(ProviderRevocation::Never),
        _ => Err(format!("{text:?}: expected last-session, always or never")),
    }
}

pub(super) fn resource_server(
    mut known: Vec<ResourceServer>,
    text: &str,
) -> Result<Vec<ResourceServer>, String> {
    let (id, path) = text.split_once('=').ok_or_else(|| format!("{text:?}: expected ID=FILE"))?;
    let server = ResourceServer::new(id, &reader::secret_file(path)?);
    known.push(server);
    let servers = known.clone();
    build(trial(GOOD_CONFIG_URL).proxy(move |mut proxy| {
        for server in servers {
            proxy = proxy.resource_server(server);
        }
        proxy
    }))?;
    Ok(known)
}

pub(super) fn config_url(text: &str) -> Result<String, String> {
    no_password(text)?;
    match trial(text).build() {
        Ok(_) => Ok(text.to_owned()),
        // What the builder says about it is for programmers.
        Err(error) => Err(Error::from(error).root_cause().to_string()),
    }
}

pub(super) fn base_url(text: &str) -> Result<String, String> {
    no_password(text)?;
    build(trial(GOOD_CONFIG_URL).base_url(text)).map(|()| text.to_owned())
}

pub(super) fn mcp_path(text: &str) -> Result<String, String> {
    build(trial(GOOD_CONFIG_URL).resource(text)).map(|()| text.to_owned())
}

/// The callback must not be where another endpoint is, or a resource.
pub(super) fn redirect_path(text: &str, mcp_path: Option<&str>) -> Result<String, String> {
    build(trial(GOOD_CONFIG_URL).redirect_path(text))?;
    let below = mcp_path.and_then(|mcp| text.strip_prefix(mcp.trim_end_matches('/')));
    let in_mcp = mcp_path != Some("/")
        && below.is_some_and(|rest| matches!(rest.chars().next(), None | Some('/')));
    if in_mcp {
        return Err(format!("`{text}` lies in the MCP endpoint, where the provider cannot return"));
    }
    build(trial(GOOD_CONFIG_URL).resource(text))
        .map(|()| text.to_owned())
        .map_err(|_| format!("`{text}` is taken by another endpoint of this server"))
}

pub(super) fn backend(text: &str) -> Result<String, String> {
    no_password(text)?;
    Forwarder::builder(text)
        .build()
        .map(|_| text.to_owned())
        .map_err(|error| format!("{:#}", Error::from(error)))
}

/// URLs are logged and shown.
pub(super) fn no_password(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("the URL must not contain a user name or password".to_owned())
        }
        Err(_) if text.contains('@') => {
            Err("it is no URL, and what stands before its @ may be a password".to_owned())
        }
        _ => Ok(()),
    }
}

pub(super) fn auth_method(text: &str) -> Result<ClientAuthMethod, String> {
    [
        ClientAuthMethod::ClientSecretBasic,
        ClientAuthMethod::ClientSecretPost,
        ClientAuthMethod::None,
    ]
    .into_iter()
    .find(|method| method.as_str() == text)
    .ok_or_else(|| format!("{text:?} is none of client_secret_basic, client_secret_post, none"))
}

pub(super) fn param(
    mut params: Vec<(String, String)>,
    text: &str,
) -> Result<Vec<(String, String)>, String> {
    let (name, value) = access::pair(text)?;
    params.push((name.to_owned(), value.to_owned()));
    build(trial(GOOD_CONFIG_URL).extra_authorize_params(params.clone())).map(|()| params)
}

pub(super) fn listen(text: &str) -> Result<Listen, String> {
    let localhost = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    if let Some(port) = localhost {
        return Ok(Listen::Loopback(port));
    }
    text.parse::<SocketAddr>().map(Listen::At).map_err(|_| {
        format!(
            "{text:?} is not an address and a port like 127.0.0.1:8000, [::]:8000 or \
             localhost:8000"
        )
    })
}

pub(super) fn assertion_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration::parse(text).map_err(|why| format!("{text:?}: {why}"))?;
    if (1..=MAX_ASSERTION_LIFETIME).contains(&lifetime.as_secs()) {
        return Ok(lifetime);
    }
    Err(format!("{text:?} is not between 1s and {MAX_ASSERTION_LIFETIME}s"))
}

pub(super) fn signing_keys(keys: &[SecretString]) -> Result<KeyRing, String> {
    let mut ring: Option<KeyRing> = None;
    for (index, key) in keys.iter().enumerate() {
        let key = MasterKey::from_base64url(key).map_err(|error| {
            format!("key {}: {error}; `oidc-proxy keys generate` makes one", index + 1)
        })?;
        ring = Some(match ring {
            None => KeyRing::new(key),
            Some(ring) => ring.with_older(key),
        });
    }
    ring.ok_or_else(|| "it holds no key".to_owned())
}

pub(super) fn is_loopback(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A secret that is a list of keys: one a line or separated by commas, `#` begins a note, which
/// ends with the line.
pub(super) fn key_list(text: &SecretString) -> Vec<SecretString> {
    text.expose_secret()
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(|line| line.split([' ', '\t', ',']))
        .filter(|key| !key.is_empty())
        .map(SecretString::from)
        .collect()
}
