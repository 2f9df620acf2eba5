//! Streams end with their grant (D12): one read per grant and interval, however many streams it has.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use token_verifier::Principal;
use tokio::sync::watch;

use crate::{app::App, measure::OpenStream, record::grant::Grant};

/// Why a stream must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The grant was revoked: cut everything now.
    Revoked,
    /// The access token expired: listening ends, an answer in progress may finish.
    Expired,
}

/// The grants of all open streams.
pub(crate) struct Watches {
    app: Arc<App>,
    /// Whether a grant still lives, by grant id; an entry goes when nobody listens any more.
    grants: Arc<Mutex<HashMap<String, watch::Sender<bool>>>>,
}

impl Watches {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, grants: Arc::default() }
    }

    /// Resolves when a stream of this principal must end.
    pub(crate) async fn until_end(&self, principal: &Principal) -> StreamEnd {
        let _open = OpenStream::new();
        let expired = async {
            match principal.expires_at() {
                Some(at) => {
                    let left = at.saturating_sub(self.app.clock.now());
                    tokio::time::sleep(Duration::from_secs(left)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.revoked(principal) => StreamEnd::Revoked,
            () = expired => StreamEnd::Expired,
        }
    }

    /// Resolves when the principal's grant is revoked.
    pub(crate) async fn until_revoked(&self, principal: &Principal) {
        let _open = OpenStream::new();
        self.revoked(principal).await;
    }

    async fn revoked(&self, principal: &Principal) {
        match principal.grant_id() {
            Some(id) => self.until_gone(id).await,
            None => std::future::pending().await,
        }
    }

    async fn until_gone(&self, id: &str) {
        let mut alive = self.subscribe(id);
        // An error means that the watcher is gone, with the server: streams end by themselves.
        if alive.wait_for(|alive| !alive).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn subscribe(&self, id: &str) -> watch::Receiver<bool> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = grants.get(id) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(true);
        grants.insert(id.to_owned(), sender);
        let watcher = Watcher {
            app: Arc::clone(&self.app),
            grants: Arc::clone(&self.grants),
            id: id.to_owned(),
        };
        self.app.tasks.spawn(watcher.run());
        receiver
    }
}

/// Reads one grant again and again while anybody listens.
struct Watcher {
    app: Arc<App>,
    grants: Arc<Mutex<HashMap<String, watch::Sender<bool>>>>,
    id: String,
}

impl Watcher {
    async fn run(self) {
        let interval = self.app.config.lifetimes.stream_check;
        loop {
            let stopping = self.app.stopping.cancelled();
            if tokio::time::timeout(interval, stopping).await.is_ok() || !self.is_needed() {
                return;
            }
            match self.app.store.get::<Grant>(&self.id).await {
                Ok(Some(stored)) if stored.record.is_active() => {}
                Ok(_) => return self.finish(),
                // An outage says nothing about the grant; the token's own end still counts.
                Err(error) => {
                    tracing::warn!(
                        cause = %crate::error::chain(&error),
                        "the grant of an open stream could not be read"
                    );
                }
            }
        }
    }

    /// Whether anybody listens; forgets the grant if not.
    fn is_needed(&self) -> bool {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: nobody can subscribe between the look and the removal.
        let needed = grants.get(&self.id).is_some_and(|sender| sender.receiver_count() > 0);
        if !needed {
            grants.remove(&self.id);
        }
        needed
    }

    fn finish(self) {
        let sender = self.grants.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        if let Some(sender) = sender {
            sender.send_replace(false);
        }
    }
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").finish_non_exhaustive()
    }
}
