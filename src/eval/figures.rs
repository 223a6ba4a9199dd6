//! Figures over all questions.
//!
//! Recall at k is the part of the questions with a hit in the first k passages, MRR the mean of 1/rank of the first hit within
//! the passages looked at (0 where there is none), nDCG the mean of each question's normalised discounted gain (Järvelin and
//! Kekäläinen 2002) with each listed page counted once. Unanswerable questions count for refusals alone.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::judge::Outcome;
use super::questions::{FOLLOW_UP, UNANSWERABLE};

/// How many passages recall looks at.
pub const CUTOFFS: [usize; 4] = [1, 3, 5, 10];

/// Part of the answerable questions that a suggested threshold may refuse.
const REFUSABLE: f64 = 0.04;

/// Figures over a set of questions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many questions.
    pub questions: usize,
    /// Part of them with a hit at each cutoff.
    pub recall: BTreeMap<usize, f64>,
    /// Mean reciprocal rank.
    pub mrr: f64,
    /// Mean normalised discounted cumulative gain.
    pub ndcg: f64,
}

/// What a threshold on the best passage's score refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Refusals {
    /// The threshold.
    pub min_score: f32,
    /// Unanswerable questions refused, and all of them.
    pub unanswerable: (usize, usize),
    /// Answerable questions refused, and all of them.
    pub answerable: (usize, usize),
    /// Part of the refused questions that are unanswerable; `None` when none was refused.
    pub precision: Option<f64>,
    /// Part of the unanswerable questions that were refused; `None` when there are none.
    pub recall: Option<f64>,
}

/// Embedding and search together, in milliseconds, by nearest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// The whole result.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Every answerable question, follow-ups with their history.
    pub answerable: Figures,
    /// The answerable without the follow-ups.
    pub without_follow_ups: Figures,
    /// By kind.
    pub by_kind: BTreeMap<String, Figures>,
    /// What the configured threshold does.
    pub refusals: Refusals,
    /// What the threshold would do that refuses most of the unanswerable questions and at most 4 % of the others, where
    /// there are both.
    pub suggested: Option<Refusals>,
    /// How long it took.
    pub latency_ms: Latency,
}

/// Adds everything up.
#[must_use]
pub fn summarise(outcomes: &[Outcome], min_score: f32) -> Summary {
    let answerable: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.kind != UNANSWERABLE).collect();
    let alone: Vec<&Outcome> = answerable.iter().copied().filter(|outcome| outcome.kind != FOLLOW_UP).collect();
    let mut by_kind: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in &answerable {
        by_kind.entry(outcome.kind.clone()).or_default().push(outcome);
    }
    Summary {
        answerable: figures(&answerable),
        without_follow_ups: figures(&alone),
        by_kind: by_kind.into_iter().map(|(kind, outcomes)| (kind, figures(&outcomes))).collect(),
        refusals: refusals(outcomes, min_score),
        suggested: suggest(outcomes),
        latency_ms: latency(outcomes),
    }
}

/// `part` of `whole`, 0 of nothing.
#[must_use]
#[allow(clippy::cast_precision_loss)] // counts of questions and sentences are small
pub fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[allow(clippy::cast_precision_loss)] // counts of questions are small
fn figures(outcomes: &[&Outcome]) -> Figures {
    let hits = |k: usize| outcomes.iter().filter(|outcome| outcome.is_hit(k)).count();
    let mean = |of: fn(&Outcome) -> f64| {
        let sum: f64 = outcomes.iter().map(|outcome| of(outcome)).sum();
        if outcomes.is_empty() { 0.0 } else { sum / outcomes.len() as f64 }
    };
    Figures {
        questions: outcomes.len(),
        recall: CUTOFFS.into_iter().map(|k| (k, ratio(hits(k), outcomes.len()))).collect(),
        mrr: mean(Outcome::reciprocal_rank),
        ndcg: mean(|outcome| outcome.ndcg),
    }
}

fn refusals(outcomes: &[Outcome], min_score: f32) -> Refusals {
    let refused = |unanswerable: bool| {
        let of_kind = outcomes.iter().filter(|outcome| (outcome.kind == UNANSWERABLE) == unanswerable);
        let (refused, kept): (Vec<_>, Vec<_>) = of_kind.partition(|outcome| outcome.relevance < min_score);
        (refused.len(), refused.len() + kept.len())
    };
    let (unanswerable, answerable) = (refused(true), refused(false));
    let all = unanswerable.0 + answerable.0;
    Refusals {
        min_score,
        unanswerable,
        answerable,
        precision: (all > 0).then(|| ratio(unanswerable.0, all)),
        recall: (unanswerable.1 > 0).then(|| ratio(unanswerable.0, unanswerable.1)),
    }
}

