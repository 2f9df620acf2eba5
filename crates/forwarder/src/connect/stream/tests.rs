use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::{
    client::conn::http1,
    rt::{Read, ReadBufCursor, Write},
};

use super::BackendStream;

/// A backend that is gone when the request is written, and whose answer comes to light only then:
/// the worst moment of the race, every time.
#[derive(Default)]
struct Gone {
    answer: Option<&'static [u8]>,
    reader: Option<Waker>,
}

impl Write for Gone {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answer.get_or_insert(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n");
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Read for Gone {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(answer) = &mut self.answer else {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        buffer.put_slice(std::mem::take(answer));
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_last_word_is_heard_after_a_failed_write() {
    let (mut client, connection) =
        http1::handshake(BackendStream::new(Gone::default())).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("/mcp").body(Full::new(Bytes::from_static(b"{}"))).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 413);
    drop((client, answer));
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), connection).await;
    assert!(ended.is_ok(), "the connection's task ends");
}
