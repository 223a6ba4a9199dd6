//! `slow`: clients that ask and never read, beside others that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::task::JoinSet;

use super::readers::{ALONE, BESIDE, compare, read};
use crate::bench::{Bench, Common, HighWater};
use crate::frame::ClientFrame;
use crate::student::{Names, Student};

/// Half of the slow clients hold so little that they are stuck at once; the kernel of the others takes what nobody reads.
const TIGHT_BUFFER_BYTES: u32 = 4 * 1_024;

/// What the slow clients' places are called while clients have them that read.
const BEHAVING: Names =
    Names { first_token: "others_first_token_ms", token_delay: "others_delay_ms", total: "others_total_ms" };

/// How often a slow client asks for everything once more, so that there is more to send than any buffer holds.
const AGAIN: Duration = Duration::from_millis(250);

/// How often the server is asked how many connections it has.
const LOOK: Duration = Duration::from_millis(500);

/// Longest wait for the server to be rid of them.
const PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `slow`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "First all of them read, then those that are slow do not: so what is compared has the same number of answers, and
growth_mib is what not reading costs a server that has given as many answers before. An answer should take longer than the 30 s in which the server has to be rid of slow clients.

Example:
  mentor-load slow --questions q.jsonl --pid 4711 --healthy 50 --slow 100 --max-tokens 900 \\
    --at-most growth_mib=25 --at-most evicted_after_s=30 --at-least evicted=100 --at-most delay_p99_ratio=1.5"
)]
pub struct SlowArgs {
    #[command(flatten)]
    pub common: Common,
    /// Clients that read.
    #[arg(long, default_value_t = 50)]
    pub healthy: usize,
    /// Clients that do not.
    #[arg(long, default_value_t = 100)]
    pub slow: usize,
}

/// Runs it.
///
/// # Errors
/// When a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &SlowArgs) -> anyhow::Result<()> {
    let figures = &bench.figures;
    let open = Arc::new(AtomicUsize::new(0));
    let (alone, others) =
        tokio::join!(read(bench, &open, ALONE, arguments.healthy), read(bench, &open, BEHAVING, arguments.slow));
    alone.and(others)?;
    let (before, memory) = (bench.resident_mib(), HighWater::start(bench.clone()));
    let evicted_before = metric(bench, "mentor_ws_evictions_total").await;
    let mut slow: JoinSet<()> = (0..arguments.slow).map(|number| never_read(bench.clone(), number)).collect();
    let eviction = wait_for_eviction(bench, &open, arguments.slow);
    let (read, ()) = tokio::join!(read(bench, &open, BESIDE, arguments.healthy), eviction);
    read?;
    figures.set("evicted", metric(bench, "mentor_ws_evictions_total").await - evicted_before);
    if let (Some(before), Some(most)) = (before, memory.stop().await) {
        figures.set("growth_mib", most - before);
    }
    compare(bench);
    slow.shutdown().await;
    Ok(())
}

/// A metric of the server, 0 where it cannot be read.
async fn metric(bench: &Bench, name: &str) -> f64 {
    bench.metric(name).await.inspect_err(|failure| bench.figures.failed(failure)).unwrap_or_default()
}

/// Asks, and never reads again. Ends only with the run, or when the server's end of the connection does.
async fn never_read(bench: Arc<Bench>, number: usize) {
    let is_tight = number.is_multiple_of(2);
    let mut student = Student::new(&bench, &format!("slow-{number}"));
    if is_tight {
        student = student.with_receive_buffer(TIGHT_BUFFER_BYTES);
    }
    if let Err(failure) = student.connect().await {
        return bench.figures.failed(&failure);
    }
    if let Err(failure) = student.ask("turn", bench.question(number), Instant::now()).await {
        return bench.figures.failed(&failure);
    }
    bench.figures.count("slow_clients");
    while is_tight && student.say(&ClientFrame::Resume { after: 0 }).await.is_ok() {
        tokio::time::sleep(AGAIN).await;
    }
    std::future::pending::<()>().await;
}

/// Waits until the server has no connections but those of clients that read.
async fn wait_for_eviction(bench: &Bench, open: &AtomicUsize, slow: usize) {
    let figures = &bench.figures;
    let patience = Instant::now() + PATIENCE;
    while figures.counted("slow_clients") < slow as u64 && Instant::now() < patience {
        tokio::time::sleep(LOOK).await;
    }
    let start = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let connections = metric(bench, "mentor_ws_connections").await;
        if connections <= open.load(Ordering::Relaxed) as f64 {
            return figures.set("evicted_after_s", start.elapsed().as_secs_f64());
        }
        if Instant::now() > patience {
            return figures.note(format!("{connections} connections were still open after {} s", PATIENCE.as_secs()));
        }
    }
}
