//! Streams end with their grant (D12): one read per grant and interval, however many streams it has.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use token_verifier::Principal;
use tokio::sync::watch;

use crate::{app::App, measure::OpenStream, record::grant::Grant, renewal::ahead, store::Found};

/// Grants that are read in one round trip.
const PAGE: usize = 100;

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
    watched: Arc<Mutex<Watched>>,
}

#[derive(Default)]
struct Watched {
    /// Whether a grant still lives, by grant id; an entry goes when nobody listens any more.
    grants: HashMap<String, watch::Sender<bool>>,
    /// Whether there is a task that looks at them: one for all.
    is_running: bool,
}

impl Watches {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, watched: Arc::default() }
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

    /// Listens for the end of a grant. Nothing is read here: most requests are over before the next
    /// round.
    fn subscribe(&self, id: &str) -> watch::Receiver<bool> {
        let mut watched = lock(&self.watched);
        let sender =
            watched.grants.entry(id.to_owned()).or_insert_with(|| watch::Sender::new(true));
        let receiver = sender.subscribe();
        if !watched.is_running {
            watched.is_running = true;
            let rounds = Rounds { app: Arc::clone(&self.app), watched: Arc::clone(&self.watched) };
            self.app.tasks.spawn(rounds.run());
        }
        receiver
    }
}

/// Looks at every grant that somebody listens for, round after round, until nobody does.
struct Rounds {
    app: Arc<App>,
    watched: Arc<Mutex<Watched>>,
}

impl Rounds {
    async fn run(self) {
        let interval = self.app.config.lifetimes.stream_check;
        loop {
            let stopping = self.app.stopping.cancelled();
            if tokio::time::timeout(interval, stopping).await.is_ok() {
                return;
            }
            let Some(ids) = self.needed() else { return };
            for ids in ids.chunks(PAGE) {
                self.look(ids).await;
            }
        }
    }

    /// The grants that somebody listens for; forgets the others. `None` if there are none left.
    fn needed(&self) -> Option<Vec<String>> {
        let mut watched = lock(&self.watched);
        // Under the lock: nobody can subscribe between the look and the removal.
        watched.grants.retain(|_, sender| sender.receiver_count() > 0);
        watched.is_running = !watched.grants.is_empty();
        watched.is_running.then(|| watched.grants.keys().cloned().collect())
    }

    async fn look(&self, ids: &[String]) {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let found = match self.app.store.get_many::<Grant>(&ids).await {
            Ok(found) => found,
            // An outage says nothing about the grants; the tokens' own end still counts.
            Err(error) => {
                tracing::warn!(
                    cause = %crate::error::chain(&error),
                    "the grants of open streams could not be read"
                );
                return;
            }
        };
        for (id, found) in ids.iter().zip(found) {
            match found {
                Found::Record(stored) if stored.record.is_active() => {
                    ahead::in_use(&self.app, &stored.record);
                }
                Found::Unreadable => {}
                Found::Record(_) | Found::Absent => self.end(id),
            }
        }
    }

    fn end(&self, id: &str) {
        if let Some(sender) = lock(&self.watched).grants.remove(id) {
            sender.send_replace(false);
        }
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").finish_non_exhaustive()
    }
}
