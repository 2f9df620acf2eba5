//! The two bodies: what the client uploads, and what the backend answers.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::liveness::{Ended, Watch};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client's body could not be read to its end: it hung up, or a limit outside cut it off.
#[derive(Debug, thiserror::Error)]
#[error("the request body could not be read")]
pub(crate) struct UploadError(#[source] BoxError);

/// The client's body on its way to the backend: any body, without its trailers.
///
/// One box for the request, so that all requests share one connection pool; none per chunk.
pub(crate) struct Upload(Pin<Box<dyn Body<Data = Bytes, Error = UploadError> + Send>>);

impl Upload {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let body = http_body_util::BodyExt::map_err(body, |error| UploadError(error.into()));
        Self(Box::pin(body))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        poll_data(self.0.as_mut(), cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// The next frame of data; trailers end a message and are dropped.
fn poll_data<B>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>>
where
    B: Body<Data = Bytes> + ?Sized,
{
    loop {
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) if !frame.is_data() => {}
            frame => return Poll::Ready(frame),
        }
    }
}

/// Why an answer broke off. The server behind which this happens closes the connection (HTTP/1.1)
/// or resets the stream (HTTP/2), so that the client cannot take the answer for a whole one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// [`Ended::Revoked`]: the grant was revoked while the answer was under way.
    #[error("the grant was revoked")]
    Revoked,
    /// [`Ended::Overdue`]: the answer went on for too long after its token had expired.
    #[error("the access token expired too long ago")]
    Overdue,
    /// The backend's answer broke off.
    #[error("the backend's answer broke off")]
    Backend(#[source] hyper::Error),
}

/// The body of an answer: the backend's as it arrives, or one of the forwarder's own short ones.
///
/// Each chunk is handed on as it was read, without a copy, an allocation or a lock. Dropping the
/// body closes the backend's request.
///
/// The watch over the grant is polled before each chunk. It therefore rests while a client does
/// not read: nothing flows then, and nothing more is let through once the client reads on.
#[derive(Debug)]
pub struct ForwardBody(State);

enum State {
    Backend {
        body: Incoming,
        watch: Option<Watch>,
        /// Whether this is a stream that ends with its token, not an answer in progress.
        listening: bool,
    },
    Own(Bytes),
    Done,
}

impl ForwardBody {
    pub(crate) fn backend(body: Incoming, watch: Option<Watch>, listening: bool) -> Self {
        Self(State::Backend { body, watch, listening })
    }

    pub(crate) fn own(text: Bytes) -> Self {
        Self(State::Own(text))
    }
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let state = &mut self.0;
        let (body, watch, listening) = match state {
            State::Backend { body, watch, listening } => (body, watch, *listening),
            State::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                *state = State::Done;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            State::Done => return Poll::Ready(None),
        };
        if let Some(watch) = watch
            && let Poll::Ready(ended) = watch.poll_ended(cx, listening)
        {
            *state = State::Done;
            return Poll::Ready(match ended {
                Ended::Revoked => Some(Err(BodyError::Revoked)),
                Ended::Overdue => Some(Err(BodyError::Overdue)),
                Ended::Expired | Ended::Stopping => None,
            });
        }
        match ready!(poll_data(Pin::new(body), cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => {
                *state = State::Done;
                Poll::Ready(Some(Err(BodyError::Backend(error))))
            }
            None => {
                *state = State::Done;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Backend { body, .. } => body.is_end_stream(),
            State::Own(bytes) => bytes.is_empty(),
            State::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Backend { body, .. } => body.size_hint(),
            State::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Done => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backend { listening: true, .. } => "Listening",
            Self::Backend { listening: false, .. } => "Answer",
            Self::Own(_) => "Own",
            Self::Done => "Done",
        })
    }
}
