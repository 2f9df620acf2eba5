//! The crate through its public interface.

mod guard;
#[cfg(feature = "axum")]
mod guard_axum;
#[cfg(feature = "jwks")]
mod jwt;
mod static_verifier;
