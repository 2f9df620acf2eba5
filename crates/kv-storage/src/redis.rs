//! The backend that keeps its records in Redis.

mod backoff;
mod cluster;
mod command;
mod connection;
mod doubt;
mod error;
mod gather;
mod key;
mod life;
mod node;
mod scan;
mod sentinel;
mod server;
mod settings;
mod store;
mod survey;
mod tls;
mod topology;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use self::settings::Settings;
use self::{
    command::{Command, changed, read_entry, taken_entry},
    key::Keys,
    store::{Effect, Servers},
};
use crate::{Cursor, Entry, Error, ErrorKind, KeyValue, Page, Result, Ttl, Version, limits};

/// Keeps records in Redis 6.2 or later: a single server, a master that sentinels watch, or
/// a Cluster.
///
/// Each operation is one command, or one script, about one key, so it is atomic and works in a
/// Cluster. Expiry is Redis's own, by its clock. A server that evicts (`maxmemory-policy` other
/// than `noeviction`) is refused. Values rest as they are given: wrap the store in
/// [`Encrypted`](crate::Encrypted).
///
/// # The storage URL
///
/// | URL | servers |
/// | --- | --- |
/// | `redis://user:password@host:port/database` | one server |
/// | `redis+sentinel://user:password@host:port,host:port/master-name/database` | the master of that name; the hosts are sentinels |
/// | `redis+cluster://user:password@host:port,host:port` | a Cluster; the hosts are some of its nodes |
///
/// With `rediss` every connection is TLS 1.2 or 1.3. User, password, port (6379, sentinels 26379)
/// and database (0) may be left out; `:password@` is the user `default`. Options follow a `?`:
///
/// | option | default | what |
/// | --- | --- | --- |
/// | `prefix` | `kv` | what keys begin with: 1 to 64 of `A`–`Z`, `a`–`z`, `0`–`9`, `_`, `-`, `.` |
/// | `wait_replicas` | 0; 1 on Sentinel and Cluster | how many replicas must have a write before it is acknowledged |
/// | `wait_timeout` | `1s` | how long they have |
/// | `connect_timeout` | `2s` | for connecting and logging in |
/// | `response_timeout` | `3s` | for one answer |
/// | `ca_file` | the platform's | PEM certificates that are trusted instead; with `rediss` |
/// | `sentinel_user`, `sentinel_password` | none | for the sentinels, which do not get the others |
///
/// # How far "once" reaches
///
/// A single server keeps every acknowledged write as far as its append-only file does
/// (`appendfsync always`: all of them; `everysec`: all but those of the last second or two
/// before a crash of the machine). With replicas, each write is followed by `WAIT`: when fewer
/// than `wait_replicas` have it in time, the outcome is unknown. An acknowledged write can then be
/// lost only if a replica without it is promoted while one that has it exists, which sentinels and
/// Clusters avoid where they see both. A removal that finds nothing is confirmed like one that
/// does, so that one whose outcome was unknown can be repeated until it lasts. A read may see a write that is not acknowledged yet. Only
/// masters are asked; one that was cut off answers until it learns that it is none any more, and
/// `WAIT` is what keeps its writes from being acknowledged.
///
/// # When servers fail
///
/// Connections are made when needed, again when lost, after a pause of at most a second between
/// attempts. A write that got no answer is [`ErrorKind::OutcomeUnknown`] and never sent again;
/// a read is repeated once. In the middle of a failover operations are
/// [`ErrorKind::Unavailable`]; sentinels, or nodes of the Cluster, are then asked anew.
/// A [`scan`](KeyValue::scan) lists a server's keys anew when it was restarted or replaced
/// meanwhile, and everything when a Cluster got other masters. While slots move, it lists
/// everything up to three times: only a key that moves to another master three times meanwhile can
/// be missed. What changes again and again ends as [`ErrorKind::Unavailable`].
///
/// [`close`](KeyValue::close) waits for what is under way and ends all connections.
///
/// # Stored form
///
/// One string for each record, under the key `prefix:collection:key`: the version (16 bytes), then
/// the value. The key is as it was given, for Redis holds any.
pub struct Redis {
    servers: Servers,
    keys: Keys,
}

