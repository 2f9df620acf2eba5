//! Several processes at the same records.
//!
//! A test starts its own binary again for each: [`race`] is for the test, [`compete`] for what is
//! started.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    str::FromStr,
    time::{Duration, Instant, SystemTime},
};

use tokio::{task, time};

use crate::{KeyValue, Ttl, Version, clock::system_clock};

const PROCESSES: usize = 3;

/// How often each process counts the same record up.
const COUNTS: usize = 20;

/// How long the records that are to be found expired live: stores may be exact to a second only.
const LIFE: Duration = Duration::from_secs(1);

/// How long that may take on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(50);

/// How many rounds tell something about who wins: fewer may all be one process's by chance.
const TELLING: usize = 20;

/// The operations that have one winner, by the collections that they are about.
const OPERATIONS: [&str; 6] = ["absent", "expired", "take", "delete", "swap", "compare"];

/// Starts three processes by `start`, each of which is to open the store and to [`compete`]. In
/// each of so many `rounds` all of them are told to begin at the same time; sees to it that
/// each operation has one winner in each round, that the processes were in each other's way, and
/// that not all rounds are one process's.
pub async fn race(store: &impl KeyValue, rounds: usize, mut start: impl FnMut() -> Command) {
    let versions = prepare(store, rounds).await;
    let mut racers: Vec<Racer> = (0..PROCESSES).map(|_| Racer::start(start())).collect();
    for racer in &mut racers {
        let _: String = racer.answer("ready");
    }
    let mut tally = Tally::default();
    for (round, (swap, compare)) in versions.into_iter().enumerate() {
        let order = format!("{round} {} {}\n", hexadecimal(swap), hexadecimal(compare));
        // Another one is told first each time.
        for index in 0..PROCESSES {
            racers[(round + index) % PROCESSES].tell(&order);
        }
        tally.add(round, &racers.iter_mut().map(|racer| racer.answer("won ")).collect::<Vec<_>>());
    }
    tally.check();
    for racer in racers {
        racer.finish();
    }
    let count = store.get("count", "k").await.unwrap().unwrap().value;
    assert_eq!(count, (PROCESSES * COUNTS).to_string());
}

/// Writes what the rounds are about; the versions that are to be swapped and to be deleted.
async fn prepare(store: &impl KeyValue, rounds: usize) -> Vec<(Version, Version)> {
    store.put("count", "k", "0".into(), Ttl::Forever).await.unwrap();
    let mut versions = Vec::new();
    for round in 0..rounds {
        let key = round.to_string();
        let put = |collection, ttl| store.put(collection, &key, "value".into(), ttl);
        let (expired, take, delete, swap, compare) = tokio::join!(
            put("expired", Ttl::After(LIFE)),
            put("take", Ttl::Forever),
            put("delete", Ttl::Forever),
            put("swap", Ttl::Forever),
            put("compare", Ttl::Forever),
        );
        for written in [expired, take, delete] {
            written.unwrap();
        }
        versions.push((swap.unwrap(), compare.unwrap()));
    }
    let deadline = Instant::now() + DEADLINE;
    // The last one was written last.
    let last = rounds.saturating_sub(1).to_string();
    while store.get("expired", &last).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "records do not expire");
        time::sleep(POLL).await;
    }
    versions
}

/// A process that competes, as its parent sees it.
struct Racer {
    child: Child,
    orders: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Racer {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders, lines }
    }

    fn tell(&mut self, order: &str) {
        self.orders.write_all(order.as_bytes()).unwrap();
    }

    /// What follows `word` in the line that has it; a test's harness writes into the first one.
    fn answer<T: FromStr>(&mut self, word: &str) -> T {
        let line = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(word));
        let line = line.expect("a process ended too early");
        let (_, rest) = line.split_once(word).unwrap();
        rest.parse().unwrap_or_else(|_| panic!("{line:?} cannot be read"))
    }

    /// Has it count, for nothing else is asked of it, and waits for its end.
    fn finish(self) {
        let Self { mut child, orders, lines } = self;
        drop(orders);
        lines.map_while(Result::ok).for_each(drop);
        assert!(child.wait().unwrap().success(), "a process failed");
    }
}

/// What one process did in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    won: [bool; OPERATIONS.len()],
    /// From when to when, in nanoseconds since 1970: all are on one machine.
    begun: u128,
    ended: u128,
}

impl Report {
    fn overlaps(&self, other: &Self) -> bool {
        self.begun < other.ended && other.begun < self.ended
    }
}

impl FromStr for Report {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut report = Self::default();
        let mut words = text.split(' ');
        for won in &mut report.won {
            *won = words.next() == Some("1");
        }
        report.begun = words.next().unwrap_or_default().parse()?;
        report.ended = words.next().unwrap_or_default().parse()?;
        Ok(report)
    }
}

