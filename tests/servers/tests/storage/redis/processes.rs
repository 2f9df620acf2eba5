//! Several processes at the same records: this test binary starts itself again.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use kv_storage::{KeyValue, Redis, Ttl, Version};
use test_servers::{Redis as Server, RedisCluster, RedisSentinel};

/// Tells a copy of this binary the store that it is to race for.
const URL: &str = "KV_STORAGE_TEST_URL";

const PROCESSES: usize = 3;

/// How many rounds, unless `RACE_ROUNDS` says.
const ROUNDS: usize = 100;

const COUNTS: usize = 20;

fn rounds() -> usize {
    let told = std::env::var("RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    told.unwrap_or(ROUNDS)
}

fn start(url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "redis::processes::child", "--nocapture"])
        .env(URL, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The operations that have one winner.
const OPERATIONS: [&str; 4] = ["absent", "take", "swap", "delete"];

/// The version that every process is to swap or delete.
async fn version(store: &Redis, operation: &str, round: &str) -> Version {
    let told = store.get("versions", &format!("{operation}/{round}")).await.unwrap().unwrap();
    Version::from_bytes(told.value[..].try_into().unwrap())
}

/// Not a test by itself: what the started processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let store = Redis::open(&url).await.unwrap();
    println!("ready");
    while store.get("go", "").await.unwrap().is_none() {}
    let mut won = [0; OPERATIONS.len()];
    for round in 0..rounds() {
        let key = round.to_string();
        let value = || "mine".into();
        let swapping = version(&store, "swap", &key).await;
        let deleting = version(&store, "delete", &key).await;
        let (absent, taken, swapped, deleted) = tokio::join!(
            store.put_if_absent("absent", &key, value(), Ttl::Forever),
            store.take("take", &key),
            store.compare_and_swap("swap", &key, swapping, value(), Ttl::Keep),
            store.compare_and_delete("delete", &key, deleting),
        );
        won[0] += usize::from(absent.unwrap().is_some());
        won[1] += usize::from(taken.unwrap().is_some());
        won[2] += usize::from(swapped.unwrap().is_some());
        won[3] += usize::from(deleted.unwrap());
    }
    for _ in 0..COUNTS {
        count_up(&store).await;
    }
    println!("won {} {} {} {}", won[0], won[1], won[2], won[3]);
}

async fn count_up(store: &Redis) {
    loop {
        let entry = store.get("count", "k").await.unwrap().unwrap();
        let count: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let next = (count + 1).to_string().into();
        let swap = store.compare_and_swap("count", "k", entry.version, next, Ttl::Keep);
        if swap.await.unwrap().is_some() {
            return;
        }
    }
}

async fn race(url: &str) {
    let store = Redis::open(url).await.unwrap();
    store.put("count", "k", "0".into(), Ttl::Forever).await.unwrap();
    for round in 0..rounds() {
        for operation in ["take", "swap", "delete"] {
            let key = round.to_string();
            let written = store.put(operation, &key, "value".into(), Ttl::Forever).await.unwrap();
            let told = Bytes::copy_from_slice(written.as_bytes());
            let key = format!("{operation}/{round}");
            store.put("versions", &key, told, Ttl::Forever).await.unwrap();
        }
    }
    let mut children: Vec<_> = (0..PROCESSES).map(|_| start(url)).collect();
    let mut lines: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap))
        .collect();
    for lines in &mut lines {
        assert!(lines.any(|line| line.ends_with("ready")));
    }
    store.put("go", "", "".into(), Ttl::Forever).await.unwrap();
    let mut won = vec![0; OPERATIONS.len()];
    for lines in &mut lines {
        let line = lines.find_map(|line| Some(line.strip_prefix("won ")?.to_owned())).unwrap();
        for (sum, count) in won.iter_mut().zip(line.split(' ')) {
            *sum += count.parse::<usize>().unwrap();
        }
    }
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    for (operation, won) in OPERATIONS.into_iter().zip(won) {
        assert_eq!(won, rounds(), "{operation}: each round had one winner");
    }
    let count = store.get("count", "k").await.unwrap().unwrap().value;
    assert_eq!(count, (PROCESSES * COUNTS).to_string());
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
