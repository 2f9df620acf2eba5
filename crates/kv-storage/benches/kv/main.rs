//! Every backend, every wrapper and both ciphers, each in turns with the raw library.
//!
//! `cargo bench -p kv-storage` measures all, `cargo bench -p kv-storage -- redis` what has that word
//! in its line. A line is `KIND | STORE | BESIDE | OPERATION | BYTES | TASKS | RATE | RATIO`: how
//! often a second, and how many times as fast as what it stands beside. What could not be measured
//! is a line `left out | STORE | REASON`. `cargo xtask bench kv --write` makes the table of
//! `docs/storage.md` of them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program")]

mod ciphers;
mod measure;
mod operation;
mod raw;
mod stores;

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;

use self::{
    measure::{Figures, in_turns, spread},
    operation::{OPERATIONS, Operation, Subject},
    stores::{Pair, Stores},
};

const SIZES: [usize; 2] = [256, 4096];
const TASKS: [usize; 2] = [1, 64];

/// How many records are there before anything is measured; each task reads and writes its own.
const RECORDS: usize = 1024;

/// How many different values are written in turn.
const VALUES: usize = 64;

/// What is measured of wrappers; the other operations cost what these do.
const OF_WRAPPERS: [Operation; 2] = [Operation::Get, Operation::Put];

/// What is read and written.
struct Data {
    values: Vec<Bytes>,
    /// As long as our usual keys, which are hashes.
    keys: Vec<String>,
    /// Of records that are made and removed.
    fresh: Vec<String>,
}

impl Data {
    fn new(bytes: usize) -> Self {
        Self {
            values: values(bytes),
            keys: (0..RECORDS).map(|index| format!("{index:043}")).collect(),
            fresh: (0..RECORDS).map(|index| format!("new{index:040}")).collect(),
        }
    }

    /// Which record a task uses in a round: its own ones in turn.
    fn record(task: usize, round: u64) -> usize {
        let own = RECORDS / TASKS[1];
        task + TASKS[1] * (usize::try_from(round).unwrap() % own)
    }

    fn value(&self, task: usize, round: u64) -> Bytes {
        self.values[(task + usize::try_from(round).unwrap()) % VALUES].clone()
    }
}

/// Values that do not compress and differ from each other.
fn values(bytes: usize) -> Vec<Bytes> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..VALUES).map(|_| (0..bytes / 8).flat_map(|_| next()).collect::<Vec<_>>().into()).collect()
}

/// What is measured in one line.
struct Case<'a> {
    kind: &'a str,
    store: &'a str,
    beside: &'a str,
    operation: &'a str,
    bytes: usize,
    tasks: usize,
}

impl Case<'_> {
    /// The first half of its line.
    fn name(&self) -> String {
        let Self { kind, store, beside, operation, bytes, tasks } = self;
        format!("{kind} | {store} | {beside} | {operation} | {bytes} | {tasks}")
    }

    fn is_wanted(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|word| self.name().contains(word))
    }

    /// Measures and prints it, if it is wanted.
    fn measure(&self, wanted: Option<&str>, figures: impl FnOnce() -> Figures) {
        if self.is_wanted(wanted) {
            let Figures { rounds_per_second, ratio } = figures();
            let per_second = rounds_per_second * f64::from(u32::try_from(self.tasks).unwrap());
            println!("{} | {per_second:.0} | {ratio:.3}", self.name());
        }
    }
}

fn pair(runtime: &Runtime, pair: &Pair, bytes: usize, wanted: Option<&str>) {
    let Pair { kind, store, beside, ours, raw } = pair;
    let operations: &[Operation] = if *kind == "wrapper" { &OF_WRAPPERS } else { &OPERATIONS };
    let cases: Vec<(Operation, Case<'_>)> = operations
        .iter()
        .flat_map(|operation| TASKS.map(|tasks| (*operation, tasks)))
        .map(|(operation, tasks)| {
            (operation, Case { kind, store, beside, operation: operation.name(), bytes, tasks })
        })
        .filter(|(_, case)| case.is_wanted(wanted))
        .collect();
    if cases.is_empty() {
        return;
    }
    let data = Arc::new(Data::new(bytes));
    runtime.block_on(async {
        ours.fill(&data).await;
        raw.fill(&data).await;
    });
    for (operation, case) in cases {
        let run = |subject: &Subject, rounds| {
            runtime.block_on(spread(operation, subject, &data, case.tasks, rounds))
        };
        case.measure(None, || in_turns(|rounds| run(ours, rounds), |rounds| run(raw, rounds)));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Whoever runs every target as a test does not mean this one.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--")).map(String::as_str);
    ciphers::ciphers(wanted);
    let runtime = Runtime::new().unwrap();
    let stores = runtime.block_on(Stores::open());
    for (store, reason) in &stores.left_out {
        println!("left out | {store} | {reason}");
    }
    for one in &stores.pairs {
        for bytes in SIZES {
            pair(&runtime, one, bytes, wanted);
        }
    }
    runtime.block_on(stores.close());
}
