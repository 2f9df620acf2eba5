#![doc = include_str!("../README.md")]

mod algorithm;
mod assertion;
mod error;
#[cfg(test)]
mod hex;
mod key;
mod mac;
mod random;
mod seal;
mod signing;
mod token;

pub use crate::{
    algorithm::{SigningAlgorithm, UnknownAlgorithm},
    assertion::{AssertionClaims, AssertionIssuer, MAX_ASSERTION_LIFETIME},
    error::{Error, TokenError},
    key::{KeyId, KeyRing, MIN_MASTER_KEY_BYTES, MasterKey},
    mac::Mac,
    random::{random_bytes, random_token, sha256_base64url},
    seal::Sealer,
    token::{AccessClaims, JwtIssuer, MAX_CLOCK_SKEW},
};
