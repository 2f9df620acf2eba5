//! Which master a key lies at.

use std::sync::Arc;

use super::{
    cluster::Cluster,
    key::slot,
    node::{Context, Node},
    sentinel::Sentinel,
    settings::{Address, Arrangement},
};
use crate::Result;

/// The servers, as they are arranged now.
#[derive(Debug)]
pub(super) enum Topology {
    Single(Arc<Node>),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

impl Topology {
    pub(super) fn new(context: &Context) -> Self {
        let mut addresses = context.settings.addresses.clone();
        match &context.settings.arrangement {
            Arrangement::Single => Self::Single(Arc::new(Node::new(addresses.remove(0)))),
            Arrangement::Sentinel(name) => Self::Sentinel(Sentinel::new(name.clone())),
            Arrangement::Cluster => Self::Cluster(Cluster::default()),
        }
    }

    /// The master of a key.
    pub(super) async fn master(&self, key: &[u8], context: &Context) -> Result<Arc<Node>> {
        match self {
            Self::Single(node) => Ok(Arc::clone(node)),
            Self::Sentinel(sentinel) => sentinel.master(context).await,
            Self::Cluster(cluster) => cluster.master(slot(key), context).await,
        }
    }

    /// All masters, at least one, each time in the same order.
    pub(super) async fn masters(&self, context: &Context) -> Result<Vec<Arc<Node>>> {
        match self {
            Self::Cluster(cluster) => cluster.masters(context).await,
            _ => Ok(vec![self.master(b"", context).await?]),
        }
    }

    /// Where a node of the cluster sends us; `None` if there is no cluster.
    pub(super) fn redirected(&self, address: &Address) -> Option<Arc<Node>> {
        match self {
            Self::Cluster(cluster) => Some(cluster.node(address)),
            Self::Single(_) | Self::Sentinel(_) => None,
        }
    }

    /// Lets go of every connection.
    pub(super) fn close(&self) {
        match self {
            Self::Single(node) => node.close(),
            Self::Sentinel(sentinel) => sentinel.close(),
            Self::Cluster(cluster) => cluster.close(),
        }
    }

    /// Something did not go as the servers' arrangement says: ask for it anew.
    pub(super) fn doubt(&self) {
        match self {
            Self::Single(_) => {}
            Self::Sentinel(sentinel) => sentinel.doubt(),
            Self::Cluster(cluster) => cluster.doubt(),
        }
    }
}
