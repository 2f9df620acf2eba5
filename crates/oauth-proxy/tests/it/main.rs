//! The authorization server through its router, with a provider that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod admin;
mod ahead;
mod assertion;
mod audit;
mod budget;
mod callback;
mod cimd;
mod client_settings;
mod code;
mod consent;
mod introspect;
mod keys;
mod lifetimes;
mod manage;
mod metadata;
mod model;
mod odd;
mod outage;
mod outages;
mod outbox;
mod proof;
mod provider_token;
mod refresh;
mod register;
mod renewal;
mod revoke;
mod support;
mod watch;
