//! Answers that wait for their client to take them.
//!
//! On HTTP/2 a client that grants no window holds its answers up without the connection's writing
//! ever waiting: there is nothing to write. So each body is watched: whether what it last handed
//! out was asked for more in time. A body that has nothing to hand out yet, such as a silent event
//! stream, holds nobody up.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// What a client must take at least within the limit: so slow no network is.
const LEAST_BYTES: usize = 16 * 1024;

/// What is handed out at once is no larger than this many times [`LEAST_BYTES`]: 4 MiB.
const MAX_TIMES: u32 = 256;

/// When the answers of one connection must be taken, those that wait for their client.
pub(super) struct Taking {
    limit: Duration,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    until: HashMap<u64, Instant>,
}

impl Taking {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// Resolves when an answer is overdue, at most the limit late.
    pub(super) async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let first = self.lock().until.values().min().copied();
            match first {
                Some(until) if until <= now => return,
                Some(until) => sleep_until(until).await,
                None => sleep_until(now + self.limit).await,
            }
        }
    }

    /// `body`, watched until it is dropped.
    pub(super) fn watched(self: &Arc<Self>, body: Body) -> Body {
        let id = {
            let mut waiting = self.lock();
            waiting.next_id += 1;
            waiting.next_id
        };
        let watched = Watched { body, id, taking: Arc::clone(self) };
        watched.handed_out(0);
        Body::new(watched)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    body: Body,
    id: u64,
    taking: Arc<Taking>,
}

impl Watched {
    /// The client has so many bytes to take before more is asked of the body.
    fn handed_out(&self, bytes: usize) {
        let times = u32::try_from(1 + bytes / LEAST_BYTES).unwrap_or(MAX_TIMES).min(MAX_TIMES);
        let until = Instant::now() + self.taking.limit * times;
        self.taking.lock().until.insert(self.id, until);
    }

    /// The client waits for the body.
    fn asked(&self) {
        self.taking.lock().until.remove(&self.id);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.asked();
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.asked();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.handed_out(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
