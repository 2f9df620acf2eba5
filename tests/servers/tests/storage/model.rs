//! Random operations against a map, on real servers.
//!
//! Their clocks cannot be turned, so that nothing expires in the course of a case but what is to
//! be absent at once; the conformance suite has what expires.

use std::sync::Arc;

use kv_storage::{
    Aes256Gcm, Encrypted, KeyValue, Postgres, Redis,
    testing::model::{Bytes, follow},
};
use proptest::{prelude::*, test_runner::TestRunner};
use test_servers::{
    PgBouncer, PoolMode, Postgres as PostgresServer, Redis as RedisServer, RedisCluster,
};
use tokio::runtime::Runtime;

/// Has the store that `open` opens follow so many random paths, plain and encrypted.
fn follow_model<S: KeyValue>(cases: u32, open: impl AsyncFn() -> S) {
    let runtime = Runtime::new().unwrap();
    let store = Arc::new(runtime.block_on(open()));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(any::<Bytes>(), 1..60);
    let ran = TestRunner::new(config).run(&(steps, any::<bool>()), |(steps, encrypt)| {
        runtime.block_on(async {
            if encrypt {
                let cipher = Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap();
                let store = Encrypted::new(Arc::clone(&store), cipher, "https://issuer.example");
                follow(&store, None, &steps).await;
            } else {
                follow(&store, None, &steps).await;
            }
        });
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

#[test]
fn redis_follows_the_model() {
    let server = RedisServer::start().unwrap();
    follow_model(64, async || Redis::open(&server.url()).await.unwrap());
}

#[test]
fn a_redis_cluster_follows_the_model() {
    let cluster = RedisCluster::start().unwrap();
    follow_model(16, async || Redis::open(&cluster.url()).await.unwrap());
}

#[test]
fn postgres_follows_the_model() {
    let server = PostgresServer::shared().unwrap();
    let url = format!("{}?schema=model", server.url());
    follow_model(24, async || Postgres::open(&url).await.unwrap());
}

#[test]
fn postgres_behind_a_pooler_follows_the_model() {
    let server = PostgresServer::shared().unwrap();
    let pooler = PgBouncer::start(&server, PoolMode::Transaction).unwrap();
    let url = format!("{}?schema=model_pooled&prepared=false", pooler.url_of("postgres"));
    follow_model(8, async || Postgres::open(&url).await.unwrap());
}
