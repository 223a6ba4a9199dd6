//! Looks at the run twice a second: what a figure is over time, and what the server's process uses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::bench::Bench;

/// How often.
const INTERVAL: Duration = Duration::from_millis(500);

/// A quantity over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Series {
    /// What.
    pub name: &'static str,
    /// Seconds since the beginning of the run, and the value.
    pub points: Vec<(f64, f64)>,
}

/// A sampler at work.
pub struct Sampler {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Vec<Series>>,
}

impl Sampler {
    /// Begins to look.
    pub fn start(bench: Arc<Bench>) -> Self {
        let (stop, stopped) = oneshot::channel();
        Self { stop, task: tokio::spawn(look(bench, stopped)) }
    }

    /// What was seen.
    pub async fn stop(self) -> Vec<Series> {
        // It ends only when it is told to, or panicked: then there is nothing to plot.
        let _ended = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}

async fn look(bench: Arc<Bench>, mut stopped: oneshot::Receiver<()>) -> Vec<Series> {
    let mut series = ["p99_ms", "tokens_per_second", "resident_mib", "cpu_percent", "open_files"]
        .map(|name| Series { name, points: Vec::new() });
    let mut tick = tokio::time::interval(INTERVAL);
    let mut before = (Instant::now(), bench.figures.counted("tokens"), bench.usage());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = &mut stopped => return series.into_iter().filter(|series| series.points.len() > 1).collect(),
        }
        let now = (Instant::now(), bench.figures.counted("tokens"), bench.usage());
        let (at, passed) = ((now.0 - bench.start).as_secs_f64(), (now.0 - before.0).as_secs_f64());
        if passed < INTERVAL.as_secs_f64() / 10.0 {
            continue;
        }
        let [p99, tokens, memory, cpu, files] = &mut series;
        if let Some(window) = bench.figures.take_window() {
            p99.points.push((at, window.p99));
        }
        if now.1 > 0 {
            tokens.points.push((at, (now.1 - before.1) as f64 / passed));
        }
        if let Some(usage) = now.2 {
            memory.points.push((at, usage.resident_kib as f64 / 1_024.0));
            files.points.push((at, usage.files as f64));
            if let Some(former) = before.2 {
                cpu.points.push((at, (usage.cpu_seconds - former.cpu_seconds) / passed * 100.0));
            }
        }
        before = now;
    }
}
