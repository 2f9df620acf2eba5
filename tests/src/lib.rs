#![doc = include_str!("../README.md")]

pub mod browser;
pub mod client;
pub mod cookies;
pub mod group;
pub mod html;
pub mod mcp;
pub mod process;
pub mod serve;

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long a test waits for something that should happen at once, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// An account at the provider.
#[derive(Clone)]
pub struct User {
    /// What is typed into the login form.
    pub name: String,
    /// What is typed below it.
    pub password: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An HTTP client without redirects, proxies and pools that outlive a restart of the server.
///
/// # Errors
///
/// When reqwest cannot be set up.
pub fn http() -> anyhow::Result<reqwest::Client> {
    http_keeping(0)
}

/// As [`http()`], but so many connections to each server are kept for the next request.
///
/// # Errors
///
/// As [`http()`].
pub fn http_keeping(connections: usize) -> anyhow::Result<reqwest::Client> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests stand outside, where the limits are not ours"
    )]
    let builder = reqwest::Client::builder();
    let client = builder
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .pool_max_idle_per_host(connections)
        .build()?;
    Ok(client)
}

/// Looks at `condition` until it holds, for [`PATIENCE`] at most.
///
/// # Errors
///
/// When it never held; `what` says what was waited for.
pub async fn eventually(
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !condition().await {
        if started.elapsed() > PATIENCE {
            bail!("waited {} s in vain for: {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