/// What all rounds came to.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    /// Those in which two processes were at it at the same time.
    overlapping: usize,
    /// How many operations each process won.
    won: [usize; PROCESSES],
}

impl Tally {
    fn add(&mut self, round: usize, reports: &[Report]) {
        for (index, operation) in OPERATIONS.into_iter().enumerate() {
            let winners = reports.iter().filter(|report| report.won[index]).count();
            assert_eq!(winners, 1, "{operation} has one winner in round {round}");
        }
        for (sum, report) in self.won.iter_mut().zip(reports) {
            *sum += report.won.iter().filter(|&&won| won).count();
        }
        let mut pairs = (0..reports.len()).flat_map(|one| (0..one).map(move |two| (one, two)));
        let overlap = pairs.any(|(one, two)| reports[one].overlaps(&reports[two]));
        self.overlapping += usize::from(overlap);
        self.rounds += 1;
    }

    fn check(&self) {
        if self.rounds < TELLING {
            return;
        }
        assert!(self.overlapping > 0, "the processes never met, so nothing is proved: {self:?}");
        let winners = self.won.iter().filter(|&&won| won > 0).count();
        assert!(winners > 1, "one process won every round: {self:?}");
    }
}

/// What each of the processes does with a store of its own, over the records of [`race`], which
/// tells it by its standard input when.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub async fn compete(store: &impl KeyValue) {
    println!("ready");
    let clock = system_clock();
    let now = || clock().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    while let Some((round, swap, compare)) = order().await {
        let key = round.to_string();
        let value = || "mine".into();
        let begun = now();
        let (absent, expired, taken, deleted, swapped, compared) = tokio::join!(
            store.put_if_absent("absent", &key, value(), Ttl::Forever),
            store.put_if_absent("expired", &key, value(), Ttl::Forever),
            store.take("take", &key),
            store.delete("delete", &key),
            store.compare_and_swap("swap", &key, swap, value(), Ttl::Keep),
            store.compare_and_delete("compare", &key, compare),
        );
        let ended = now();
        let won: [bool; OPERATIONS.len()] = [
            absent.unwrap().is_some(),
            expired.unwrap().is_some(),
            taken.unwrap().is_some(),
            deleted.unwrap(),
            swapped.unwrap().is_some(),
            compared.unwrap(),
        ];
        let won = won.map(|won| if won { "1" } else { "0" }).join(" ");
        println!("won {won} {begun} {ended}");
    }
    for _ in 0..COUNTS {
        count_up(store).await;
    }
}

/// The next round, and the versions to swap and to delete in it.
async fn order() -> Option<(usize, Version, Version)> {
    let read = || std::io::stdin().lines().next().map(Result::unwrap);
    let line = task::spawn_blocking(read).await.unwrap()?;
    let mut words = line.split(' ');
    let round = words.next().unwrap().parse().unwrap();
    let mut version = || {
        let number = u128::from_str_radix(words.next().unwrap(), 16).unwrap();
        Version::from_bytes(number.to_be_bytes())
    };
    Some((round, version(), version()))
}

fn hexadecimal(version: Version) -> String {
    format!("{:032x}", u128::from_be_bytes(*version.as_bytes()))
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{OPERATIONS, Report, TELLING, Tally};

    /// Three processes, of which `winner` wins all, one `distance` after the other.
    fn round(winner: usize, distance: u128) -> Vec<Report> {
        let report = |index: usize| {
            let begun = distance * index as u128;
            Report { won: [index == winner; OPERATIONS.len()], begun, ended: begun + 10 }
        };
        (0..3).map(report).collect()
    }

    fn passes(rounds: impl Iterator<Item = Vec<Report>>) -> bool {
        let tally = || {
            let mut tally = Tally::default();
            for (round, reports) in rounds.enumerate() {
                tally.add(round, &reports);
            }
            tally.check();
        };
        catch_unwind(AssertUnwindSafe(tally)).is_ok()
    }

    #[test]
    fn a_race_is_one_only_if_the_processes_meet_and_share() {
        assert!(passes((0..TELLING).map(|index| round(index % 2, 1))));
        assert!(!passes((0..TELLING).map(|index| round(index % 2, 10))), "they never meet");
        assert!(!passes((0..TELLING).map(|_| round(2, 1))), "the last one wins them all");
        assert!(passes((1..TELLING).map(|_| round(2, 1))), "which may be chance");
    }

    #[test]
    fn every_round_has_one_winner() {
        let mut nobody = round(0, 1);
        nobody[0].won[3] = false;
        let mut two = round(0, 1);
        two[1].won[3] = true;
        assert!(!passes([nobody.clone()].into_iter()));
        assert!(!passes([two.clone()].into_iter()));
        assert!(!passes([nobody, two].into_iter()), "nor on average");
    }
}
