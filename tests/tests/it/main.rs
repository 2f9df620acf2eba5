//! The suites: the built binary from outside, over HTTP only.

mod flow;
mod forwarding;
mod lifecycle;
mod races;
mod revocation;
mod rfc;
mod secrets;

use std::path::{Path, PathBuf};

use end_to_end::{
    browser::{Browser, Intent},
    client::{Client, Tokens},
    process::Demo,
};

/// Alice, and what she wants.
fn alice(demo: &Demo) -> Intent {
    Intent::LogIn(demo.user("alice"))
}

/// A client of `demo` with tokens of Alice's.
async fn logged_in(demo: &Demo) -> anyhow::Result<(Client, Tokens)> {
    let client = Client::register(&demo.mcp_endpoint).await?;
    let tokens = client.log_in(&mut Browser::new()?, &alice(demo)).await?;
    Ok((client, tokens))
}

/// Every file under `directory`.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}
