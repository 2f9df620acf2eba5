//! The subcommands that print something and end.

use std::io::{self, Write};

use anyhow::Context;
use jwt_issuer::MasterKey;
use kv_storage::Fernet;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::config::{
    self, Config, Given, Sources,
    setting::{JWT_SIGNING_KEY, STORAGE_ENCRYPTION_KEY},
};

/// `oidc-proxy config check`: what the operator should know before serving.
pub(crate) fn check(sources: &Sources) -> anyhow::Result<()> {
    let config = Config::load(sources)?;
    let text = format!(
        "The settings are good.\n\n  \
         MCP endpoint   {base}{mcp}\n  \
         callback URL   {base}{callback} (register it at the provider)\n  \
         backend        {backend}\n  \
         state          {storage}\n  \
         may log in     {who}\n",
        base = config.base_url,
        mcp = config.mcp_path.trim_end_matches('/'),
        callback = config.redirect_path,
        backend = config.backend,
        storage = config.storage,
        who = config.access.who.join("\n                 "),
    );
    print_out(&text)
}

/// `oidc-proxy config print`: also with settings that are wrong, which are named after it.
pub(crate) fn print(sources: &Sources) -> anyhow::Result<()> {
    let (given, problems) = Given::collect(sources);
    print_out(&config::effective(&given))?;
    Config::check(&given, problems)?;
    Ok(())
}

/// `oidc-proxy config reference`
pub(crate) fn reference() -> anyhow::Result<()> {
    print_out(&config::reference())
}

/// `oidc-proxy keys generate`
pub(crate) fn generate_keys() -> anyhow::Result<()> {
    let lines = Zeroizing::new(format!(
        "{}={}\n{}={}\n",
        STORAGE_ENCRYPTION_KEY.own_name().environment(),
        Fernet::generate_key().expose_secret(),
        JWT_SIGNING_KEY.own_name().environment(),
        MasterKey::generate().to_base64url().expose_secret(),
    ));
    print_out(&lines)
}

fn print_out(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("could not print")
}
