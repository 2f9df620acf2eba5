//! Getting a command to the master of its key, once.

use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::{RedisError, Value};

use super::{
    command::Command,
    connection::{Connection, Dialer},
    error::{self, Failure, Refusal},
    life::Life,
    node::{Access, Context, Link, NoLink, Node},
    settings::{Address, Settings},
    tls,
    topology::Topology,
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

/// What came of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// Something was changed.
    Changed,
    /// There was nothing to remove, perhaps because of a removal that no replica has yet.
    FoundNothing,
    /// Everything is as it was, and the caller does not rely on it.
    Nothing,
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
            life: Arc::new(Life::new()),
            tls,
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
        };
        let context = Context { settings, dialer };
        let servers = Self { topology: Topology::new(&context), context };
        for node in servers.masters().await? {
            let link = servers.link(&node, Access::Write, None).await?;
            link.server.check_replicas(node.address(), servers.context.settings.wait_replicas)?;
            link.server.warn(node.address());
        }
        // Now, and not at the first listing, is the time to hear that a cluster may not be asked.
        servers.survey().await?;
        Ok(servers)
    }

    /// Lets go of every connection, once those who use it are done.
    pub(super) async fn close(&self) {
        self.context.dialer.life.end();
        self.topology.close();
        self.context.dialer.life.ended().await;
    }

    pub(super) async fn masters(&self) -> Result<Vec<Arc<Node>>> {
        self.context.dialer.life.check()?;
        self.topology.masters(&self.context).await
    }

    /// A connection to the node, which is a master, for a command about the key, if it is about
    /// one.
    pub(super) async fn link(
        &self,
        node: &Node,
        access: Access,
        key: Option<&[u8]>,
    ) -> Result<Arc<Link>> {
        node.link(access, key, &self.context).await.map_err(|none| match none {
            NoLink::Failed(error) => {
                self.topology.doubt();
                error
            }
            // Nobody has learned anything that is to be asked about.
            NoLink::Paused(error) => error,
        })
    }

    /// Looks at every master once more.
    pub(super) async fn look(&self) -> Result<(), Trouble> {
        let settings = &self.context.settings;
        for node in self.masters().await? {
            let link = self.link(&node, Access::Write, None).await?;
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

    /// Reads the records under several keys; the answers are in the order of the keys.
    pub(super) async fn read_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Value>> {
        match self.read_many_once(keys).await {
            Ok(values) => return Ok(values),
            Err(trouble) => self.check_repeatable(trouble)?,
        }
        Ok(self.read_many_once(keys).await?)
    }

    /// Each master is sent what lies there, in one piece.
    async fn read_many_once(&self, keys: &[Vec<u8>]) -> Result<Vec<Value>, Trouble> {
        let mut shares: Vec<(Arc<Node>, Vec<usize>)> = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            let node = self.master(key).await?;
            match shares.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &node)) {
                Some((_, positions)) => positions.push(position),
                None => shares.push((node, vec![position])),
            }
        }
        let shares = shares.iter().map(async |(node, positions)| {
            let values = self.read_share(node, positions.iter().map(|&position| &keys[position]));
            Ok::<_, Trouble>((positions, values.await?))
        });
        let mut values = vec![Value::Nil; keys.len()];
        for (positions, share) in try_join_all(shares).await? {
            for (&position, value) in positions.iter().zip(share) {
                values[position] = value;
            }
        }
        for (value, key) in values.iter_mut().zip(keys) {
            if let Value::ServerError(_) = value {
                // Sent elsewhere perhaps, or an error for us: what it is shows when asked alone.
                let asked = self.send(&Command::get(key), Access::Read, error::lost_read).await;
                *value = asked?.0;
            }
        }
        Ok(values)
    }

    /// What one master answers for some keys; the answers may be errors.
    async fn read_share(
        &self,
        node: &Node,
        keys: impl ExactSizeIterator<Item = &Vec<u8>>,
    ) -> Result<Vec<Value>, Trouble> {
        let link = self.link(node, Access::Read, None).await?;
        let mut pipeline = redis::Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.add_command(Command::get(key).sent);
        }
        link.connection.send_all(&pipeline).await.map_err(|failure| match failure {
            Failure::Lost(error) => {
                self.topology.doubt();
                Trouble { error: error::lost_read(node.address(), error), lost: true }
            }
            Failure::Refused(refusal) => refusal.into_error(node.address(), "GET").into(),
        })
    }

    /// Sends a command that changes something, and sees to it that replicas have the change.
    ///
    /// `outcome` reads the answer, and says what came of it. Nothing is sent again once it may
    /// have been done.
    pub(super) async fn write<T>(
        &self,
        command: &Command,
        outcome: impl FnOnce(Value) -> Result<(T, Effect)>,
    ) -> Result<T> {
        let (value, mut link) = self.send(command, Access::Write, error::lost_write).await?;
        let (outcome, effect) = outcome(value)?;
        let settings = &self.context.settings;
        if settings.wait_replicas == 0 || effect == Effect::Nothing {
            return Ok(outcome);
        }
        if effect == Effect::FoundNothing {
            // `WAIT` speaks of what was written over its connection. What removed the record may
            // have been written over another.
            let reaffirm = Command::reaffirm(command.key());
            (_, link) = self.send(&reaffirm, Access::Write, error::lost_write).await?;
        }
        let confirmed = link.connection.confirm(settings.wait_replicas, settings.wait_timeout);
        confirmed.await.inspect_err(|_| self.topology.doubt())?;
        Ok(outcome)
    }

    async fn master(&self, key: &[u8]) -> Result<Arc<Node>> {
        self.context.dialer.life.check()?;
        self.topology.master(key, &self.context).await
    }

    async fn send(
        &self,
        command: &Command,
        access: Access,
        lost: fn(&Address, RedisError) -> Error,
    ) -> Result<(Value, Arc<Link>), Trouble> {
        let mut node = self.master(command.key()).await?;
        let mut asking = false;
        for _ in 0..=MAX_REDIRECTS {
            let link = self.link(&node, access, Some(command.key())).await?;
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
    if asking {
        // Only the command right behind it may use a slot that is still on its way.
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING");
        pipeline.add_command(command.with_source().unwrap_or_else(|| command.sent.clone()));
        let mut answers = connection.send_all(&pipeline).await?;
        return match answers.pop() {
            Some(Value::ServerError(error)) => Err(RedisError::from(error).into()),
            Some(answer) => Ok(answer),
            None => Ok(Value::Nil),
        };
    }
    match connection.send(&command.sent).await {
        Err(Failure::Refused(refusal)) if refusal.code == "NOSCRIPT" => {
            match command.with_source() {
                Some(with_source) => connection.send(&with_source).await,
                None => Err(Failure::Refused(refusal)),
            }
        }
        answer => answer,
    }
}
