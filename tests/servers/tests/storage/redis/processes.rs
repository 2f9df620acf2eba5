//! Several processes at the same records: this test binary starts itself again.

use kv_storage::{Redis, testing::processes};
use test_servers::{Redis as Server, RedisCluster, RedisSentinel, rounds};

use crate::processes::{ROUNDS, URL, again};

/// Not a test by itself: what the started processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    processes::compete(&Redis::open(&url).await.unwrap()).await;
}

async fn race(url: &str) {
    let store = Redis::open(url).await.unwrap();
    processes::race(&store, rounds(ROUNDS), || again("redis::processes::child", url)).await;
}

#[tokio::test]
async fn processes_that_race_have_one_winner_on_a_single_server() {
    let server = Server::start().unwrap();
    race(&server.url()).await;
}

#[tokio::test]
async fn processes_that_race_have_one_winner_with_sentinels() {
    let servers = RedisSentinel::start().unwrap();
    race(&servers.url()).await;
}

#[tokio::test]
async fn processes_that_race_have_one_winner_on_a_cluster() {
    let cluster = RedisCluster::start().unwrap();
    race(&cluster.url()).await;
}
