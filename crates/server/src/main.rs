//! `oidc-proxy`: an OIDC proxy in front of an MCP server.
//!
//! Thin: it reads the command line, assembles the crates and decides nothing.

#![cfg_attr(
    not(feature = "demo"),
    expect(
        dead_code,
        unreachable_code,
        unused_imports,
        unused_variables,
        clippy::needless_pass_by_value,
        reason = "without its one subcommand the program can only print its help"
    )
)]

mod assemble;
mod cli;
mod data_dir;
#[cfg(feature = "demo")]
mod demo;
mod identity;
mod listen;
mod log;
mod session;
mod signals;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Parser;
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    log::init()?;
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another TLS provider is installed"))?;
    let runtime = Runtime::new().context("could not start the asynchronous runtime")?;
    match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(options) => runtime.block_on(demo::run(options)),
    }
}
