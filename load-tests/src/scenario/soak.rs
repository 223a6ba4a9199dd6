//! `soak`: everything in turn for a long time, and whether memory and open files come to rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use super::{cancel, drop, malformed, stream};
use crate::arrivals::Spacing;
use crate::bench::{Bench, Common};
use crate::cli::seconds;
use crate::process::Usage;

/// Rest between two rounds, in which the server's process is looked at.
const REST: Duration = Duration::from_secs(1);

/// Arguments of `soak`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Rounds of stream, drop and cancel at once, and malformed frames behind them. The first fifth of them warms up;
growth is from the fifth behind it to the last one.

Example:
  mentor-load soak --questions q.jsonl --pid 4711 --seconds 28800 --max-tokens 60 \\
    --at-most memory_growth_percent=5 --at-most files_growth=8"
)]
pub struct SoakArgs {
    #[command(flatten)]
    pub common: Common,
    /// How long, in seconds; the last round is finished.
    #[arg(long, default_value = "600", value_parser = seconds)]
    pub seconds: Duration,
    /// Clients of each kind.
    #[arg(long, default_value_t = 10)]
    pub clients: usize,
}

/// Runs it.
///
/// # Errors
/// When a client panicked.
pub async fn run(bench: &Arc<Bench>, arguments: &SoakArgs) -> anyhow::Result<()> {
    let (common, clients) = (arguments.common.clone(), arguments.clients);
    let stream = stream::StreamArgs {
        common: common.clone(),
        conversations: clients,
        rate: 10.0,
        spacing: Spacing::Poisson,
        turns: 2,
        think: 0.5,
        verify: true,
    };
    let drop = drop::DropArgs {
        common: common.clone(),
        conversations: clients,
        drops: clients * 5,
        connected: 0.5,
        away: 0.1,
    };
    let cancel = cancel::CancelArgs { common: common.clone(), conversations: clients, turns: 2, after: 0.5 };
    let malformed = malformed::MalformedArgs { common, rounds: 1 };
    let end = Instant::now() + arguments.seconds;
    let mut usages = Vec::new();
    while Instant::now() < end {
        let bench = bench.round(usages.len());
        let (streamed, dropped, cancelled) =
            tokio::join!(stream::run(&bench, &stream), drop::run(&bench, &drop), cancel::run(&bench, &cancel));
        streamed.and(dropped).and(cancelled)?;
        malformed::run(&bench, &malformed).await?;
        bench.figures.count("rounds");
        tokio::time::sleep(REST).await;
        usages.extend(bench.usage());
    }
    if let Some(growth) = growth(&usages) {
        bench.figures.set("memory_growth_percent", growth.memory_percent);
        bench.figures.set("files_growth", growth.files);
    }
    Ok(())
}

/// From the second fifth of the rounds to the last one.
#[derive(Debug, PartialEq)]
struct Growth {
    memory_percent: f64,
    files: f64,
}

/// `None` with fewer than five rounds.
fn growth(usages: &[Usage]) -> Option<Growth> {
    let fifth = usages.len() / 5;
    let (early, late) = (usages.get(fifth..2 * fifth)?, &usages[usages.len() - fifth..]);
    let mean = |part: &[Usage], of: fn(&Usage) -> u64| part.iter().map(of).sum::<u64>() as f64 / part.len() as f64;
    (fifth > 0).then(|| Growth {
        memory_percent: (mean(late, |usage| usage.resident_kib) / mean(early, |usage| usage.resident_kib) - 1.0)
            * 100.0,
        files: mean(late, |usage| usage.files) - mean(early, |usage| usage.files),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_from_the_second_fifth_to_the_last() {
        let usage = |resident_kib, files| Usage { resident_kib, cpu_seconds: 0.0, files };
        let usages = [usage(50, 1), usage(100, 10), usage(100, 10), usage(105, 10), usage(110, 12)];
        let growth = growth(&usages).unwrap();
        assert!((growth.memory_percent - 10.0).abs() < 1e-9 && (growth.files - 2.0).abs() < 1e-9, "{growth:?}");
        assert_eq!(super::growth(&usages[..4]), None);
    }
}
