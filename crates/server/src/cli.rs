//! The command line.

#[cfg(feature = "demo")]
mod demo;
mod duration;

use clap::{Parser, Subcommand};

#[cfg(feature = "demo")]
pub(crate) use self::demo::DemoOptions;

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
    #[cfg(feature = "demo")]
    Demo(DemoOptions),
}

#[cfg(test)]
mod tests;
