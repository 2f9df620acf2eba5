//! Developer commands of this workspace: `cargo xtask integration`, `cargo xtask tidy`,
//! `cargo xtask bench`.
//!
//! Written in Rust so that a machine with cargo needs nothing else.
//! CONTRIBUTING.md says when to use which.
#![expect(clippy::print_stdout, reason = "printing is what a command does")]

mod bench;
mod counts;
mod flags;
mod integration;
mod parts;
mod process;
mod set_up;
mod standalone;
mod tail;
mod tidy;

use std::process::ExitCode;

use anyhow::Context as _;
use xshell::Shell;

fn main() -> ExitCode {
    let flags = flags::Xtask::from_env_or_exit();
    match run(flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the chosen command; `false` means that it ran and found something wrong.
fn run(flags: flags::Xtask) -> anyhow::Result<bool> {
    let shell = Shell::new().context("cannot find the current directory")?;
    // Cargo sets this for `cargo run`, and xtask is only run that way.
    let manifest = std::env::var("CARGO_MANIFEST_DIR")
        .context("run it as `cargo xtask`, cargo tells where the workspace is")?;
    let root = std::path::Path::new(&manifest).parent().context("xtask has no parent directory")?;
    shell.change_dir(root);
    match flags.subcommand {
        flags::XtaskCmd::Integration(options) => integration::run(&shell, &options),
        flags::XtaskCmd::Bench(options) => bench::run(&shell, &options),
        flags::XtaskCmd::Tidy(_) => tidy::command(&shell),
    }
}
