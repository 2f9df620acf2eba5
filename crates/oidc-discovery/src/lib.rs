#![doc = include_str!("../README.md")]

mod cached;
mod discovery;
mod error;
mod issuer;
mod key_set;
mod metadata;

pub use discovery::{Clock, Discovery, DiscoveryBuilder};
pub use error::Error;
pub use key_set::KeySet;
pub use metadata::ProviderMetadata;
