#![doc = include_str!("../README.md")]

#[cfg(feature = "axum")]
mod extract;
mod fixed;
mod guard;
#[cfg(feature = "jwks")]
mod jwt;
#[cfg(feature = "keys")]
mod key;
mod principal;
#[cfg(feature = "keys")]
mod public_keys;
mod verifier;

#[cfg(feature = "axum")]
pub use extract::Unguarded;
pub use fixed::StaticVerifier;
pub use guard::{Guard, GuardFuture, GuardService};
#[cfg(feature = "jwks")]
pub use jwt::{Clock, JwtVerifier, JwtVerifierBuilder};
pub use principal::{Principal, PrincipalBuilder};
#[cfg(feature = "keys")]
pub use public_keys::{PublicKeys, SignatureError};
pub use verifier::{TokenVerifier, VerifyError};
