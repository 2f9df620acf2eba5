//! Getting a command to the master of its key, once.

use std::sync::Arc;

use redis::{RedisError, Value};

use super::{
    command::Command,
    connection::{Connection, Dialer},
    error::{self, Failure, Refusal},
    key::slot,
    node::{Access, Context, Link, Node},
    settings::{Address, Settings},
    tls,
    topology::{Masters, Topology},
};
use crate::{Error, ErrorKind, Result};

/// How often one command is sent on by a cluster: a slot that moves does so once, and what goes
/// round in circles ends.
const MAX_REDIRECTS: usize = 5;

/// The servers, and how to reach them.
pub(super) struct Servers {
    pub(super) context: Context,
    pub(super) topology: Topology,
}

/// Why something failed, and whether it may only have come too late for a connection.
pub(super) struct Trouble {
    error: Error,
    lost: bool,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { error, lost: false }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        trouble.error
    }
}

impl Trouble {
    /// What failed over that connection.
    pub(super) fn over(connection: &Connection, error: Error) -> Self {
        Self { error, lost: !connection.is_open() }
    }
}

impl Servers {
    /// Connects to every master and looks at it.
    pub(super) async fn open(settings: Settings) -> Result<Self> {
        let tls = match &settings.tls {
            Some(tls) => Some(tls::connector(tls).await?),
            None => None,
        };
        let dialer = Dialer {
            tls,
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
        };
        let context = Context { settings, dialer };
        let servers = Self { topology: Topology::new(&context), context };
        for node in servers.masters().await?.nodes {
            let link = servers.link(&node, Access::Write).await?;
            link.server.check_replicas(node.address(), servers.context.settings.wait_replicas)?;
            link.server.warn(node.address());
        }
        Ok(servers)
    }

    pub(super) async fn masters(&self) -> Result<Masters> {
        self.topology.masters(&self.context).await
    }

    /// A connection to the node, which is a master.
    pub(super) async fn link(&self, node: &Node, access: Access) -> Result<Link> {
        node.link(access, &self.context).await.inspect_err(|_| self.topology.doubt())
    }

    /// Looks at every master once more.
    pub(super) async fn look(&self) -> Result<(), Trouble> {
        let settings = &self.context.settings;
        for node in self.masters().await?.nodes {
            let link = self.link(&node, Access::Write).await?;
            let looked = link.connection.inspect().await;
            let server = looked.map_err(|error| Trouble::over(&link.connection, error))?;
            server.check(node.address(), &settings.arrangement).inspect_err(|_| {
                node.retire();
                self.topology.doubt();
            })?;
            server.check_replicas(node.address(), settings.wait_replicas)?;
        }
        Ok(())
    }

    /// Whether what changes nothing is to be done once more: if only a connection broke.
    ///
    /// # Errors
    ///
    /// The trouble, if not.
    pub(super) fn check_repeatable(&self, trouble: Trouble) -> Result<()> {
        if !trouble.lost {
            return Err(trouble.error);
        }
        self.topology.doubt();
        Ok(())
    }

    /// Sends a command that changes nothing.
    pub(super) async fn read(&self, command: &Command) -> Result<Value> {
        match self.send(command, Access::Read, error::lost_read).await {
            Ok((value, _)) => return Ok(value),
            Err(trouble) => self.check_repeatable(trouble)?,
        }
        let (value, _) = self.send(command, Access::Read, error::lost_read).await?;
        Ok(value)
    }

    /// Sends a command that changes something, and sees to it that replicas have the change.
    ///
    /// `outcome` reads the answer, and says whether something was changed at all. Nothing is sent
    /// again once it may have been done.
    pub(super) async fn write<T>(
        &self,
        command: &Command,
        outcome: impl FnOnce(Value) -> Result<(T, bool)>,
    ) -> Result<T> {
        let (value, link) = self.send(command, Access::Write, error::lost_write).await?;
        let (outcome, changed) = outcome(value)?;
        let settings = &self.context.settings;
        if changed && settings.wait_replicas > 0 {
            let confirmed =
                link.connection.confirm(settings.wait_replicas, settings.wait_timeout).await;
            confirmed.inspect_err(|_| self.topology.doubt())?;
        }
        Ok(outcome)
    }

    async fn send(
        &self,
        command: &Command,
        access: Access,
        lost: fn(&Address, RedisError) -> Error,
    ) -> Result<(Value, Link), Trouble> {
        let mut node = self.topology.master(slot(&command.key), &self.context).await?;
        let mut asking = false;
        for _ in 0..=MAX_REDIRECTS {
            let link = self.link(&node, access).await?;
            match try_send(&link.connection, command, asking).await {
                Ok(value) => return Ok((value, link)),
                Err(Failure::Lost(error)) => {
                    self.topology.doubt();
                    return Err(Trouble { error: lost(node.address(), error), lost: true });
                }
                Err(Failure::Refused(refusal)) => {
                    let Some(next) = self.redirect(&refusal, &node) else {
                        self.learn(&refusal, &node);
                        return Err(refusal.into_error(node.address(), command.name).into());
                    };
                    asking = refusal.code == "ASK";
                    node = next;
                }
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the redis cluster is moving the key").into())
    }

    /// Where a node of the cluster sends the command on to. It has not done it.
    fn redirect(&self, refusal: &Refusal, from: &Node) -> Option<Arc<Node>> {
        match refusal.code.as_str() {
            "MOVED" => self.topology.doubt(),
            "ASK" => {}
            _ => return None,
        }
        let (_, target) = refusal.detail.rsplit_once(' ')?;
        let (host, port) = target.rsplit_once(':')?;
        let host = if host.is_empty() { &from.address().host } else { host };
        let port = port.parse().ok()?;
        self.topology.redirected(&Address { host: host.to_owned(), port })
    }

    /// Looks again at a server that is no longer what it was.
    fn learn(&self, refusal: &Refusal, node: &Node) {
        match refusal.code.as_str() {
            "READONLY" | "LOADING" | "MASTERDOWN" => {
                node.retire();
                self.topology.doubt();
            }
            "CLUSTERDOWN" | "MOVED" | "TRYAGAIN" => self.topology.doubt(),
            _ => {}
        }
    }
}

/// Sends a command to one server; a second time if it only does not know the script.
async fn try_send(
    connection: &Connection,
    command: &Command,
    asking: bool,
) -> Result<Value, Failure> {
    let with_source = command.with_source.as_ref();
    if asking {
        // Only the command right behind it may use a slot that is still on its way.
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING");
        pipeline.add_command(with_source.unwrap_or(&command.sent).clone());
        let mut answers = connection.send_all(&pipeline).await?;
        return match answers.pop() {
            Some(Value::ServerError(error)) => Err(RedisError::from(error).into()),
            Some(answer) => Ok(answer),
            None => Ok(Value::Nil),
        };
    }
    match (connection.send(&command.sent).await, with_source) {
        (Err(Failure::Refused(refusal)), Some(with_source)) if refusal.code == "NOSCRIPT" => {
            connection.send(with_source).await
        }
        (answer, _) => answer,
    }
}
