#![doc = include_str!("../README.md")]

mod address;
mod client;
mod error;
mod resolve;
mod target;

pub use address::AddressPolicy;
pub use client::{Client, ClientBuilder};
pub use error::Error;
