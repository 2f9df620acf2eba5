//! Processes that are killed at random points, on every backend that keeps files: what they were
//! told is there, whole.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    io::{BufRead, BufReader},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use kv_storage::{Disk, KeyValue, Sqlite, Ttl};
use tokio::{task::JoinSet, time};

use crate::processes::start;

const KILLS: usize = 6;
const TASKS: u32 = 4;

/// Of this many acknowledged operations, one is the last before the kill.
const MOST_LINES: u64 = 120;

/// So many records that live shortly, each so long, are written at once: more than a file of `Disk`
/// has to hold to be made smaller, once they are swept.
const PASSING: usize = 40;
const PASSING_BYTES: usize = 256 * 1024;
const PASSING_TTL: Duration = Duration::from_millis(20);

/// Ends the role of a process that writes them. They take time, so it is killed sooner.
const PASSING_ROLE: &str = " passing";
const MOST_LINES_WHILE_PASSING: u64 = 24;

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
    let (backend, passing) = match backend.strip_suffix(PASSING_ROLE) {
        Some(backend) => (backend, true),
        None => (backend, false),
    };
    let store = open(backend, directory).await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move { write_on(&*store, task).await });
    }
    if passing {
        tasks.spawn(async move { pass(&*store).await });
    }
    tasks.join_all().await;
}

/// Has expired records swept, and files made smaller, all the time.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn pass(store: &dyn KeyValue) {
    loop {
        let puts = (0..PASSING).map(async |index| {
            let (key, value) = (index.to_string(), vec![1; PASSING_BYTES].into());
            store.put("passing", &key, value, Ttl::After(PASSING_TTL)).await.unwrap();
        });
        futures_util::future::join_all(puts).await;
        println!("passing");
        time::sleep(2 * PASSING_TTL).await;
    }
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

/// What a process says.
#[derive(Eq, PartialEq)]
enum Line {
    Acknowledged,
    Passing,
}

async fn survives_kills(backend: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut wrote = HashMap::new();
    let mut took = HashSet::new();
    // What was about to be taken when its process was killed.
    let mut perhaps_took = HashSet::new();
    for kill in 0..KILLS {
        let passing = kill % 3 == 1;
        let role = format!("crash {backend}{}", if passing { PASSING_ROLE } else { "" });
        let mut child = start(&role, directory.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| {
            if line == "passing" {
                return Some(Line::Passing);
            }
            let words: Vec<_> = line.split_whitespace().collect();
            let ["wrote" | "took", task, index] = words[..] else { return None };
            let (task, index): (u32, u32) = (task.parse().unwrap(), index.parse().unwrap());
            if words[0] == "wrote" {
                wrote.insert(task, index);
            } else {
                took.insert((task, index));
            }
            Some(Line::Acknowledged)
        };
        // From then on records expire and space is given back.
        while passing && note(lines.next().unwrap().unwrap()) != Some(Line::Passing) {}
        let most = if passing { MOST_LINES_WHILE_PASSING } else { MOST_LINES };
        let mut left = RandomState::new().hash_one(0) % most;
        while left > 0 {
            left -= u64::from(note(lines.next().unwrap().unwrap()).is_some());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // More may have been acknowledged before the kill; the last line may be cut.
        for line in lines.map_while(Result::ok) {
            note(line);
        }

        perhaps_took.extend(wrote.iter().map(|(&task, &last)| (task, last)));

        let store = open(backend, directory.path()).await;
        for (&task, &last) in &wrote {
            let latest = store.get("latest", &task.to_string()).await.unwrap().unwrap().value;
            assert!(index(&latest) >= last, "task {task} lost its write {last}");
            assert_eq!(latest, value(task, index(&latest)), "task {task}: torn");
            for index in 0..=last {
                let found = store.get("all", &format!("{task}/{index}")).await.unwrap();
                if let Some(found) = found {
                    assert_eq!(found.value, value(task, index), "{task}/{index}: torn");
                    assert!(!took.contains(&(task, index)), "{task}/{index} came back");
                } else {
                    let index_of = (task, index);
                    let taken = took.contains(&index_of) || perhaps_took.contains(&index_of);
                    assert!(index % 3 == 0 && taken, "{task}/{index} was lost");
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