/// The lowest of the best thresholds, to two decimals: more than needed would refuse questions that nobody has asked yet.
fn suggest(outcomes: &[Outcome]) -> Option<Refusals> {
    let thresholds = (0..=100_u8).map(|percent| refusals(outcomes, f32::from(percent) / 100.0));
    thresholds
        .filter(|at| at.unanswerable.1 > 0 && at.answerable.1 > 0)
        .filter(|at| ratio(at.answerable.0, at.answerable.1) <= REFUSABLE)
        .reduce(|best, next| if next.unanswerable.0 > best.unanswerable.0 { next } else { best })
}

fn latency(outcomes: &[Outcome]) -> Latency {
    let mut all: Vec<Duration> = outcomes.iter().map(|outcome| outcome.latency).collect();
    all.sort();
    let at = |percent: usize| {
        let rank = (all.len() * percent).div_ceil(100);
        all.get(rank.saturating_sub(1)).map_or(0.0, |time| (time.as_secs_f64() * 1e4).round() / 10.0)
    };
    Latency { p50: at(50), p95: at(95), p99: at(99) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn outcome(kind: &str, rank: Option<usize>, relevance: f32) -> Outcome {
        Outcome {
            id: format!("{kind}-{rank:?}"),
            kind: kind.into(),
            question: "why?".into(),
            rank,
            ndcg: if rank == Some(1) { 1.0 } else { 0.0 },
            relevance,
            latency: Duration::from_millis(10),
            wanted: vec!["a.pdf, page 3".into()],
            first: None,
        }
    }

    #[test]
    fn recall_and_mrr_count_first_hits() {
        let outcomes =
            [outcome("factual", Some(1), 0.9), outcome("factual", Some(4), 0.6), outcome("follow_up", None, 0.3)];
        let summary = summarise(&outcomes, 0.5);
        assert_eq!(summary.without_follow_ups.recall, BTreeMap::from([(1, 0.5), (3, 0.5), (5, 1.0), (10, 1.0)]));
        assert!((summary.answerable.mrr - (1.0 + 0.25) / 3.0).abs() < 1e-9);
        assert!((summary.answerable.ndcg - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(summary.refusals.answerable, (1, 3));
    }

    #[test]
    fn unanswerable_questions_count_for_refusal_alone() {
        let outcomes =
            [outcome(UNANSWERABLE, None, 0.2), outcome(UNANSWERABLE, None, 0.8), outcome("factual", Some(1), 0.4)];
        let summary = summarise(&outcomes, 0.5);
        assert_eq!((summary.answerable.questions, summary.refusals.unanswerable), (1, (1, 2)));
        assert_eq!((summary.refusals.precision, summary.refusals.recall), (Some(0.5), Some(0.5)));
        assert_eq!(summarise(&outcomes[2..], 0.1).refusals.precision, None);
    }

    #[test]
    fn the_suggested_threshold_spares_the_answerable_and_is_no_higher_than_needed() {
        let outcomes =
            [outcome(UNANSWERABLE, None, 0.2), outcome(UNANSWERABLE, None, 0.8), outcome("factual", Some(1), 0.4)];
        let suggested = suggest(&outcomes).unwrap();
        assert!((suggested.min_score - 0.21).abs() < 1e-6, "{suggested:?}");
        assert_eq!((suggested.unanswerable, suggested.answerable), ((1, 2), (0, 1)));
        assert_eq!(suggest(&outcomes[2..]), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let timed = |ms| Outcome { latency: Duration::from_millis(ms), ..outcome("factual", None, 0.0) };
        let outcomes: Vec<Outcome> = (1..=100).map(timed).collect();
        assert_eq!(latency(&outcomes), Latency { p50: 50.0, p95: 95.0, p99: 99.0 });
        assert_eq!(latency(&[timed(7)]), Latency { p50: 7.0, p95: 7.0, p99: 7.0 });
        assert_eq!(latency(&[]), Latency::default());
    }
}
