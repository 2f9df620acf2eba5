//! What the masters hold, in their own words: whether records may move while keys are listed.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use futures_util::future::try_join_all;
use redis::Value;

use super::{
    cluster::not_whole,
    error,
    key::SLOTS,
    node::{Access, Node},
    store::{Servers, Trouble},
    topology::Topology,
};

/// How often the masters are asked: those that we know, and, when some are missing, those that
/// there are.
const ATTEMPTS: usize = 2;

/// All masters at one time.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// Of their addresses; with others, a place among them means nothing.
    pub(super) masters: u64,
    /// In an order that stays while `masters` does; at least one.
    pub(super) nodes: Vec<Arc<Node>>,
    /// Where the slots are: another number once one has moved, even if it came back; `None` while
    /// one is on its way.
    pub(super) settled: Option<u64>,
}

/// What a master says that it has.
#[derive(Debug, Default, Eq, Hash, PartialEq)]
struct Holding {
    /// Raised with every slot that another master had.
    epoch: u64,
    /// First and last slot.
    ranges: Vec<(u16, u16)>,
    moving: bool,
}

impl Servers {
    /// Asks every master. One alone has everything always.
    ///
    /// Others would say only later what moved, and what a slot's keys are moved by one by one is
    /// known to two masters only: `CLUSTER SLOTS` does not have it.
    pub(super) async fn survey(&self) -> Result<Survey, Trouble> {
        for _ in 0..ATTEMPTS {
            let nodes = self.masters().await?;
            if !matches!(self.topology, Topology::Cluster(_)) {
                return Ok(Survey { masters: 0, nodes, settled: Some(0) });
            }
            let holdings = try_join_all(nodes.iter().map(|node| self.holding(node))).await?;
            if are_whole(&holdings) {
                let masters = fingerprint(nodes.iter().map(|node| node.address()));
                return Ok(Survey { masters, nodes, settled: settled(&holdings) });
            }
            self.topology.doubt();
        }
        Err(not_whole().into())
    }

    async fn holding(&self, node: &Node) -> Result<Holding, Trouble> {
        let link = self.link(node, Access::Read, None).await?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("NODES");
        let asked = link.connection.ask(&command, "CLUSTER NODES").await;
        let answer = asked.map_err(|error| Trouble::over(&link.connection, error))?;
        let Value::BulkString(text) = answer else {
            return Err(error::odd_answer("CLUSTER NODES").into());
        };
        let text = String::from_utf8_lossy(&text);
        Ok(read_holding(&text).ok_or_else(|| error::odd_answer("CLUSTER NODES"))?)
    }
}

fn fingerprint(parts: impl Iterator<Item = impl Hash>) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.for_each(|part| part.hash(&mut hasher));
    hasher.finish()
}

/// Whether every slot is at one of the masters, or at several.
fn are_whole(holdings: &[Holding]) -> bool {
    let mut held = vec![false; usize::from(SLOTS)];
    for (first, last) in ranges(holdings) {
        held[usize::from(first)..=usize::from(last)].fill(true);
    }
    !held.contains(&false)
}

/// A number for where the slots are, if they are whole and none is on its way.
fn settled(holdings: &[Holding]) -> Option<u64> {
    let count: u64 = ranges(holdings).map(|(first, last)| u64::from(last - first) + 1).sum();
    let moving = holdings.iter().any(|holding| holding.moving) || count > u64::from(SLOTS);
    (!moving).then(|| fingerprint(holdings.iter()))
}

fn ranges(holdings: &[Holding]) -> impl Iterator<Item = (u16, u16)> {
    holdings.iter().flat_map(|holding| holding.ranges.iter().copied())
}

/// Reads, of the answer to `CLUSTER NODES`, the line of the node that answers: id, addresses,
/// flags, master, two times, epoch, state, then its slots; those on their way are in brackets.
fn read_holding(answer: &str) -> Option<Holding> {
    let mine = answer.lines().find(|line| {
        let flags = line.split(' ').nth(2).unwrap_or_default();
        flags.split(',').any(|flag| flag == "myself")
    })?;
    let mut parts = mine.split(' ').skip(6);
    let mut holding = Holding { epoch: parts.next()?.parse().ok()?, ..Holding::default() };
    for part in parts.skip(1).filter(|part| !part.is_empty()) {
        if part.starts_with('[') {
            holding.moving = true;
            continue;
        }
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if range.0 > range.1 || range.1 >= SLOTS {
            return None;
        }
        holding.ranges.push(range);
    }
    Some(holding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(epoch: u64, ranges: &[(u16, u16)]) -> Holding {
        Holding { epoch, ranges: ranges.to_vec(), moving: false }
    }

    #[test]
    fn a_node_speaks_of_itself() {
        let answer = "\
            aa 127.0.0.1:7001@17001,host master - 0 1700000000000 7 connected 5-9 [3->-bb]\n\
            bb 127.0.0.1:7000@17000 myself,master - 0 0 3 connected 0-4 10 12-16383 [5-<-aa]\n";
        let expected = Holding { moving: true, ..holding(3, &[(0, 4), (10, 10), (12, 16383)]) };
        assert_eq!(read_holding(answer), Some(expected));
        let replica = "bb :7000@17000 myself,slave aa 0 0 3 connected\n";
        assert_eq!(read_holding(replica), Some(holding(3, &[])));
        for odd in [
            "",
            "bb :7000@17000 master - 0 0 3 connected 0-5\n",
            "bb :7000@17000 myself,master - 0 0 x connected\n",
            "bb :7000@17000 myself,master - 0 0 3 connected x\n",
            "bb :7000@17000 myself,master - 0 0 3 connected 5-4\n",
            "bb :7000@17000 myself,master - 0 0 3 connected 16384\n",
        ] {
            assert_eq!(read_holding(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_moves_is_seen() {
        let low = || holding(1, &[(0, 99)]);
        let high = || holding(2, &[(100, 16383)]);
        let here = settled(&[low(), high()]);
        assert!(here.is_some());
        assert_eq!(settled(&[low(), high()]), here);
        assert_eq!(settled(&[low(), Holding { moving: true, ..high() }]), None);
        assert_eq!(settled(&[holding(1, &[(0, 100)]), high()]), None, "two have one");
        let moved = [holding(3, &[(0, 100)]), holding(2, &[(101, 16383)])];
        assert_ne!(settled(&moved), here);
        assert_ne!(settled(&[holding(3, &[(0, 99)]), high()]), here, "there and back");
        assert!(are_whole(&[low(), high()]) && are_whole(&[holding(1, &[(0, 100)]), high()]));
        assert!(!are_whole(&[low()]) && !are_whole(&[holding(1, &[(0, 98)]), high()]));
    }
}
