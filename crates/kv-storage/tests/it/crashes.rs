//! Processes that are killed at random points, on every backend that keeps files: what they were
//! told is there, whole.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use kv_storage::{Disk, KeyValue, Sqlite, Ttl};
use tokio::task::JoinSet;

use crate::processes::start;

const KILLS: usize = 6;
const TASKS: u32 = 4;

/// Of this many acknowledged operations, one is the last before the kill.
const MOST_LINES: u64 = 120;

async fn open(backend: &str, directory: &Path) -> Arc<dyn KeyValue> {
    match backend {
        "disk" => Arc::new(Disk::open(directory.join("kv")).await.unwrap()),
        "sqlite" => Arc::new(Sqlite::open(directory.join("kv.sqlite")).await.unwrap()),
        other => panic!("no backend {other}"),
    }
}

/// What write `index` of a task stores: of many lengths, and known by its index.
fn value(task: u32, index: u32) -> Bytes {
    let length = 1 + usize::try_from((index * 7919 + task) % 9000).unwrap();
    let byte = u8::try_from((index + task) % 251).unwrap();
    [&index.to_be_bytes()[..], &vec![byte; length]].concat().into()
}

/// What the killed process does: several tasks write until the end, each saying what was
/// acknowledged.
pub(crate) async fn write(backend: &str, directory: &Path) {
    let store = open(backend, directory).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move { write_on(&*store, task).await });
    }
    tasks.join_all().await;
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn write_on(store: &dyn KeyValue, task: u32) {
    let latest = store.get("latest", &task.to_string()).await.unwrap();
    let first = latest.map_or(0, |latest| index(&latest.value) + 1);
    for index in first.. {
        let key = format!("{task}/{index}");
        store.put("all", &key, value(task, index), Ttl::Forever).await.unwrap();
        store.put("latest", &task.to_string(), value(task, index), Ttl::Forever).await.unwrap();
        println!("wrote {task} {index}");
        if index % 3 == 0 {
            assert!(store.take("all", &key).await.unwrap().is_some());
            println!("took {task} {index}");
        }
    }
}

fn index(value: &[u8]) -> u32 {
    u32::from_be_bytes(*value.first_chunk().unwrap())
}

async fn survives_kills(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut wrote = HashMap::new();
    let mut took = HashSet::new();
    for _ in 0..KILLS {
        let role = format!("crash {backend}");
        let mut child = start(&role, directory.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["wrote" | "took", task, index] = words[..] else { return false };
            let (task, index): (u32, u32) = (task.parse().unwrap(), index.parse().unwrap());
            if words[0] == "wrote" {
                wrote.insert(task, index);
            } else {
                took.insert((task, index));
            }
            true
        };
        let mut left = RandomState::new().hash_one(0) % MOST_LINES;
        while left > 0 {
            left -= u64::from(note(lines.next().unwrap().unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // More may have been acknowledged before the kill; the last line may be cut.
        for line in lines.map_while(Result::ok) {
            note(line);
        }

        let store = open(backend, directory.path()).await;
        for (&task, &last) in &wrote {
            let latest = store.get("latest", &task.to_string()).await.unwrap().unwrap().value;
            assert!(index(&latest) >= last, "task {task} lost its write {last}");
            assert_eq!(latest, value(task, index(&latest)), "task {task}: torn");
            for index in 0..=last {
                let found = store.get("all", &format!("{task}/{index}")).await.unwrap();
                match found {
                    Some(found) => {
                        assert_eq!(found.value, value(task, index), "{task}/{index}: torn");
                        assert!(!took.contains(&(task, index)), "{task}/{index} came back");
                    }
                    None => assert!(index % 3 == 0, "{task}/{index} was lost"),
                }
            }
        }
        // Ends its hold on the directory before the next process begins.
        drop(store);
    }
    assert!(!wrote.is_empty(), "at least one write was acknowledged");
}

#[tokio::test]
async fn disk_loses_no_acknowledged_write() {
    survives_kills("disk").await;
}

#[tokio::test]
async fn sqlite_loses_no_acknowledged_write() {
    survives_kills("sqlite").await;
}
