//! Two things in turns, so that whatever else the machine does slows both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Data,
    operation::{Operation, Subject},
};

/// How long one turn takes, about.
const TURN: Duration = Duration::from_millis(40);

/// How many turns each has; odd, for the middle one counts.
const TURNS: usize = 15;

pub(crate) struct Figures {
    /// Each of them is one operation in every task.
    pub(crate) rounds_per_second: f64,
    /// How many times as fast as the other.
    pub(crate) ratio: f64,
}

/// Measures both in turns; each is told how many rounds to run, and says how long it took.
pub(crate) fn in_turns(
    mut ours: impl FnMut(u64) -> Duration,
    mut raw: impl FnMut(u64) -> Duration,
) -> Figures {
    let (our_rounds, raw_rounds) = (rounds_of_a_turn(&mut ours), rounds_of_a_turn(&mut raw));
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let ours = rate(our_rounds, ours(our_rounds));
        rates.push(ours);
        ratios.push(ours / rate(raw_rounds, raw(raw_rounds)));
    }
    Figures { rounds_per_second: median(rates), ratio: median(ratios) }
}

/// Warms up on the way.
fn rounds_of_a_turn(run: &mut impl FnMut(u64) -> Duration) -> u64 {
    let mut rounds = 1;
    loop {
        let took = run(rounds);
        if took >= TURN / 2 {
            return rounds;
        }
        rounds *= 2;
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 rounds")]
fn rate(rounds: u64, took: Duration) -> f64 {
    rounds as f64 / took.as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs `operation` for `rounds` times in each of `tasks` tasks at once; how long all took.
pub(crate) async fn spread(
    operation: Operation,
    subject: &Subject,
    data: &Arc<Data>,
    tasks: usize,
    rounds: u64,
) -> Duration {
    let mut running = JoinSet::new();
    let begun = Instant::now();
    for task in 0..tasks {
        let (subject, data) = (subject.clone(), Arc::clone(data));
        running.spawn(async move {
            for round in 0..rounds {
                subject.run(operation, &data, task, round).await;
            }
        });
    }
    running.join_all().await;
    begun.elapsed()
}
