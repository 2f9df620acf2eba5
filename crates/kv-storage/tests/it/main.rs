//! The crate through its public API: every backend and wrapper through the conformance suite,
//! and what is particular to each.

#![expect(clippy::unwrap_used, reason = "to panic is how a test fails")]

mod conformance;
mod corrupt;
mod crashes;
mod disk;
mod encrypted;
mod faulty;
mod group_commit;
mod memory;
mod metered;
mod model;
mod open;
mod processes;
mod redis;
mod sqlite;
mod suite;
mod wrappers;
