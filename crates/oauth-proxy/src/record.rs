//! Stored forms, private and versioned, apart from everything on the wire.

pub(crate) mod code;
pub(crate) mod grant;
pub(crate) mod mark;
pub(crate) mod notice;
pub(crate) mod secret;
pub(crate) mod transaction;
