//! Several processes on one server: this test binary starts itself again.

use kv_storage::{Postgres, testing::processes};
use test_servers::rounds;

use super::schema;
use crate::processes::{ROUNDS, URL, again};

/// Not a test by itself: what the started processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    processes::compete(&Postgres::open(&url).await.unwrap()).await;
}

#[tokio::test]
async fn processes_that_race_have_one_winner() {
    let (_server, url) = schema();
    let store = Postgres::open(&url).await.unwrap();
    processes::race(&store, rounds(ROUNDS), || again("postgres::processes::child", &url)).await;
}
