//! The options of `oidc-proxy demo`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::cli::duration;

/// Try it out: an OIDC provider, an MCP server and the proxy in between
///
/// Starts three servers in one process, on loopback only: a small OIDC provider
/// without dynamic registration, a small MCP server, and the proxy in front of it.
/// Ctrl-C stops them.
#[derive(Debug, Args)]
#[command(args_override_self = true, verbatim_doc_comment)]
pub(crate) struct DemoOptions {
    /// Port of the proxy (0: any free)
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,

    /// Port of the provider (0: any free)
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub(crate) idp_port: u16,

    /// Port of the MCP server (0: any free)
    #[arg(long, value_name = "PORT", default_value_t = 9001)]
    pub(crate) mcp_port: u16,

    /// Keep clients, sessions and keys in this directory
    ///
    /// The next run with the same ports goes on where this one ended.
    /// Without it everything is forgotten at exit.
    #[arg(long, value_name = "DIR", verbatim_doc_comment)]
    pub(crate) keep: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) lifetimes: LifetimeOptions,
}

/// Every lifetime is a setting, so that expiry can be watched without waiting for days. The names
/// are those of [`oidc_proxy::Lifetimes`] and [`dev_idp::Lifetimes`].
#[derive(Debug, Default, Args)]
pub(crate) struct LifetimeOptions {
    #[arg(long, hide = true, value_parser = duration::parse)]
    consent_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    transaction_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    code_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    code_memory: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    access_token_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    access_token_floor: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    outage_access_token_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    refresh_idle_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    refresh_absolute_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    session_without_refresh_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    refresh_grace: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    revocation_delay: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    stream_check: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    provider_token_fallback: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    provider_token_longest: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    provider_refresh_margin: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    provider_call: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    provider_outage_tolerance: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    outbox_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    outbox_check: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    clock_skew: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    unused_client_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    pressed_client_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    used_client_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    idp_code_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    idp_access_token_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    idp_id_token_lifetime: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration::parse)]
    idp_refresh_token_lifetime: Option<Duration>,
}

impl LifetimeOptions {
    /// The lifetimes of the proxy: the defaults with what was given.
    pub(crate) fn proxy(&self) -> oidc_proxy::Lifetimes {
        let mut lifetimes = oidc_proxy::Lifetimes::default();
        for (given, setting) in [
            (self.consent_lifetime, &mut lifetimes.consent),
            (self.transaction_lifetime, &mut lifetimes.transaction),
            (self.code_lifetime, &mut lifetimes.code),
            (self.code_memory, &mut lifetimes.code_memory),
            (self.access_token_lifetime, &mut lifetimes.access_token),
            (self.access_token_floor, &mut lifetimes.access_token_floor),
            (self.outage_access_token_lifetime, &mut lifetimes.outage_access_token),
            (self.refresh_idle_lifetime, &mut lifetimes.refresh_idle),
            (self.refresh_absolute_lifetime, &mut lifetimes.refresh_absolute),
            (self.session_without_refresh_lifetime, &mut lifetimes.session_without_refresh),
            (self.refresh_grace, &mut lifetimes.refresh_grace),
            (self.revocation_delay, &mut lifetimes.revocation_delay),
            (self.stream_check, &mut lifetimes.stream_check),
            (self.provider_token_fallback, &mut lifetimes.provider_token_fallback),
            (self.provider_token_longest, &mut lifetimes.provider_token_longest),
            (self.provider_refresh_margin, &mut lifetimes.provider_refresh_margin),
            (self.provider_call, &mut lifetimes.provider_call),
            (self.provider_outage_tolerance, &mut lifetimes.provider_outage_tolerance),
            (self.outbox_lifetime, &mut lifetimes.outbox),
            (self.outbox_check, &mut lifetimes.outbox_check),
            (self.clock_skew, &mut lifetimes.clock_skew),
            (self.unused_client_lifetime, &mut lifetimes.unused_client),
            (self.pressed_client_lifetime, &mut lifetimes.pressed_client),
            (self.used_client_lifetime, &mut lifetimes.used_client),
        ] {
            *setting = given.unwrap_or(*setting);
        }
        lifetimes
    }

    /// The lifetimes of the provider: the defaults with what was given.
    pub(crate) fn provider(&self) -> dev_idp::Lifetimes {
        let mut lifetimes = dev_idp::Lifetimes::default();
        for (given, setting) in [
            (self.idp_code_lifetime, &mut lifetimes.code),
            (self.idp_access_token_lifetime, &mut lifetimes.access_token),
            (self.idp_id_token_lifetime, &mut lifetimes.id_token),
            (self.idp_refresh_token_lifetime, &mut lifetimes.refresh_token),
        ] {
            *setting = given.unwrap_or(*setting);
        }
        lifetimes
    }
}
