//! Decisions without I/O: what a presented code or refresh token means for a grant.

pub(crate) mod code;
pub(crate) mod refresh;

#[cfg(test)]
mod tests;
