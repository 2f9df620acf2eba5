//! A connection on which a last word can still be heard.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::time::{Sleep, sleep};

/// How long the error of a failed write is held back. What the backend said last is in our receive
/// buffer by then; this is the time for handing it to a slow client.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Holds back the error of a write to a connection that the backend has closed, so that what it
/// said before is read first.
///
/// A backend that refuses an upload answers and closes; the reset that follows meets us while
/// still writing. The answer is in the receive buffer by then, but hyper gives up on the failed
/// write and would not read it. Here such a write stays pending for [`LAST_WORD`], and the reading
/// side, which the same task polls, finds the answer.
#[derive(Debug)]
pub(crate) struct BackendStream<S> {
    inner: S,
    /// Runs since a write failed because the backend had closed the connection.
    held_back: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> BackendStream<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, held_back: None }
    }

    /// Writes with `write`, unless a write has failed before.
    fn poll_unless_closed<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.held_back.is_none() {
            match write(Pin::new(&mut self.inner), cx) {
                Poll::Ready(Err(error)) if is_closed_by_peer(&error) => {}
                outcome => return outcome,
            }
        }
        let held_back = self.held_back.get_or_insert_with(|| Box::pin(sleep(LAST_WORD)));
        ready!(held_back.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
    }
}

fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

impl<S: Write + Unpin> Write for BackendStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_unless_closed(cx, |inner, cx| inner.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_unless_closed(cx, |inner, cx| inner.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unless_closed(cx, Write::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: Read + Unpin> Read for BackendStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: Connection> Connection for BackendStream<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

#[cfg(test)]
mod tests;
