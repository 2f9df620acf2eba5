//! Discovery against a provider on loopback.

mod keys;
mod metadata;
mod provider;
