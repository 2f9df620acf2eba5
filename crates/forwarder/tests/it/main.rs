//! The forwarder over real sockets: the tests play the client and the backend themselves, byte by
//! byte, so that the order of events is proven by the order of the test's own lines.

#![expect(clippy::unwrap_used, reason = "tests")]

mod failures;
mod headers;
mod liveness;
mod pool;
mod sessions;
mod streams;
mod support;
mod tls;
#[cfg(unix)]
mod unix_socket;
