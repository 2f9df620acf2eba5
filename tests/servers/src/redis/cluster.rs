//! A Redis Cluster.

use anyhow::{Context, Result, bail, ensure};

use super::{
    resp::Reply,
    server::{Redis, RedisOptions, until},
};

const MASTERS: usize = 3;

const SLOTS: usize = 16384;

/// How long a master may be silent before its replica takes over.
const NODE_TIMEOUT_MILLIS: u32 = 2000;

/// Three masters, each with a replica.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters, then in the same order a replica of each.
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts them all, and waits until they agree and the replicas follow.
    ///
    /// # Errors
    ///
    /// If `redis-server` is not installed, or they do not find together.
    pub fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        for _ in 0..2 * MASTERS {
            let options = RedisOptions::default()
                .cluster()
                .line("appendonly yes")
                .line("appendfsync everysec")
                .line(format!("cluster-node-timeout {NODE_TIMEOUT_MILLIS}"))
                .line("cluster-replica-validity-factor 0");
            nodes.push(Redis::with(options)?);
        }
        let cluster = Self { nodes };
        cluster.join()?;
        Ok(cluster)
    }

    fn join(&self) -> Result<()> {
        let (masters, replicas) = self.nodes.split_at(MASTERS);
        for (index, master) in masters.iter().enumerate() {
            let first = (index * SLOTS / MASTERS).to_string();
            let last = ((index + 1) * SLOTS / MASTERS - 1).to_string();
            master.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            master.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
        }
        let first = masters.first().context("there is no master")?;
        for node in self.nodes.iter().skip(1) {
            let (port, bus) = (node.port().to_string(), node.second_port().to_string());
            first.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
        }
        until("all nodes know each other", || {
            let known = |node: &Redis| line(node, "cluster_known_nodes:");
            let count = self.nodes.len().to_string();
            self.nodes.iter().all(|node| known(node).is_ok_and(|known| known == count))
        })?;
        for (master, replica) in masters.iter().zip(replicas) {
            let id = master.command(&["CLUSTER", "MYID"])?.text()?;
            replica.command(&["CLUSTER", "REPLICATE", &id])?;
        }
        until("the replicas follow and the cluster is well", || {
            let follows = |replica: &Redis| {
                replica.info("master_link_status").is_ok_and(|status| status == "up")
            };
            let has_one = |master: &Redis| {
                master.info("connected_slaves").is_ok_and(|replicas| replicas == "1")
            };
            masters.iter().all(has_one) && replicas.iter().all(follows) && self.is_well()
        })
    }

    fn is_well(&self) -> bool {
        let well = |node: &Redis| line(node, "cluster_state:").is_ok_and(|state| state == "ok");
        self.nodes.iter().all(well)
    }

    /// The storage URL.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// A node: the masters first, then in the same order the replica of each.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn node(&mut self, position: usize) -> &mut Redis {
        &mut self.nodes[position]
    }

    /// How many masters there are.
    pub fn masters(&self) -> usize {
        MASTERS
    }

    /// The position of the master that had the slot first.
    pub fn master_of(&self, slot: u16) -> usize {
        usize::from(slot) * MASTERS / SLOTS
    }

    /// Waits until the replica of the master at `position` has taken over.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn wait_for_failover(&self, position: usize) -> Result<()> {
        let replica = self.nodes.get(MASTERS + position).context("there is no such master")?;
        until("the replica has taken over", || {
            replica.info("role").is_ok_and(|role| role == "master")
                && line(replica, "cluster_state:").is_ok_and(|state| state == "ok")
        })
    }

    /// Begins to move a slot from its first master to another.
    ///
    /// # Errors
    ///
    /// If a node refuses.
    pub fn begin_move(&self, slot: u16, to: usize) -> Result<()> {
        let (source, target) = self.move_between(slot, to)?;
        let slot = slot.to_string();
        let id = source.command(&["CLUSTER", "MYID"])?.text()?;
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id])?;
        let id = target.command(&["CLUSTER", "MYID"])?.text()?;
        source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id])?;
        Ok(())
    }

    /// Moves so many keys of a slot that is moving.
    ///
    /// # Errors
    ///
    /// If a node refuses.
    pub fn move_keys(&self, slot: u16, to: usize, count: usize) -> Result<()> {
        let (source, target) = self.move_between(slot, to)?;
        let (slot, count) = (slot.to_string(), count.to_string());
        let port = target.port().to_string();
        let keys = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, &count])?;
        let Reply::Many(keys) = keys else { bail!("no keys") };
        for key in keys {
            source.command(&["MIGRATE", "127.0.0.1", &port, &key.text()?, "0", "5000"])?;
        }
        Ok(())
    }

    /// Moves the rest of the keys and gives the slot to its new master.
    ///
    /// # Errors
    ///
    /// If a node refuses.
    pub fn end_move(&self, slot: u16, to: usize) -> Result<()> {
        self.move_keys(slot, to, usize::from(u16::MAX))?;
        let (source, target) = self.move_between(slot, to)?;
        let id = target.command(&["CLUSTER", "MYID"])?.text()?;
        for node in [target, source] {
            node.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id])?;
        }
        Ok(())
    }

    fn move_between(&self, slot: u16, to: usize) -> Result<(&Redis, &Redis)> {
        let from = self.master_of(slot);
        ensure!(from != to, "the slot is there already");
        let target = self.nodes.get(to).context("there is no such master")?;
        Ok((self.nodes.get(from).context("there is no such slot")?, target))
    }
}

/// One line of `CLUSTER INFO`.
fn line(node: &Redis, name: &str) -> Result<String> {
    let info = node.command(&["CLUSTER", "INFO"])?.text()?;
    let value = info.lines().find_map(|line| line.strip_prefix(name));
    value.map(str::to_owned).with_context(|| format!("no {name} in CLUSTER INFO"))
}
