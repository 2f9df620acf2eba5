#![doc = include_str!("../README.md")]

#[cfg(feature = "axum")]
mod extract;
mod fixed;
mod guard;
#[cfg(feature = "jwks")]
mod jwt;
mod principal;
mod verifier;

#[cfg(feature = "axum")]
pub use extract::Unguarded;
pub use fixed::StaticVerifier;
pub use guard::{Guard, GuardFuture, GuardService};
#[cfg(feature = "jwks")]
pub use jwt::{Clock, JwtVerifier, JwtVerifierBuilder};
pub use principal::{Principal, PrincipalBuilder};
pub use verifier::{TokenVerifier, VerifyError};
