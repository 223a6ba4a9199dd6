//! `cancel`: clients that stop their answers at any moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;

use crate::bench::{Bench, Common, all};
use crate::failure::{Failure, within};
use crate::frame::ClientFrame;
use crate::random::Random;
use crate::student::{Ending, Student};

/// Arguments of `cancel`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:
  mentor-load cancel --questions q.jsonl --conversations 50 --turns 10 --at-most cancel_ms.p99=500")]
pub struct CancelArgs {
    #[command(flatten)]
    pub common: Common,
    /// Clients, each with a conversation of its own.
    #[arg(long, default_value_t = 20)]
    pub conversations: usize,
    /// Questions of each.
    #[arg(long, default_value_t = 10)]
    pub turns: usize,
    /// Seconds after which a client stops an answer, on average.
    #[arg(long, default_value_t = 1.0)]
    pub after: f64,
}

/// Runs it.
///
/// # Errors
/// When a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &CancelArgs) -> anyhow::Result<()> {
    bench.figures.add("cancelled", 0);
    let mut clients = JoinSet::new();
    for number in 0..arguments.conversations {
        clients.spawn(study(bench.clone(), arguments.clone(), number));
    }
    all(clients).await
}

async fn study(bench: Arc<Bench>, arguments: CancelArgs, number: usize) {
    let mut random = bench.random(number);
    let mut student = Student::new(&bench, &format!("cancel-{number}"));
    if let Err(failure) = student.connect().await {
        return bench.figures.failed(&failure);
    }
    for turn in 0..arguments.turns {
        let turn_id = format!("turn-{turn}");
        let deadline = bench.common.turn_deadline;
        let question = bench.question(number * arguments.turns + turn);
        let stopping = ask_and_stop(&bench, &mut student, &turn_id, question, &mut random, arguments.after);
        match within(deadline, "the turn", stopping).await {
            Ok(Ending::Completed(_)) => {}
            Ok(Ending::Failed(failure)) => {
                bench.figures.failed(&failure);
                failure.back_off().await;
            }
            Err(failure) => return bench.figures.failed(&failure),
        }
    }
}

async fn ask_and_stop(
    bench: &Bench,
    student: &mut Student,
    turn_id: &str,
    question: &str,
    random: &mut Random,
    after: f64,
) -> Result<Ending, Failure> {
    student.ask(turn_id, question, Instant::now()).await?;
    let wait = random.wait(Duration::from_secs_f64(after.max(0.0)));
    if let Some(ending) = student.follow_for(wait).await? {
        bench.figures.count("ended_before");
        return Ok(ending);
    }
    let stopped = Instant::now();
    student.say(&ClientFrame::Cancel).await?;
    let ending = student.follow().await?;
    if let Ending::Completed(done) = &ending {
        match done.finish_reason.as_str() {
            "cancelled" => {
                bench.figures.count("cancelled");
                bench.figures.time("cancel_ms", stopped.elapsed());
            }
            _ => bench.figures.count("ended_before"),
        }
    }
    Ok(ending)
}
