//! `flood`: clients that send frames as fast as they are answered, or come and go without end, beside others that do nothing
//! wrong.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use tokio::task::JoinSet;

use super::readers::{ALONE, BESIDE, compare, read};
use crate::bench::{Bench, Common, HighWater, all};
use crate::cli::seconds;
use crate::failure::{Failure, within};
use crate::frame::{AskOptions, ClientFrame};
use crate::socket::{Received, Socket};
use crate::student::{Leave, Student};

/// Frames that are sent before the answers to them are read.
const AT_ONCE: usize = 32;

/// Arguments of `flood`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "A third of the flooding clients sends pings, a third questions, and a third connects and leaves.

Example:
  mentor-load flood --questions q.jsonl --pid 4711 --healthy 20 --flooding 30 --seconds 30 --at-most unanswered=0"
)]
pub struct FloodArgs {
    #[command(flatten)]
    pub common: Common,
    /// Clients that do nothing wrong and read one answer each, first alone and then beside the others.
    #[arg(long, default_value_t = 20)]
    pub healthy: usize,
    /// Clients that flood.
    #[arg(long, default_value_t = 30)]
    pub flooding: usize,
    /// Seconds that they do.
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub seconds: Duration,
}

/// Runs it.
///
/// # Errors
/// When a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &FloodArgs) -> anyhow::Result<()> {
    for name in ["pings_answered", "questions_answered", "came_and_went", "unanswered"] {
        bench.figures.add(name, 0);
    }
    let open = Arc::new(AtomicUsize::new(0));
    read(bench, &open, ALONE, arguments.healthy).await?;
    let (before, memory) = (bench.resident_mib(), HighWater::start(bench.clone()));
    let end = Instant::now() + arguments.seconds;
    let mut flooding = JoinSet::new();
    for number in 0..arguments.flooding {
        flooding.spawn(flood(bench.clone(), number, end));
    }
    let (beside, flooded) = tokio::join!(read(bench, &open, BESIDE, arguments.healthy), all(flooding));
    beside.and(flooded)?;
    compare(bench);
    if let (Some(before), Some(most)) = (before, memory.stop().await) {
        bench.figures.set("growth_mib", most - before);
    }
    Ok(())
}

async fn flood(bench: Arc<Bench>, number: usize, end: Instant) {
    let flooded = match number % 3 {
        0 => send(&bench, number, end, "pings_answered", |_| ClientFrame::Ping.to_json()).await,
        1 => send(&bench, number, end, "questions_answered", |turn| ask(&bench, turn)).await,
        _ => come_and_go(&bench, number, end).await,
    };
    if let Err(failure) = flooded {
        bench.figures.failed(&failure);
    }
}

fn ask(bench: &Bench, turn: usize) -> String {
    let turn_id = format!("turn-{turn}");
    let options = AskOptions { max_tokens: Some(1), seed: None };
    ClientFrame::Ask { message: bench.question(turn), turn_id: &turn_id, options }.to_json()
}

/// Sends frames and counts what answers them: a `pong`, the end of a turn, or an error.
async fn send(
    bench: &Arc<Bench>,
    number: usize,
    end: Instant,
    answered: &'static str,
    frame: impl Fn(usize) -> String,
) -> Result<(), Failure> {
    let mut student = Student::new(bench, &format!("flood-{number}"));
    student.connect().await?;
    let mut socket = student.into_socket()?;
    let mut sent = 0;
    while Instant::now() < end {
        for _ in 0..AT_ONCE {
            socket.say_text(frame(sent)).await?;
            sent += 1;
        }
        for _ in 0..AT_ONCE {
            match within(bench.common.connect_deadline, "an answer", hear_answer(&mut socket)).await {
                Ok(()) => bench.figures.count(answered),
                Err(failure) => {
                    bench.figures.count("unanswered");
                    return Err(failure);
                }
            }
        }
    }
    Ok(())
}

async fn hear_answer(socket: &mut Socket) -> Result<(), Failure> {
    loop {
        match socket.hear().await? {
            Received::Text(text, _) => {
                let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                if matches!(frame["type"].as_str(), Some("pong" | "complete" | "error")) {
                    return Ok(());
                }
            }
            Received::Binary => {}
            Received::Closed(code) => return Err(Failure::new(format!("closed_{code}"), "while it flooded")),
        }
    }
}

async fn come_and_go(bench: &Arc<Bench>, number: usize, end: Instant) -> Result<(), Failure> {
    let ways = [Leave::Goodbye, Leave::Silently, Leave::Abruptly];
    for visit in 0.. {
        if Instant::now() >= end {
            break;
        }
        let mut student = Student::new(bench, &format!("visit-{number}-{visit}"));
        student.connect().await?;
        student.leave(ways[visit % ways.len()]).await;
        bench.figures.count("came_and_went");
    }
    Ok(())
}
