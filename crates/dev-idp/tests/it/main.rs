//! The provider through its public API: over the router, without sockets.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod authorize;
mod build;
mod discovery;
mod login;
#[cfg(feature = "misbehave")]
mod misbehave;
mod refresh;
mod revoke;
mod state;
mod support;
mod token;
mod userinfo;
