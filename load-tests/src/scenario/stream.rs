//! `stream`: ask, think, ask again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;

use crate::arrivals::{Spacing, moments};
use crate::bench::{Bench, Common, all, until};
use crate::student::{Ending, Student};

/// Arguments of `stream`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  mentor-load stream --questions q.jsonl --conversations 1000 --rate 50 --max-tokens 1600 --at-most token_delay_ms.p99=50")]
pub struct StreamArgs {
    #[command(flatten)]
    pub common: Common,
    /// Clients, each with a conversation of its own.
    #[arg(long, default_value_t = 20)]
    pub conversations: usize,
    /// How many of them come in a second, whether the server keeps up or not.
    #[arg(long, default_value_t = 10.0)]
    pub rate: f64,
    /// How their moments are spread.
    #[arg(long, value_enum, default_value = "poisson")]
    pub spacing: Spacing,
    /// Questions of each.
    #[arg(long, default_value_t = 1)]
    pub turns: usize,
    /// Seconds that a client thinks between an answer and its next question, on average.
    #[arg(long, default_value_t = 2.0)]
    pub think: f64,
    /// Compare every answer with the stored one.
    #[arg(long)]
    pub verify: bool,
}

/// Runs it.
///
/// # Errors
/// When a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &StreamArgs) -> anyhow::Result<()> {
    bench.figures.add("turns_completed", 0);
    let moments = moments(arguments.spacing, arguments.conversations, arguments.rate, &mut bench.random(0));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for (number, moment) in moments.into_iter().enumerate() {
        clients.spawn(study(bench.clone(), arguments.clone(), number, start + moment));
    }
    all(clients).await
}

/// What one client does, from the moment it comes.
async fn study(bench: Arc<Bench>, arguments: StreamArgs, number: usize, mut due: Instant) {
    until(due).await;
    let mut random = bench.random(number + 1);
    let mut student = Student::new(&bench, &format!("stream-{number}"));
    if let Err(failure) = student.connect().await {
        return bench.figures.failed(&failure);
    }
    bench.figures.time("ready_ms", due.elapsed());
    for turn in 0..arguments.turns {
        let turn_id = format!("turn-{turn}");
        let question = bench.question(number * arguments.turns + turn);
        match student.take_turn(&turn_id, question, due).await {
            Ok(Ending::Completed(done)) if arguments.verify => student.compare_stored(&turn_id, &done.answer).await,
            Ok(Ending::Completed(_)) => {}
            Ok(Ending::Failed(failure)) => bench.figures.failed(&failure),
            Err(failure) => {
                bench.figures.count("turns_lost");
                return bench.figures.failed(&failure);
            }
        }
        due = Instant::now() + random.wait(Duration::from_secs_f64(arguments.think.max(0.0)));
        if turn + 1 < arguments.turns {
            until(due).await;
        }
    }
}
