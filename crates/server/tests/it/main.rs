//! The binary from outside: what it prints, where it listens, how it ends.
//!
//! Logging in and calling tools through it is tested end to end, in the workspace's `tests/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![cfg(all(unix, feature = "demo"))]

mod demo;
mod help;
mod process;
