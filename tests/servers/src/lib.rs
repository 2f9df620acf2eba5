//! Servers of a test's own: started on free ports in a temporary place, gone with the value.

pub mod pgbouncer;
mod port;
pub mod postgres;
pub mod program;
pub mod redis;
mod rounds;
mod unprivileged;

pub use crate::{
    pgbouncer::{PgBouncer, PoolMode},
    postgres::Postgres,
    redis::{Redis, RedisCluster, RedisSentinel},
    rounds::{rounds, rounds_of_wrapped},
};
