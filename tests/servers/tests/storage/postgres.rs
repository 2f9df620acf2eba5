//! The PostgreSQL backend against a real server.

mod conformance;
mod encryption;
mod losses;
mod pooler;
mod processes;
mod refusals;
mod schema;
mod sessions;
mod unreachable;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kv_storage::{Error, ErrorKind};
use test_servers::Postgres as Server;

/// How long a server or another process may take on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A server, shared with other tests, and the URL of a schema of one's own on it.
fn schema() -> (Arc<Server>, String) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let server = Server::shared().unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let url = format!("{}?schema=test_{number}", server.url());
    (server, url)
}

/// Asks again until the answer is there.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The text of an error and of its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn refused(url: &str, kind: ErrorKind, part: &str) {
    let Err(error) = kv_storage::Postgres::open(url).await else { panic!("{url} is accepted") };
    let text = chain(&error);
    assert_eq!(error.kind(), kind, "{url}: {text}");
    assert!(error.to_string().contains(part), "{url}: {text}");
    assert!(!format!("{text} {error:?}").contains("hunter2"), "{text} {error:?}");
}
