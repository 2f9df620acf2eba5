//! The binary from outside: what it prints, where it listens, how it ends.
//!
//! Clients, streams, races and restarts are tested end to end, in the workspace's `tests/`.

#![cfg(all(unix, feature = "demo"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod admin;
mod backend;
mod demo;
mod deploy;
mod help;
mod identity;
mod keys;
mod login;
mod manual;
mod operator;
mod process;
mod serve;
mod storage;
