//! `overload`: as much as there is room for, then many times that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::task::JoinSet;

use crate::arrivals::{Spacing, moments};
use crate::bench::{Bench, Common, HighWater, all, until};
use crate::cli::seconds;
use crate::student::{Ending, Names, Student};

/// The part of the overload after which memory is taken to have come to rest.
const REST: f64 = 0.2;

const CAPACITY: Names =
    Names { first_token: "capacity_first_token_ms", token_delay: "capacity_delay_ms", total: "capacity_total_ms" };
const ACCEPTED: Names =
    Names { first_token: "accepted_first_token_ms", token_delay: "accepted_delay_ms", total: "accepted_total_ms" };

/// Arguments of `overload`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "First as many clients as the server has places ask one question after the other: that is its capacity. Then
questions come at many times the rate that was answered, whether there is room or not.

Example:
  mentor-load overload --questions q.jsonl --pid 4711 --places 32 --factor 10 --seconds 300 --max-tokens 40 \\
    --at-most rejected_ms.p99=50 --at-most accepted_p95_ratio=1.2 --at-most memory_growth_percent=5"
)]
pub struct OverloadArgs {
    #[command(flatten)]
    pub common: Common,
    /// Turns that the server takes at once, running and waiting: its `max_turns`.
    #[arg(long, default_value_t = 32)]
    pub places: usize,
    /// Clients that are ready to ask; one that asks is not ready until it was answered.
    #[arg(long, default_value_t = 200)]
    pub clients: usize,
    /// Seconds at capacity.
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub capacity_seconds: Duration,
    /// Seconds of overload.
    #[arg(long, default_value = "60", value_parser = seconds)]
    pub seconds: Duration,
    /// How many times the rate of answers questions then come.
    #[arg(long, default_value_t = 10.0)]
    pub factor: f64,
}

/// Runs it.
///
/// # Errors
/// When nothing was answered at capacity, or a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &OverloadArgs) -> anyhow::Result<()> {
    let figures = &bench.figures;
    for name in ["rejected", "no_client_was_ready"] {
        figures.add(name, 0);
    }
    fill(bench, arguments).await?;
    let answered = figures.summary(CAPACITY.total).map_or(0, |total| total.count);
    ensure!(answered > 0, "nothing was answered at capacity: {:?}", figures.take().trouble.examples);
    let capacity = answered as f64 / arguments.capacity_seconds.as_secs_f64();
    figures.set("capacity_per_s", capacity);
    flood(bench, arguments, capacity * arguments.factor).await?;
    if let (Some(before), Some(under)) = (figures.summary(CAPACITY.total), figures.summary(ACCEPTED.total)) {
        figures.set("accepted_p95_ratio", under.p95 / before.p95);
        figures.set("accepted_per_s", under.count as f64 / arguments.seconds.as_secs_f64());
    }
    Ok(())
}

/// All places are always taken.
async fn fill(bench: &Arc<Bench>, arguments: &OverloadArgs) -> anyhow::Result<()> {
    let end = Instant::now() + arguments.capacity_seconds;
    let mut clients = JoinSet::new();
    for number in 0..arguments.places {
        let bench = bench.clone();
        clients.spawn(async move {
            let mut student = Student::new(&bench, &format!("capacity-{number}")).measured_as(CAPACITY);
            if let Err(failure) = student.connect().await {
                return bench.figures.failed(&failure);
            }
            for turn in 0.. {
                let due = Instant::now();
                if due >= end {
                    return;
                }
                match student.take_turn(&format!("turn-{turn}"), bench.question(number + turn), due).await {
                    Ok(Ending::Completed(_)) => {}
                    Ok(Ending::Failed(failure)) => {
                        bench.figures.failed(&failure);
                        failure.back_off().await;
                    }
                    Err(failure) => return bench.figures.failed(&failure),
                }
            }
        });
    }
    all(clients).await
}

/// Clients that are ready to ask.
type Pool = Arc<Mutex<Vec<Student>>>;

async fn flood(bench: &Arc<Bench>, arguments: &OverloadArgs, rate: f64) -> anyhow::Result<()> {
    let pool = Pool::default();
    for number in 0..arguments.clients {
        let mut student = Student::new(bench, &format!("flood-{number}")).measured_as(ACCEPTED);
        match student.connect().await {
            Ok(()) => pool.lock().unwrap_or_else(PoisonError::into_inner).push(student),
            Err(failure) => bench.figures.failed(&failure),
        }
    }
    let count = (rate * arguments.seconds.as_secs_f64()) as usize;
    let moments = moments(Spacing::Poisson, count, rate, &mut bench.random(0));
    let start = Instant::now();
    let memory = tokio::spawn(watch_memory(bench.clone(), arguments.seconds));
    let mut asking = JoinSet::new();
    for (number, moment) in moments.into_iter().enumerate() {
        until(start + moment).await;
        let ready = pool.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match ready {
            Some(student) => drop(asking.spawn(ask(bench.clone(), pool.clone(), student, number, start + moment))),
            None => bench.figures.count("no_client_was_ready"),
        }
        while asking.try_join_next().is_some() {}
    }
    all(asking).await?;
    if let Some(percent) = memory.await? {
        bench.figures.set("memory_growth_percent", percent);
    }
    Ok(())
}

/// Asks once, and is ready again unless the connection was lost.
async fn ask(bench: Arc<Bench>, pool: Pool, mut student: Student, number: usize, due: Instant) {
    match student.take_turn(&format!("turn-{number}"), bench.question(number), due).await {
        Ok(Ending::Completed(_)) => {}
        Ok(Ending::Failed(failure)) if failure.code == "overloaded" => bench.figures.count("rejected"),
        Ok(Ending::Failed(failure)) => bench.figures.failed(&failure),
        Err(failure) => return bench.figures.failed(&failure),
    }
    // At the front: who asked longest ago asks next, so that all conversations grow alike.
    pool.lock().unwrap_or_else(PoisonError::into_inner).insert(0, student);
}

/// How much more memory there is in the rest of the overload than when it had settled.
async fn watch_memory(bench: Arc<Bench>, time: Duration) -> Option<f64> {
    tokio::time::sleep(time.mul_f64(REST)).await;
    let settled = bench.resident_mib()?;
    let memory = HighWater::start(bench);
    tokio::time::sleep(time.mul_f64(1.0 - REST)).await;
    Some((memory.stop().await? / settled - 1.0) * 100.0)
}
