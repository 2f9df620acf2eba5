//! A master, and our connections to it.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Mutex;

use super::{
    backoff::Backoff,
    connection::{Connection, Dialer},
    server::Server,
    settings::{Address, Settings},
};
use crate::{Error, Result};

/// What a command is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What all nodes of a store share.
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) dialer: Dialer,
}

/// A server that is connected to when it is needed, and again when the connection is gone.
#[derive(Debug)]
pub(super) struct Node {
    address: Address,
    // While the server works on what came over one, answers over the other are dealt with.
    lanes: [Lane; 2],
    /// Which of the two has its turn, for what may take any.
    turn: AtomicBool,
}

/// Why there is no connection.
pub(super) enum NoLink {
    /// It was tried just now.
    Failed(Error),
    /// It failed a moment ago, and is not tried for as long.
    Paused(Error),
}

impl From<Error> for NoLink {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One connection at a time.
#[derive(Debug, Default)]
struct Lane {
    current: RwLock<Option<Arc<Link>>>,
    // Held while connecting, so that one task does it for all.
    connecting: Mutex<Backoff>,
}

/// A connection to a server that was looked at.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: Connection,
    /// What the server said of itself when we connected.
    pub(super) server: Server,
}

impl Node {
    pub(super) fn new(address: Address) -> Self {
        Self { address, lanes: Default::default(), turn: AtomicBool::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// A connection to a master that can keep records, for a command about the key, if it is
    /// about one.
    pub(super) async fn link(
        &self,
        access: Access,
        key: Option<&[u8]>,
        context: &Context,
    ) -> Result<Arc<Link>, NoLink> {
        let lane = self.lane(access, key, context.settings.wait_replicas > 0);
        if let Some(link) = lane.open() {
            return Ok(link);
        }
        let mut backoff = lane.connecting.lock().await;
        if let Some(link) = lane.open() {
            return Ok(link);
        }
        backoff.check().map_err(NoLink::Paused)?;
        match self.connect(access, context).await {
            Ok(link) => {
                backoff.succeeded();
                let link = Arc::new(link);
                let mut current = lane.current.write().unwrap_or_else(PoisonError::into_inner);
                // Whoever closes the store says so first, and takes what is here then.
                context.dialer.life.check()?;
                *current = Some(Arc::clone(&link));
                Ok(link)
            }
            Err(error) => {
                backoff.failed(&error);
                Err(NoLink::Failed(error))
            }
        }
    }

    /// A connection that there is, if there is one.
    pub(super) fn opened(&self) -> Option<Arc<Link>> {
        // Where there are replicas, nothing waits for `WAIT` over the first one.
        self.lanes.iter().find_map(Lane::open)
    }

    fn lane(&self, access: Access, key: Option<&[u8]>, waits: bool) -> &Lane {
        let second = match key {
            // A `WAIT` holds up what comes behind it on its connection.
            _ if waits => access == Access::Write,
            // In order with whatever else is about the key, even where nobody waits for that.
            Some(key) => key.iter().fold(0, |folded, byte| folded ^ byte) & 1 == 1,
            None => self.turn.fetch_xor(true, Ordering::Relaxed),
        };
        &self.lanes[usize::from(second)]
    }

    async fn connect(&self, access: Access, context: &Context) -> Result<Link> {
        let settings = &context.settings;
        let mut dialer = context.dialer.clone();
        if access == Access::Write && settings.wait_replicas > 0 {
            // What is sent behind a `WAIT` is looked at after it.
            dialer.response_timeout += settings.wait_timeout;
        }
        let credentials = settings.credentials.as_ref();
        let connection = dialer.dial(&self.address, credentials, settings.database).await?;
        let server = context.dialer.within(&self.address, connection.inspect()).await?;
        server.check(&self.address, &settings.arrangement)?;
        if access == Access::Write && settings.wait_replicas > 0 {
            // Now, and not after the first write, is the time to hear that it may not be asked.
            connection.ask(redis::cmd("WAIT").arg(0).arg(0), "WAIT").await?;
        }
        Ok(Link { connection, server })
    }

    /// Lets go of the connections; those who use one go on until they are done.
    pub(super) fn close(&self) {
        for lane in &self.lanes {
            lane.current.write().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Connects anew, and looks at the server, before the next command.
    pub(super) fn retire(&self) {
        for lane in &self.lanes {
            if let Some(link) = lane.open() {
                link.connection.retire();
            }
        }
    }
}

impl Lane {
    fn open(&self) -> Option<Arc<Link>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|link| link.connection.is_open()).cloned()
    }
}
