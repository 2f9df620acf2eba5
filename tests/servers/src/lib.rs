//! Servers of a test's own: started on free ports in a temporary place, gone with the value.

pub mod postgres;
pub mod program;
pub mod redis;

pub use crate::{
    postgres::Postgres,
    redis::{Redis, RedisCluster, RedisSentinel},
};
