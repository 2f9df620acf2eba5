//! Sending together what many tasks have to say.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many writes wait for nobody at most after some have waited in vain, so that who is alone is
/// hardly held up. It begins with one and doubles, for another thread may come too early by chance.
const MOST_HURRIED: u8 = 32;

/// Lets every task that is ready now add its command before anything is written.
///
/// An answer to many wakes many tasks. Whoever sends first wakes what writes to the connection,
/// which would run next and spend a system call, here and at the server, on every single command.
#[derive(Debug)]
pub(super) struct Gather<S> {
    stream: S,
    /// How much there was to write before the others had their turn.
    before: Option<usize>,
    /// How many writes go without waiting.
    hurried: u8,
    /// How many that were the last time; none if others came.
    pause: u8,
}

impl<S> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, before: None, hurried: 0, pause: 0 }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.before {
            None if self.hurried == 0 => {
                self.before = Some(bytes.len());
                // Behind those that wait for their turn already.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => self.hurried -= 1,
            Some(before) if bytes.len() <= before => {
                self.pause = (2 * self.pause).clamp(1, MOST_HURRIED);
                self.hurried = self.pause;
            }
            Some(_) => self.pause = 0,
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.before = None;
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        sync::mpsc,
        task,
    };

    use super::*;

    #[tokio::test]
    async fn a_write_lets_those_go_first_who_are_ready() {
        let (ours, mut theirs) = duplex(1024);
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let written = sender.clone();
        let writer = task::spawn(async move {
            let mut ours = Gather::new(ours);
            ours.write_all(b"all").await.unwrap();
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
        assert_eq!(order, ["ready", "ready", "ready", "written"]);
        writer.await.unwrap();
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"all");
    }

    /// Polls a write of so many bytes until it is done; how often.
    fn polls(gather: &mut Gather<impl AsyncWrite + Unpin>, bytes: &mut Vec<u8>, grow: bool) -> u8 {
        let context = &mut Context::from_waker(noop_waker_ref());
        for polls in 1.. {
            if Pin::new(&mut *gather).poll_write(context, bytes).is_ready() {
                return polls;
            }
            if grow {
                bytes.push(0);
            }
        }
        0
    }

    #[tokio::test]
    async fn who_is_alone_seldom_waits() {
        let (ours, _theirs) = duplex(1024);
        let mut gather = Gather::new(ours);
        for _ in 0..3 {
            assert_eq!(polls(&mut gather, &mut vec![1], true), 2, "others came");
        }
        for hurried in [1, 2, 4, 8, 16, MOST_HURRIED, MOST_HURRIED] {
            assert_eq!(polls(&mut gather, &mut vec![1], false), 2, "once in a while it is tried");
            for _ in 0..hurried {
                assert_eq!(polls(&mut gather, &mut vec![1], true), 1);
            }
        }
        assert_eq!(polls(&mut gather, &mut vec![1], true), 2, "others came again");
        assert_eq!(polls(&mut gather, &mut vec![1], true), 2);
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
