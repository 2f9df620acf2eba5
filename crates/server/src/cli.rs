//! The command line.

#[cfg(feature = "demo")]
mod demo;
pub(crate) mod duration;
mod settings;

use clap::{Parser, Subcommand};

#[cfg(feature = "demo")]
pub(crate) use self::demo::DemoOptions;
pub(crate) use self::settings::SettingFlags;

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

    /// Make keys
    #[command(subcommand)]
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
}

#[cfg(test)]
mod tests;
