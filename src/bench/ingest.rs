//! An ingest's speed beside the embedder's own, from rounds that were run in turn.

use serde::Serialize;

use super::{percentile, sorted};

/// Part of the embedder's own speed that an ingest should have.
const MIN_RATIO: f64 = 0.90;
/// How long an ingest with nothing to do may take, in seconds.
const MAX_UNCHANGED_SECONDS: f64 = 2.0;

/// One of each, one after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct IngestRound {
    /// Tokens a second of the embedder with nothing else at work.
    pub embedder: f64,
    /// Tokens a second of the whole ingest with a loaded embedder, from the first look at the folder to the store's last flush.
    pub ingest: f64,
    /// Pages a second of it.
    pub pages_per_second: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct IngestFigures {
    /// Pages of the folder.
    pub pages: u64,
    /// Tokens of it.
    pub tokens: u64,
    /// Medians of the rounds.
    pub median: IngestRound,
    /// Median of the ingest's part of the embedder's speed, round by round.
    pub ratio: f64,
    /// What an ingest takes that finds nothing to do, models included.
    pub unchanged_seconds: f64,
    /// All of them.
    pub rounds: Vec<IngestRound>,
}

impl IngestFigures {
    /// Sums up.
    #[must_use]
    pub fn of(rounds: Vec<IngestRound>, pages: u64, tokens: u64, unchanged_seconds: &[f64]) -> Self {
        let median = |of: fn(&IngestRound) -> f64| percentile(&sorted(rounds.iter().map(of)), 50);
        Self {
            pages,
            tokens,
            median: IngestRound {
                embedder: median(|round| round.embedder),
                ingest: median(|round| round.ingest),
                pages_per_second: median(|round| round.pages_per_second),
            },
            ratio: median(|round| round.ingest / round.embedder),
            unchanged_seconds: percentile(&sorted(unchanged_seconds.iter().copied()), 50),
            rounds,
        }
    }

    /// What is not as it should be, a line each.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let (ratio, seconds) = (self.ratio, self.unchanged_seconds);
        let lines = [
            (ratio < MIN_RATIO).then(|| format!("{ratio:.3} of the embedder's own speed, less than {MIN_RATIO}")),
            (seconds >= MAX_UNCHANGED_SECONDS)
                .then(|| format!("{seconds:.1} s with nothing to do, {MAX_UNCHANGED_SECONDS} or more")),
        ];
        lines.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_compared_one_by_one_and_each_bar_is_held_or_named() {
        let round = |embedder, ingest| IngestRound { embedder, ingest, pages_per_second: 1.0 };
        // A busy machine halves both of a round, which says nothing about their ratio.
        let rounds = vec![round(100.0, 95.0), round(50.0, 46.0), round(100.0, 50.0)];
        let figures = IngestFigures::of(rounds, 1, 1, &[9.0, 1.0, 1.5]);
        assert!((figures.ratio - 0.92).abs() < 1e-9 && (figures.unchanged_seconds - 1.5).abs() < 1e-9);
        assert_eq!(figures.missed(), Vec::<String>::new());
        let figures = IngestFigures::of(vec![round(100.0, 89.0)], 1, 1, &[2.0]);
        assert_eq!(
            figures.missed(),
            ["0.890 of the embedder's own speed, less than 0.9", "2.0 s with nothing to do, 2 or more"]
        );
    }
}
