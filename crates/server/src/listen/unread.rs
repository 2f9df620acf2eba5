//! What is left of a request when its answer is ready.
//!
//! hyper closes a connection whose request was not read to its end, and does not say so. A client
//! that writes heads and bodies apart, as Python's do, and is refused before its body was looked at
//! (401, above all) then finds its next request on that connection unanswered. So a short rest is
//! read, and a client with a long one is told that the connection ends.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{sync::oneshot, time::timeout};

/// The longest rest that is read: reading more costs more than another connection.
pub(super) const MOST_BYTES: u64 = 256 * 1024;

/// How long the rest may take: it is on its way already, unless somebody means ill.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request's body that is handed back, if it is dropped before its end.
struct Watched {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

/// What may come back of a request's body.
pub(super) struct Rest {
    body: oneshot::Receiver<Body>,
    /// Whether reading is of any use, and would not ask for the body in the first place.
    readable: bool,
}

/// Watches what becomes of `body`.
pub(super) fn watch(version: Version, headers: &HeaderMap, body: Body) -> (Body, Option<Rest>) {
    // HTTP/2 ends a request without its connection.
    if version > Version::HTTP_11 || body.is_end_stream() {
        return (body, None);
    }
    let (back, rest) = oneshot::channel();
    let readable = !headers.contains_key(header::EXPECT);
    let body = Body::new(Watched { body: Some(body), back: Some(back) });
    (body, Some(Rest { body: rest, readable }))
}

impl Rest {
    /// Reads what nobody wants; `false` if the connection cannot go on.
    pub(super) async fn settle(mut self) -> bool {
        // Not back: read to its end, or still being read while the answer is written.
        let Ok(mut body) = self.body.try_recv() else { return true };
        if !self.readable || body.size_hint().lower() > MOST_BYTES {
            return false;
        }
        let reading = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > MOST_BYTES {
                    return false;
                }
            }
            true
        };
        timeout(PATIENCE, reading).await.unwrap_or(false)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if matches!(frame, None | Some(Err(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody waits any more once the answer is being written.
            let _ = back.send(body);
        }
    }
}
