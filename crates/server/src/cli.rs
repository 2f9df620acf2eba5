//! The command line.

#[cfg(feature = "demo")]
mod demo;
pub(crate) mod duration;
mod operator;
mod settings;

use clap::{Parser, Subcommand};

#[cfg(feature = "demo")]
pub(crate) use self::demo::DemoOptions;
pub(crate) use self::{
    operator::{ClientsCommand, Paging, Place, SessionsCommand, Whose},
    settings::SettingFlags,
};
use crate::keys::Which;

/// An OIDC proxy in front of an MCP server.
///
/// Toward MCP clients it is a complete OAuth 2.1 authorization server; toward your
/// identity provider it is the one application that you registered there.
#[derive(Debug, Parser)]
#[command(name = "oidc-proxy", version, verbatim_doc_comment)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stand in front of an MCP server
    ///
    /// Every setting is a flag, an environment variable or a line of a TOML file;
    /// a flag wins over the environment, and the environment over the file.
    /// Lists are separated by spaces or commas, or the flag is given again.
    /// Groups, claims and parameters may have spaces: only commas separate them.
    #[command(args_override_self = true, next_line_help = true, verbatim_doc_comment)]
    Serve(SettingFlags),

    #[cfg(feature = "demo")]
    Demo(Box<DemoOptions>),

    /// Look at the settings without serving
    #[command(subcommand)]
    Config(ConfigCommand),

    /// See who is logged in, and end it
    #[command(subcommand)]
    Sessions(SessionsCommand),

    /// See which clients are registered, and delete them
    #[command(subcommand)]
    Clients(ClientsCommand),

    /// Make keys, and put one in the place of another
    ///
    /// These commands take the settings of `serve`, of which they need those about
    /// keys and storage.
    #[command(subcommand, verbatim_doc_comment)]
    Keys(KeysCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether `serve` would start, and who could log in
    #[command(args_override_self = true, next_line_help = true)]
    Check(SettingFlags),

    /// Print every setting and where it comes from, without secrets
    #[command(args_override_self = true, next_line_help = true)]
    Print(SettingFlags),

    /// Print the reference for the manual
    #[command(hide = true)]
    Reference,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a storage key and a signing key, ready to paste
    Generate,

    /// Show every key by its id: what it does, and since when
    #[command(args_override_self = true, next_line_help = true)]
    List(SettingFlags),

    /// Add a new key that is understood and not used yet
    ///
    /// Keys that the server keeps are changed where they lie; what given keys must
    /// become is printed.
    #[command(args_override_self = true, next_line_help = true, verbatim_doc_comment)]
    Rotate {
        /// Which ring
        ring: Which,
        #[command(flatten)]
        settings: SettingFlags,
    },

    /// Use a key from now on, when every server has it
    #[command(args_override_self = true, next_line_help = true)]
    Promote {
        /// Which ring
        ring: Which,
        /// Which key, by its id, if not the new one
        #[arg(allow_hyphen_values = true)]
        id: Option<String>,
        #[command(flatten)]
        settings: SettingFlags,
    },

    /// Remove a key that nothing needs any more
    #[command(args_override_self = true, next_line_help = true)]
    Retire {
        /// Which ring
        ring: Which,
        /// Which key, by its id, if not the old one
        #[arg(allow_hyphen_values = true)]
        id: Option<String>,
        /// Even if something that it protects may still live
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        settings: SettingFlags,
    },

    /// Print the keys with which the backend verifies assertions
    ///
    /// One a line: the `kid`, and the key. The first one signs.
    #[command(args_override_self = true, next_line_help = true, verbatim_doc_comment)]
    AssertionKey(SettingFlags),
}

#[cfg(test)]
mod tests;
