//! `idle`: connections that only stay open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::arrivals::{Spacing, moments};
use crate::bench::{Bench, Common, all, until};
use crate::cli::seconds;
use crate::process::{Process, open_many_files};
use crate::student::Student;

/// Files that are open beside connections.
const OTHER_FILES: u64 = 64;

/// Time for memory to come to rest once all are connected.
const REST: Duration = Duration::from_secs(2);

/// Arguments of `idle`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "10,000 connections want `ulimit -n` above 10,100 here and for the server, and on the server max_connections,
max_conversations and the limits by address above that (0 is none).

Example:
  mentor-load idle --questions q.jsonl --pid 4711 --connections 10000 --drain --at-most kib_per_connection=40"
)]
pub struct IdleArgs {
    #[command(flatten)]
    pub common: Common,
    /// How many.
    #[arg(long, default_value_t = 1_000)]
    pub connections: usize,
    /// How many of them are made in a second.
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// Seconds that they stay. The server pings them meanwhile.
    #[arg(long, default_value = "15", value_parser = seconds)]
    pub hold: Duration,
    /// Tell the server's process to stop (SIGTERM) in the end: every connection must be closed by it.
    #[arg(long, requires = "pid")]
    pub drain: bool,
}

/// Runs it.
///
/// # Errors
/// When so many files cannot be opened, or a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &IdleArgs) -> anyhow::Result<()> {
    let allowed = open_many_files();
    ensure!(
        allowed > arguments.connections as u64 + OTHER_FILES,
        "{} connections need as many open files, and `ulimit -Hn` allows {allowed}",
        arguments.connections
    );
    for name in ["connected", "closed_by_server", "closed_1001", "lost"] {
        bench.figures.add(name, 0);
    }
    let before = bench.usage();
    let (end, ended) = watch::channel(false);
    let start = Instant::now();
    let moments = moments(Spacing::Fixed, arguments.connections, arguments.rate, &mut bench.random(0));
    let mut clients = JoinSet::new();
    let last = *moments.last().unwrap_or(&Duration::ZERO);
    for (number, moment) in moments.into_iter().enumerate() {
        clients.spawn(stay(bench.clone(), number, start + moment, ended.clone()));
    }
    until(start + last).await;
    wait_until_connected(bench, arguments.connections).await;
    tokio::time::sleep(REST).await;
    let connected = bench.usage();
    tokio::time::sleep(arguments.hold).await;
    let held = bench.usage();
    if let (Some(before), Some(connected), Some(held)) = (before, connected, held) {
        let most = connected.resident_kib.max(held.resident_kib);
        let opened = bench.figures.counted("connected").max(1);
        bench.figures.set("kib_per_connection", (most as f64 - before.resident_kib as f64) / opened as f64);
        bench
            .figures
            .set("cpu_percent_idle", (held.cpu_seconds - connected.cpu_seconds) / arguments.hold.as_secs_f64() * 100.0);
    }
    let stopping = Instant::now();
    if let (true, Some(pid)) = (arguments.drain, bench.common.pid) {
        Process(pid).signal(libc::SIGTERM)?;
    } else {
        // All of them listen for as long as they live.
        let _heard = end.send(true);
    }
    all(clients).await?;
    if arguments.drain {
        bench.figures.set("drain_s", stopping.elapsed().as_secs_f64());
    }
    Ok(())
}

/// All are connected, or have had the time for it.
async fn wait_until_connected(bench: &Bench, connections: usize) {
    let patience = Instant::now() + bench.common.connect_deadline;
    let done = || bench.figures.counted("connected") + bench.figures.counted("not_connected") >= connections as u64;
    while !done() && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn stay(bench: Arc<Bench>, number: usize, due: Instant, mut ended: watch::Receiver<bool>) {
    until(due).await;
    let figures = &bench.figures;
    let mut student = Student::new(&bench, &number.to_string());
    if let Err(failure) = student.connect().await {
        figures.count("not_connected");
        return figures.failed(&failure);
    }
    figures.count("connected");
    figures.time("ready_ms", due.elapsed());
    let closed = async {
        loop {
            if let Err(failure) = student.hear().await {
                break failure;
            }
        }
    };
    tokio::select! {
        failure = closed => match failure.code.as_str() {
            "closed_1001" => {
                figures.count("closed_by_server");
                figures.count("closed_1001");
            }
            code if code.starts_with("closed_") => {
                figures.count("closed_by_server");
                figures.failed(&failure);
            }
            _ => {
                figures.count("lost");
                figures.failed(&failure);
            }
        },
        _ = ended.changed() => {}
    }
}
