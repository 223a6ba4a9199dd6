//! `drop`: clients that lose their connection at any moment of an answer, and come back for the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;

use crate::bench::{Bench, Common, all};
use crate::check::Resuming;
use crate::failure::Failure;
use crate::random::Random;
use crate::student::{Ending, Leave, Student};

/// Arguments of `drop`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Every event must come once and in order over all connections, and the answer must be stored as it was said.

Example:
  mentor-load drop --questions q.jsonl --conversations 200 --drops 10000 --max-tokens 300 --at-least drops=10000"
)]
pub struct DropArgs {
    #[command(flatten)]
    pub common: Common,
    /// Clients, each with a conversation of its own, who ask until enough connections were lost.
    #[arg(long, default_value_t = 50)]
    pub conversations: usize,
    /// Connections that are lost in the middle of a turn, of all clients together.
    #[arg(long, default_value_t = 1_000)]
    pub drops: usize,
    /// Seconds that a connection lasts, on average.
    #[arg(long, default_value_t = 1.0)]
    pub connected: f64,
    /// Seconds that a client is away, on average.
    #[arg(long, default_value_t = 0.2)]
    pub away: f64,
}

/// Runs it.
///
/// # Errors
/// When a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &DropArgs) -> anyhow::Result<()> {
    for name in ["drops", "turns_completed", "stored_equal", "turns_lost"] {
        bench.figures.add(name, 0);
    }
    let left = Arc::new(AtomicUsize::new(arguments.drops));
    let clients: JoinSet<()> = (0..arguments.conversations)
        .map(|number| {
            let client = Dropper {
                student: Student::new(bench, &format!("drop-{number}")),
                random: bench.random(number),
                left: left.clone(),
                arguments: arguments.clone(),
                bench: bench.clone(),
            };
            client.run(number)
        })
        .collect();
    all(clients).await
}

/// One client.
struct Dropper {
    student: Student,
    random: Random,
    /// Connections that are still to be lost.
    left: Arc<AtomicUsize>,
    arguments: DropArgs,
    bench: Arc<Bench>,
}

impl Dropper {
    async fn run(mut self, number: usize) {
        if let Err(failure) = self.student.connect().await {
            return self.bench.figures.failed(&failure);
        }
        for turn in 0.. {
            let (turn_id, question) = (format!("turn-{turn}"), self.bench.question(number + turn).to_owned());
            match self.take_turn(&turn_id, &question).await {
                Ok(Ending::Completed(done)) => self.student.compare_stored(&turn_id, &done.answer).await,
                Ok(Ending::Failed(failure)) => {
                    self.bench.figures.failed(&failure);
                    failure.back_off().await;
                }
                Err(failure) => {
                    self.bench.figures.count("turns_lost");
                    return self.bench.figures.failed(&failure);
                }
            }
            if self.left.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    /// A turn over as many connections as it takes.
    async fn take_turn(&mut self, turn_id: &str, question: &str) -> Result<Ending, Failure> {
        let asked = Instant::now();
        self.student.ask(turn_id, question, asked).await?;
        while self.take_drop() {
            let time = self.random.wait(Duration::from_secs_f64(self.arguments.connected));
            if let Some(ending) = self.student.follow_for(time).await? {
                self.left.fetch_add(1, Ordering::Relaxed);
                return Ok(ending);
            }
            self.bench.figures.count("drops");
            self.student.leave([Leave::Goodbye, Leave::Silently, Leave::Abruptly][self.random.below(3)]).await;
            tokio::time::sleep(self.random.wait(Duration::from_secs_f64(self.arguments.away))).await;
            let back = Instant::now();
            self.student.resume(Resuming::SameServer).await?;
            self.bench.figures.time("resume_ms", back.elapsed());
            // The question may have been lost with the connection; the same turn once more starts nothing.
            self.student.ask(turn_id, question, asked).await?;
        }
        let deadline = self.bench.common.turn_deadline;
        crate::failure::within(deadline, "the turn", self.student.follow()).await
    }

    fn take_drop(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
