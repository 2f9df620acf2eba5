//! The master that sentinels watch.

use std::sync::{Arc, PoisonError, RwLock};

use redis::Value;
use tokio::sync::Mutex;

use super::{
    backoff::Informants,
    doubt::Doubt,
    error,
    node::{Context, Node},
    settings::Address,
};
use crate::{Error, ErrorKind, Result};

/// Asks sentinels where the master is; the master itself is asked whether it is one.
#[derive(Debug)]
pub(super) struct Sentinel {
    name: String,
    current: RwLock<Option<Arc<Node>>>,
    doubt: Doubt,
    // Held while asking, so that one task does it for all.
    asking: Mutex<Informants>,
}

impl Sentinel {
    pub(super) fn new(name: String) -> Self {
        Self { name, current: RwLock::default(), doubt: Doubt::default(), asking: Mutex::default() }
    }

    pub(super) fn doubt(&self) {
        self.doubt.raise();
    }

    pub(super) fn close(&self) {
        let current = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(node) = current {
            node.close();
        }
    }

    pub(super) async fn master(&self, context: &Context) -> Result<Arc<Node>> {
        if let Some(node) = self.current() {
            return Ok(node);
        }
        let mut sentinels = self.asking.lock().await;
        if let Some(node) = self.current() {
            return Ok(node);
        }
        sentinels.backoff.check()?;
        if !sentinels.backoff.is_over()
            && let Some(node) = self.last()
        {
            return Ok(node);
        }
        let asking = self.doubt.ask();
        let addresses = context.settings.addresses.iter().collect();
        let mut failure = None;
        for sentinel in sentinels.order(addresses) {
            match self.ask(sentinel, context).await {
                Ok(master) => {
                    sentinels.answered(sentinel);
                    asking.answered();
                    return Ok(self.replace(master));
                }
                Err(error) => {
                    tracing::debug!(%sentinel, %error, "a sentinel does not name the master");
                    failure = Some(error);
                }
            }
        }
        let failure = failure
            .unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "no sentinel names the master"));
        sentinels.backoff.failed(&failure);
        Err(failure)
    }

    fn current(&self) -> Option<Arc<Node>> {
        if self.doubt.is_raised() { None } else { self.last() }
    }

    fn last(&self) -> Option<Arc<Node>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the node that is known, with its connections, unless the master is another.
    fn replace(&self, address: Address) -> Arc<Node> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(node) if *node.address() == address => Arc::clone(node),
            _ => {
                tracing::info!(master = %address, "the sentinels name the redis master");
                Arc::clone(current.insert(Arc::new(Node::new(address))))
            }
        }
    }

    async fn ask(&self, sentinel: &Address, context: &Context) -> Result<Address> {
        let credentials = context.settings.sentinel_credentials.as_ref();
        let connection = context.dialer.dial(sentinel, credentials, 0).await.map_err(|error| {
            error.with_hint("it is a sentinel: sentinel_user and sentinel_password are for it")
        })?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let asking = connection.ask(&command, "SENTINEL");
        match context.dialer.within(sentinel, asking).await? {
            Value::Array(parts) => match &parts[..] {
                [Value::BulkString(host), Value::BulkString(port)] => {
                    let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
                    let host = String::from_utf8_lossy(host).into_owned();
                    port.map(|port| Address { host, port })
                        .ok_or_else(|| error::odd_answer("SENTINEL"))
                }
                _ => Err(error::odd_answer("SENTINEL")),
            },
            Value::Nil => Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the sentinel at {sentinel} knows no master named {:?}: the storage URL's \
                     form is redis+sentinel://host,host/master-name",
                    self.name
                ),
            )),
            _ => Err(error::odd_answer("SENTINEL")),
        }
    }
}
