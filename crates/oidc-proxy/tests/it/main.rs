//! The crate through its public interface, in front of a real provider on a loopback port.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]
#![expect(clippy::duplicate_mod, reason = "each example brings what stands beside it")]

mod builder;
mod discovered;
mod examples;
mod id_token;
mod outage;
mod provider;
