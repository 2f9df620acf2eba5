//! When an open stream must end: its grant was revoked, or its token expired.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;

/// Why a stream must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "another way to end would need code in every watcher")]
pub enum Ended {
    /// The grant is gone: the stream is cut at once, in the middle of an answer if need be. The
    /// client sees a broken connection, not a complete answer.
    Revoked,
    /// The access token expired: a listening stream ends as if the backend had ended it (the
    /// client comes back with a fresh token), an answer in progress may finish.
    Expired,
    /// The access token expired so long ago that an answer in progress may not go on either: it is
    /// cut as on [`Revoked`](Self::Revoked).
    Overdue,
    /// The server stops: as [`Expired`](Self::Expired), except that a request whose answer has not
    /// begun is told to come back (503), because nothing is wrong with its token.
    Stopping,
}

/// A request extension: tells when the streams of this request must end.
///
/// The function is called once when the request is forwarded. Its future is polled together with
/// the stream, first while the backend is thinking, then inside the response body; nothing is
/// spawned, and it is dropped with the stream. A server that shuts down lets it resolve with
/// [`Ended::Stopping`].
///
/// When the future says [`Ended::Expired`] or [`Ended::Stopping`] and the stream may go on (an
/// answer in progress), the function is called a second time to go on watching for revocation; if
/// that says the same, the watch is over.
#[derive(Clone)]
pub struct Liveness(pub Arc<dyn Fn() -> BoxFuture<'static, Ended> + Send + Sync>);

impl Liveness {
    /// Wraps a function that makes the watching future.
    pub fn new(watch: impl Fn() -> BoxFuture<'static, Ended> + Send + Sync + 'static) -> Self {
        Self(Arc::new(watch))
    }
}

impl fmt::Debug for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liveness").finish_non_exhaustive()
    }
}

/// The watch over one request, from its forwarding to the last byte of its answer.
pub(crate) struct Watch {
    liveness: Liveness,
    /// `None` once it is known that nothing more will be said.
    future: Option<BoxFuture<'static, Ended>>,
    asked_again: bool,
}

impl Watch {
    pub(crate) fn new(liveness: &Liveness) -> Self {
        let future = Some((liveness.0)());
        Self { liveness: liveness.clone(), future, asked_again: false }
    }

    /// Resolves when the stream must end; an answer in progress (`listening` is false) only does
    /// so on revocation or when it is overdue.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>, listening: bool) -> Poll<Ended> {
        loop {
            let Some(future) = &mut self.future else { return Poll::Pending };
            let Poll::Ready(ended) = future.as_mut().poll(cx) else { return Poll::Pending };
            self.future = None;
            match ended {
                Ended::Revoked | Ended::Overdue => return Poll::Ready(ended),
                Ended::Expired | Ended::Stopping if listening => return Poll::Ready(ended),
                Ended::Expired | Ended::Stopping if self.asked_again => {}
                Ended::Expired | Ended::Stopping => {
                    self.asked_again = true;
                    self.future = Some((self.liveness.0)());
                }
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("asked_again", &self.asked_again).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