impl Redis {
    /// Connects to the servers that the URL names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Misconfigured`] if the URL is not in one of the forms above, if a password is
    /// wrong, or a server cannot keep records (too old, evicting);
    /// [`ErrorKind::Unavailable`] if one cannot be reached.
    pub async fn open(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let settings = Settings::parse(scheme, rest).map_err(|reason| {
            Error::new(
                ErrorKind::Misconfigured,
                format!("the redis storage URL is wrong: {reason}"),
            )
        })?;
        Self::connect(settings).await
    }

    pub(crate) async fn connect(settings: Settings) -> Result<Self> {
        let keys = Keys::new(settings.prefix.clone());
        Ok(Self { servers: Servers::open(settings).await?, keys })
    }

    /// The key in Redis, if collection and key are good.
    fn key(&self, collection: &str, key: &str) -> Result<Vec<u8>> {
        limits::check_collection(collection)?;
        limits::check_key(key)?;
        Ok(self.keys.physical(collection, key))
    }

    /// Runs a write; whether it changed something.
    async fn write(&self, command: Command) -> Result<bool> {
        self.run(command, Effect::Nothing).await
    }

    /// Runs a removal; whether it found something.
    async fn remove(&self, command: Command) -> Result<bool> {
        self.run(command, Effect::FoundNothing).await
    }

    async fn run(&self, command: Command, otherwise: Effect) -> Result<bool> {
        let outcome = |value| {
            let changed = changed(command.name, &value)?;
            Ok((changed, if changed { Effect::Changed } else { otherwise }))
        };
        self.servers.write(&command, outcome).await
    }
}

/// Shows the servers and the prefix.
impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("servers", &self.servers.topology)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyValue for Redis {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        read_entry(self.servers.read(&Command::get(&self.key(collection, key)?)).await?)
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        limits::check_collection(collection)?;
        let keys = keys.iter().map(|key| self.key(collection, key)).collect::<Result<Vec<_>>>()?;
        self.servers.read_many(&keys).await?.into_iter().map(read_entry).collect()
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        limits::check_value(&value)?;
        let version = Version::random()?;
        self.write(Command::put(&self.key(collection, key)?, version, &value, ttl)).await?;
        Ok(version)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        self.remove(Command::delete(&self.key(collection, key)?)).await
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let command = Command::take(&self.key(collection, key)?);
        let outcome = |value| {
            let entry = taken_entry(value)?;
            let effect = if entry.is_some() { Effect::Changed } else { Effect::FoundNothing };
            Ok((entry, effect))
        };
        self.servers.write(&command, outcome).await
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        limits::check_value(&value)?;
        let version = Version::random()?;
        let command = Command::put_if_absent(&self.key(collection, key)?, version, &value, ttl);
        // Where nothing is to be written at all, the command only looks.
        let found_is_refused = command.name == "EXISTS";
        let changed = self.write(command).await?;
        Ok((changed != found_is_refused).then_some(version))
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        limits::check_value(&value)?;
        let version = Version::random()?;
        let key = self.key(collection, key)?;
        let command = Command::compare_and_swap(&key, expected, version, &value, ttl);
        Ok(self.write(command).await?.then_some(version))
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        self.remove(Command::compare_and_delete(&self.key(collection, key)?, expected)).await
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        let version = Version::random()?;
        let command = Command::expire(&self.key(collection, key)?, version, ttl);
        Ok(self.write(command).await?.then_some(version))
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.key(collection, prefix)?;
        let pattern = self.keys.pattern(collection, prefix);
        let (found, next) = scan::page(&self.servers, &pattern, cursor.as_ref(), limit).await?;
        // Somebody else's key, which could be none of ours, must not hide those that are.
        let ours = |key| {
            let ours = self.keys.logical(collection, key);
            if ours.is_none() {
                tracing::warn!(collection, "Redis holds a key under our prefix that is not text");
            }
            ours
        };
        Ok(Page { keys: found.into_iter().filter_map(ours).collect(), next })
    }

    async fn health(&self) -> Result<()> {
        match self.servers.look().await {
            Ok(()) => return Ok(()),
            Err(trouble) => self.servers.check_repeatable(trouble)?,
        }
        Ok(self.servers.look().await?)
    }
    async fn close(&self) {
        self.servers.close().await;
    }
}
