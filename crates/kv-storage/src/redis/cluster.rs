//! Which master of a cluster has which slots.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use redis::Value;
use tokio::sync::Mutex;

use super::{
    backoff::Informants,
    connection::Connection,
    doubt::Doubt,
    error,
    key::SLOTS,
    node::{Context, Node},
    settings::Address,
};
use crate::{Error, ErrorKind, Result};

/// The slots as some node told them, asked for again when something contradicts.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    map: RwLock<Arc<Map>>,
    nodes: RwLock<HashMap<Address, Arc<Node>>>,
    doubt: Doubt,
    // Held while asking, so that one task does it for all.
    asking: Mutex<Informants>,
}

/// Ranges of slots, and the master of each.
#[derive(Debug, Default, Eq, PartialEq)]
struct Map {
    /// First slot, last slot, master; in order.
    ranges: Vec<(u16, u16, Address)>,
}

impl Map {
    fn master(&self, slot: u16) -> Option<&Address> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, address) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(address)
    }

    fn is_whole(&self) -> bool {
        let mut next = 0;
        for (first, last, _) in &self.ranges {
            if *first != next {
                return false;
            }
            next = last + 1;
        }
        next == SLOTS
    }
}

impl Cluster {
    pub(super) fn doubt(&self) {
        self.doubt.raise();
    }

    pub(super) fn close(&self) {
        for node in self.nodes.write().unwrap_or_else(PoisonError::into_inner).values() {
            node.close();
        }
    }

    pub(super) async fn master(&self, slot: u16, context: &Context) -> Result<Arc<Node>> {
        let map = match self.connected_map(slot).await {
            Some(map) => map,
            None => self.map(context).await?,
        };
        let Some(address) = map.master(slot) else {
            self.doubt();
            return Err(not_whole());
        };
        Ok(self.node(address))
    }

    /// The map for a slot whose last known master we have a connection to: whoever has one is not
    /// held up by nodes that do not answer.
    async fn connected_map(&self, slot: u16) -> Option<Arc<Map>> {
        let last = self.last()?;
        if !self.doubt.is_raised() {
            return Some(last);
        }
        let node = self.known(last.master(slot)?)?;
        let link = node.opened()?;
        let Ok(mut nodes) = self.asking.try_lock() else { return Some(last) };
        if !nodes.backoff.is_over() {
            return Some(last);
        }
        let asking = self.doubt.ask();
        match ask_over(&link.connection, node.address()).await {
            Ok(map) => {
                nodes.answered(node.address());
                asking.answered();
                Some(self.replace(map))
            }
            Err(error) => {
                tracing::debug!(node = %node.address(), %error, "a node does not tell the slots");
                nodes.backoff.failed(&error);
                Some(last)
            }
        }
    }

    pub(super) async fn masters(&self, context: &Context) -> Result<Vec<Arc<Node>>> {
        let map = self.map(context).await?;
        if !map.is_whole() {
            self.doubt();
            return Err(not_whole());
        }
        let mut addresses: Vec<_> = map.ranges.iter().map(|(_, _, address)| address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Ok(addresses.into_iter().map(|address| self.node(address)).collect())
    }

    /// The node at an address, with the connections that there are.
    pub(super) fn node(&self, address: &Address) -> Arc<Node> {
        if let Some(node) = self.known(address) {
            return node;
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Node::new(address.clone()));
        Arc::clone(nodes.entry(address.clone()).or_insert_with(new))
    }

    fn known(&self, address: &Address) -> Option<Arc<Node>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    async fn map(&self, context: &Context) -> Result<Arc<Map>> {
        if let Some(map) = self.current() {
            return Ok(map);
        }
        let mut nodes = self.asking.lock().await;
        if let Some(map) = self.current() {
            return Ok(map);
        }
        let last = match self.last() {
            // Better an old map than none: a node that has not got the slot says so.
            Some(last) if !nodes.backoff.is_over() => return Ok(last),
            Some(last) => last,
            None => nodes.backoff.check().map(|()| Arc::default())?,
        };
        let asking = self.doubt.ask();
        let known = last.ranges.iter().map(|(_, _, address)| address);
        let mut addresses: Vec<&Address> = context.settings.addresses.iter().collect();
        for address in known {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let mut failure = None;
        for node in nodes.order(addresses) {
            let answer = match self.known(node).and_then(|node| node.opened()) {
                Some(link) => ask_over(&link.connection, node).await,
                None => ask(node, context).await,
            };
            match answer {
                Ok(map) => {
                    nodes.answered(node);
                    asking.answered();
                    return Ok(self.replace(map));
                }
                Err(error) => {
                    tracing::debug!(%node, %error, "a node does not tell the cluster's slots");
                    failure = Some(error);
                }
            }
        }
        let failure = failure.unwrap_or_else(not_whole);
        nodes.backoff.failed(&failure);
        Err(failure)
    }

    fn replace(&self, map: Map) -> Arc<Map> {
        self.forget_all_but(&map);
        let map = Arc::new(map);
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&map);
        map
    }

    fn current(&self) -> Option<Arc<Map>> {
        if self.doubt.is_raised() { None } else { self.last() }
    }

    fn last(&self) -> Option<Arc<Map>> {
        let map = Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner));
        Some(map).filter(|map| !map.ranges.is_empty())
    }

    /// Closes the connections to nodes that are masters no longer.
    fn forget_all_but(&self, map: &Map) {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, _| map.ranges.iter().any(|(_, _, master)| master == address));
    }
}

