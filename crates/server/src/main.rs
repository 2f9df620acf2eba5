//! `oidc-proxy`: an OIDC proxy in front of an MCP server.
//!
//! Thin: it reads the command line, assembles the crates and decides nothing.

mod admin;
mod assemble;
mod audit;
mod backend_tls;
mod cli;
mod config;
mod data_dir;
mod date;
#[cfg(feature = "demo")]
mod demo;
mod identity;
mod inspect;
mod keys;
#[cfg(feature = "kill-points")]
mod kill_point;
mod listen;
mod log;
mod operator;
mod serve;
mod session;
mod signals;
mod state;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Parser;
use tokio::runtime::Runtime;

use crate::{
    cli::{Cli, Command, ConfigCommand, KeysCommand, SettingFlags},
    config::{Config, Problems, Sources},
};

/// What clap answers to a wrong command line, and we to wrong settings.
const WRONG_SETTINGS: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Err(error) = run(cli) else { return ExitCode::SUCCESS };
    // Nobody is left to tell if stderr is closed.
    match error.downcast::<Problems>() {
        Ok(problems) => {
            let _ = write!(io::stderr(), "{problems}");
            ExitCode::from(WRONG_SETTINGS)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another TLS provider is installed"))?;
    match cli.command {
        Command::Serve(flags) => {
            let config = Config::load(&sources(flags))?;
            log::init(config.log_format)?;
            block_on(serve::run(config))
        }
        #[cfg(feature = "demo")]
        Command::Demo(options) => {
            log::init(log::Format::Text)?;
            block_on(demo::run(*options))
        }
        Command::Config(ConfigCommand::Check(flags)) => inspect::check(&sources(flags)),
        Command::Config(ConfigCommand::Print(flags)) => inspect::print(&sources(flags)),
        Command::Config(ConfigCommand::Reference) => inspect::reference(),
        Command::Sessions(command) => {
            log::init(log::Format::by_terminal())?;
            let sources = sources(command.settings());
            block_on(operator::sessions(command, &sources))
        }
        Command::Clients(command) => {
            log::init(log::Format::by_terminal())?;
            let sources = sources(command.settings());
            block_on(operator::clients(command, &sources))
        }
        Command::Keys(command) => change_keys(command),
    }
}

fn change_keys(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::Generate => inspect::generate_keys(),
        KeysCommand::List(settings) => keys::list(&sources(settings)),
        KeysCommand::Rotate { ring, settings } => keys::rotate(ring, &sources(settings)),
        KeysCommand::Promote { ring, id, settings } => {
            keys::promote(ring, id.as_deref(), &sources(settings))
        }
        KeysCommand::Retire { ring, id, force, settings } => {
            keys::retire(ring, id.as_deref(), force, &sources(settings))
        }
        KeysCommand::AssertionKey(settings) => keys::assertion_key(&sources(settings)),
    }
}

fn sources(flags: SettingFlags) -> Sources {
    let environment = env::vars_os();
    // To a build that serves it is a setting that does not exist.
    #[cfg(feature = "kill-points")]
    let environment = environment.filter(|(name, _)| name != kill_point::VARIABLE);
    flags.into_sources(environment.collect())
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    Runtime::new().context("could not start the asynchronous runtime")?.block_on(future)
}
