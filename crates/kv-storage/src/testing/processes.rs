//! Several processes at the same records.
//!
//! A test starts its own binary again for each: [`race`] is for the test, [`compete`] for what is
//! started.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time;

use crate::{KeyValue, Ttl, Version};

const PROCESSES: usize = 3;

/// How often each process counts the same record up.
const COUNTS: usize = 20;

/// How long the others may take to start on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(1);

/// The operations that have one winner.
const OPERATIONS: [&str; 4] = ["absent", "take", "swap", "delete"];

/// Starts three processes by `start`, each of which is to open the store and to [`compete`] for so
/// many `rounds`, and sees to it that each round of each operation has one winner.
pub async fn race(store: &impl KeyValue, rounds: usize, mut start: impl FnMut() -> Command) {
    store.put("count", "k", "0".into(), Ttl::Forever).await.unwrap();
    for round in 0..rounds {
        for operation in ["take", "swap", "delete"] {
            let key = round.to_string();
            let written = store.put(operation, &key, "value".into(), Ttl::Forever).await.unwrap();
            let told = Bytes::copy_from_slice(written.as_bytes());
            let key = format!("{operation}-{round}");
            store.put("versions", &key, told, Ttl::Forever).await.unwrap();
        }
    }
    let mut children: Vec<Child> =
        (0..PROCESSES).map(|_| start().stdout(Stdio::piped()).spawn().unwrap()).collect();
    let mut lines: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap))
        .collect();
    for lines in &mut lines {
        assert!(lines.any(|line| line.ends_with("ready")), "a process ended before it was ready");
    }
    store.put("go", "k", "".into(), Ttl::Forever).await.unwrap();
    let mut won = [0; OPERATIONS.len()];
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
        assert_eq!(won, rounds, "{operation}: each round had one winner");
    }
    let count = store.get("count", "k").await.unwrap().unwrap().value;
    assert_eq!(count, (PROCESSES * COUNTS).to_string());
}

/// What each of the processes does with a store of its own, over the records of [`race`].
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub async fn compete(store: &impl KeyValue, rounds: usize) {
    println!("ready");
    let deadline = Instant::now() + DEADLINE;
    while store.get("go", "k").await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "nobody says go");
        time::sleep(POLL).await;
    }
    let mut won = [0; OPERATIONS.len()];
    for round in 0..rounds {
        let key = round.to_string();
        let value = || "mine".into();
        let swapping = version(store, "swap", round).await;
        let deleting = version(store, "delete", round).await;
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
        count_up(store).await;
    }
    println!("won {} {} {} {}", won[0], won[1], won[2], won[3]);
}

/// The version that every process is to swap or delete.
async fn version(store: &impl KeyValue, operation: &str, round: usize) -> Version {
    let told = store.get("versions", &format!("{operation}-{round}")).await.unwrap().unwrap();
    Version::from_bytes(told.value[..].try_into().unwrap())
}

async fn count_up(store: &impl KeyValue) {
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
