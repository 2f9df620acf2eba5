//! Redis: one server, a master that sentinels watch, a Cluster.

mod cluster;
pub mod resp;
mod sentinel;
mod server;

pub use self::{
    cluster::RedisCluster,
    sentinel::RedisSentinel,
    server::{Redis, RedisOptions},
};
