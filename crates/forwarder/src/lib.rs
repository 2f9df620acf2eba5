#![doc = include_str!("../README.md")]

mod body;
mod builder;
mod connect;
mod error;
mod forwarder;
mod header;
mod identity;
mod liveness;
mod location;
pub mod path;
mod refusal;
mod session;

pub use self::{
    body::{BodyError, ForwardBody},
    builder::{Builder, DEFAULT_CONNECT_TIMEOUT, DEFAULT_POOL_IDLE_TIMEOUT, DEFAULT_POOL_MAX_IDLE},
    error::Error,
    forwarder::Forwarder,
    header::{OWN_COOKIE_PREFIXES, is_own_cookie},
    identity::Identity,
    liveness::{Ended, Liveness},
    session::SessionSeal,
};