/// Asks a node over a connection that is made for it.
async fn ask(node: &Address, context: &Context) -> Result<Map> {
    let credentials = context.settings.credentials.as_ref();
    let connection = context.dialer.dial(node, credentials, 0).await?;
    match context.dialer.within(node, ask_over(&connection, node)).await {
        Ok(map) => Ok(map),
        // A server that is no part of a cluster, or not yet, is told apart by what it says of itself.
        Err(refused) => {
            let server = context.dialer.within(node, connection.inspect()).await?;
            server.check(node, &context.settings.arrangement).and(Err(refused))
        }
    }
}

async fn ask_over(connection: &Connection, node: &Address) -> Result<Map> {
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let answer = connection.ask(&command, "CLUSTER SLOTS").await?;
    let map = read_slots(answer, node).ok_or_else(|| error::odd_answer("CLUSTER SLOTS"))?;
    if map.ranges.is_empty() { Err(not_whole()) } else { Ok(map) }
}

/// Reads the answer to `CLUSTER SLOTS`: for each range its first and last slot, its master and
/// its replicas, each as host, port, id.
fn read_slots(answer: Value, asked: &Address) -> Option<Map> {
    let Value::Array(answer) = answer else { return None };
    let mut ranges = Vec::with_capacity(answer.len());
    for range in answer {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
            return None;
        };
        let [host, Value::Int(port), ..] = &master[..] else { return None };
        let host = match host {
            // The node does not know by which name it is reached: by the one that we used.
            Value::Nil => asked.host.clone(),
            Value::BulkString(host) if host.is_empty() => asked.host.clone(),
            Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
            _ => return None,
        };
        let first = u16::try_from(*first).ok()?;
        let last = u16::try_from(*last).ok().filter(|last| (first..SLOTS).contains(last))?;
        let port = u16::try_from(*port).ok()?;
        ranges.push((first, last, Address { host, port }));
    }
    ranges.sort_unstable();
    Some(Map { ranges })
}

pub(super) fn not_whole() -> Error {
    Error::new(ErrorKind::Unavailable, "the redis cluster has slots that no master has")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: &str) -> Value {
        let master = vec![Value::BulkString(host.into()), Value::Int(7000)];
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(master)])
    }

    fn address(host: &str) -> Address {
        Address { host: host.into(), port: 7000 }
    }

    #[test]
    fn slots_lead_to_masters() {
        let answer = Value::Array(vec![range(100, 16383, "b"), range(0, 99, "")]);
        let map = read_slots(answer, &address("asked")).unwrap();
        assert!(map.is_whole());
        assert_eq!(map.master(0), Some(&address("asked")));
        assert_eq!(map.master(99), Some(&address("asked")));
        assert_eq!(map.master(100), Some(&address("b")));
        assert_eq!(map.master(16383), Some(&address("b")));
    }

    #[test]
    fn gaps_are_noticed() {
        for ranges in [
            vec![],
            vec![range(1, 16383, "a")],
            vec![range(0, 16382, "a")],
            vec![range(0, 5, "a"), range(7, 16383, "b")],
        ] {
            let map = read_slots(Value::Array(ranges), &address("asked")).unwrap();
            assert!(!map.is_whole(), "{map:?}");
            assert!([0, 6, 16383].into_iter().any(|slot| map.master(slot).is_none()));
        }
    }

    #[test]
    fn odd_answers_are_refused() {
        let asked = address("asked");
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16384, "a")]),
            Value::Array(vec![range(-1, 5, "a")]),
            Value::Array(vec![range(5, 4, "a")]),
        ] {
            assert_eq!(read_slots(answer, &asked), None);
        }
    }
}
