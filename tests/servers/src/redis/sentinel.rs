//! A master with replicas, and sentinels that watch it.

use anyhow::{Context, Result, bail};

use super::{
    resp::Reply,
    server::{Redis, RedisOptions, until},
};

/// The master's name.
const NAME: &str = "main";

const REPLICAS: usize = 2;
const SENTINELS: usize = 3;

/// How long the master may be silent before the sentinels promote another.
const DOWN_AFTER_MILLIS: u32 = 1000;

/// One master, two replicas, three sentinels.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

impl RedisSentinel {
    /// Starts them all, and waits until the sentinels know each other and the replicas.
    ///
    /// # Errors
    ///
    /// If `redis-server` is not installed, or they do not find together.
    pub fn start() -> Result<Self> {
        let options = RedisOptions::default().line("appendonly yes").line("appendfsync everysec");
        let master = Redis::with(options.clone())?;
        let port = master.port();
        let mut servers = vec![master];
        for _ in 0..REPLICAS {
            let replica = options.clone().line(format!("replicaof 127.0.0.1 {port}"));
            servers.push(Redis::with(replica)?);
        }
        until("the replicas are connected", || {
            servers.iter().skip(1).all(|replica| {
                replica.info("master_link_status").is_ok_and(|status| status == "up")
            })
        })?;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            let options = RedisOptions::default()
                .sentinel()
                .line(format!("sentinel monitor {NAME} 127.0.0.1 {port} 2"))
                .line(format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MILLIS}"))
                .line(format!("sentinel failover-timeout {NAME} 5000"))
                .line(format!("sentinel parallel-syncs {NAME} 2"));
            sentinels.push(Redis::with(options)?);
        }
        let all = Self { servers, sentinels };
        until("the sentinels know each other and the replicas", || {
            all.sentinels.iter().all(|sentinel| {
                count(sentinel, "SENTINELS") == SENTINELS - 1
                    && count(sentinel, "REPLICAS") == REPLICAS
            })
        })?;
        Ok(all)
    }

    /// The storage URL.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("redis+sentinel://{}/{NAME}", hosts.join(","))
    }

    /// The position of the present master among the servers, by most of the sentinels.
    ///
    /// # Errors
    ///
    /// If they do not agree on one.
    pub fn master(&self) -> Result<usize> {
        let named: Vec<u16> = self.sentinels.iter().filter_map(named_master).collect();
        let position = (0..self.servers.len()).find(|&position| {
            let port = self.servers[position].port();
            2 * named.iter().filter(|&&named| named == port).count() > SENTINELS
        });
        position.context("the sentinels do not agree on a master")
    }

    /// The server at a position, master or replica.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn server(&mut self, position: usize) -> &mut Redis {
        &mut self.servers[position]
    }

    /// How many servers there are, master and replicas.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// Waits until another than the one at `position` is the master, with a replica.
    ///
    /// # Errors
    ///
    /// If nobody is promoted.
    pub fn wait_for_failover(&self, position: usize) -> Result<usize> {
        until("another master is promoted and has a replica", || {
            self.master().is_ok_and(|master| {
                let has = |name: &str, value: &str| {
                    self.servers[master].info(name).is_ok_and(|found| found == value)
                };
                master != position && has("role", "master") && !has("connected_slaves", "0")
            })
        })?;
        self.master()
    }

    /// Waits until the server at `position` is a master.
    ///
    /// # Errors
    ///
    /// If it does not become one.
    pub fn wait_for_promotion(&self, position: usize) -> Result<()> {
        let server = self.servers.get(position).context("there is no such server")?;
        until("the server is promoted", || server.info("role").is_ok_and(|role| role == "master"))
    }

    /// Makes the sentinels promote another at once.
    ///
    /// # Errors
    ///
    /// If they refuse.
    pub fn fail_over(&self) -> Result<()> {
        let sentinel = self.sentinels.first().context("there is no sentinel")?;
        match sentinel.client()?.command(&["SENTINEL", "FAILOVER", NAME])? {
            Reply::Error(error) => bail!("{error}"),
            _ => Ok(()),
        }
    }
}

fn count(sentinel: &Redis, what: &str) -> usize {
    match sentinel.command(&["SENTINEL", what, NAME]) {
        Ok(Reply::Many(known)) => known.len(),
        _ => 0,
    }
}

fn named_master(sentinel: &Redis) -> Option<u16> {
    match sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).ok()? {
        Reply::Many(parts) => parts.last()?.clone().text().ok()?.parse().ok(),
        _ => None,
    }
}
