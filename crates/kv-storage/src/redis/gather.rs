//! Sending together what many tasks have to say.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// While an answer is missing, lets every task that is ready now add its command before anything
/// is written.
///
/// An answer to many wakes many tasks. Whoever sends first wakes what writes to the connection,
/// which would run next and spend a system call, here and at the server, on every single command.
/// While nothing is missing, the server has nothing to do: what comes then goes at once, and who is
/// alone never waits.
#[derive(Debug)]
pub(super) struct Gather<S> {
    stream: S,
    /// Whether nothing was read since something was written.
    unanswered: bool,
    /// Whether the others had their turn.
    yielded: bool,
}

impl<S> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unanswered: false, yielded: false }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.unanswered && !self.yielded {
            self.yielded = true;
            // Behind those that wait for their turn already.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.yielded = false;
        self.unanswered = true;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.unanswered = false;
        }
        Poll::Ready(read)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        sync::mpsc,
        task,
    };

    use super::*;

    /// Writes something while other tasks are ready; who was done in which order.
    async fn order(
        mut ours: Gather<impl AsyncWrite + Unpin + Send + 'static>,
    ) -> Vec<&'static str> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let written = sender.clone();
        let writer = task::spawn(async move {
            ours.write_all(b"next").await.unwrap();
            written.send("written").unwrap();
        });
        for _ in 0..3 {
            let sender = sender.clone();
            task::spawn(async move { sender.send("ready").unwrap() });
        }
        drop(sender);
        let mut order = Vec::new();
        while let Some(step) = receiver.recv().await {
            order.push(step);
        }
        writer.await.unwrap();
        order
    }

    #[tokio::test]
    async fn while_an_answer_is_missing_those_go_first_who_are_ready() {
        let (ours, mut theirs) = duplex(1024);
        let mut ours = Gather::new(ours);
        ours.write_all(b"first ").await.unwrap();
        assert_eq!(order(ours).await, ["ready", "ready", "ready", "written"]);
        let mut read = String::new();
        theirs.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "first next");
    }

    #[tokio::test]
    async fn with_every_answer_there_nobody_is_waited_for() {
        let (ours, mut theirs) = duplex(1024);
        let mut ours = Gather::new(ours);
        ours.write_all(b"command").await.unwrap();
        theirs.write_all(b"answer").await.unwrap();
        ours.read_exact(&mut [0; 6]).await.unwrap();
        assert_eq!(order(ours).await, ["written", "ready", "ready", "ready"]);
    }

    #[tokio::test]
    async fn what_does_not_fit_follows() {
        let (ours, mut theirs) = duplex(4);
        let writer = task::spawn(async move {
            let mut ours = Gather::new(ours);
            ours.write_all(b"more than fits at once").await.unwrap();
            ours.shutdown().await.unwrap();
        });
        let mut read = String::new();
        theirs.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "more than fits at once");
        writer.await.unwrap();
    }
}
