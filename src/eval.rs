//! How good retrieval is: questions with known pages, asked of the store, counted.
//!
//! A hit at k: one of the first k passages stands on a listed page of a listed file. MRR is the mean of 1/rank of the first
//! hit within the passages looked at, 0 where there is none.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mentor_actors::domain::{Found, ScoredPassage};
use serde::{Deserialize, Serialize};

/// How far down the passages are looked at.
pub const DEPTH: usize = 10;

const CUTOFFS: [usize; 4] = [1, 3, 5, 10];
const FOLLOW_UP: &str = "follow_up";
const UNANSWERABLE: &str = "unanswerable";

/// One question of the file. Other fields are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Question {
    pub id: String,
    pub kind: String,
    pub question: String,
    pub follow_up_to: Option<String>,
    #[serde(default)]
    pub sources: Vec<Gold>,
}

/// A file and its pages that answer a question.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Gold {
    pub file: String,
    pub pages: Vec<u32>,
}

/// What retrieval gave for one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The question's kind.
    pub kind: String,
    /// Place of the first hit, from 1.
    pub rank: Option<usize>,
    /// How likely the corpus answers it at all.
    pub relevance: f32,
    /// Embedding and search together.
    pub latency: Duration,
}

/// Reads a file of questions, one JSON object a line.
///
/// # Errors
/// A file that cannot be read, or a line that is no question, named by its number.
pub fn read_questions(path: &Path) -> anyhow::Result<Vec<Question>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut questions = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", path.display(), index + 1);
        questions.push(serde_json::from_str(line).with_context(place)?);
    }
    if questions.is_empty() {
        bail!("{}: no questions", path.display());
    }
    Ok(questions)
}

/// The questions before a follow-up, oldest first.
#[must_use]
pub fn history<'a>(question: &Question, all: &'a [Question]) -> Vec<&'a str> {
    let by_id: HashMap<&str, &Question> = all.iter().map(|question| (question.id.as_str(), question)).collect();
    let mut before = Vec::new();
    let mut at = question.follow_up_to.as_deref();
    // A chain can't be longer than the file, so a circle in it ends too.
    while let Some(earlier) = at.and_then(|id| by_id.get(id)).filter(|_| before.len() < all.len()) {
        before.push(earlier.question.as_str());
        at = earlier.follow_up_to.as_deref();
    }
    before.reverse();
    before
}

/// Counts what was found for a question.
#[must_use]
pub fn judge(question: &Question, found: &Found, latency: Duration) -> Outcome {
    let hit = |scored: &ScoredPassage| {
        let passage = &scored.passage;
        let page = passage.page.unwrap_or(1);
        question.sources.iter().any(|gold| gold.file == passage.file_name && gold.pages.contains(&page))
    };
    Outcome {
        kind: question.kind.clone(),
        rank: found.passages.iter().position(hit).map(|index| index + 1),
        relevance: found.relevance,
        latency,
    }
}

/// Figures over a set of questions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many questions.
    pub questions: usize,
    /// Part of them with a hit at each cutoff.
    pub recall: BTreeMap<usize, f64>,
    /// Mean reciprocal rank.
    pub mrr: f64,
}

/// Part of the questions refused at the threshold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Refusals {
    /// The threshold.
    pub min_score: f32,
    /// Unanswerable questions refused, and all of them.
    pub unanswerable: (usize, usize),
    /// Answerable questions refused, and all of them.
    pub answerable: (usize, usize),
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
    /// What the threshold does.
    pub refusals: Refusals,
    /// Median and 95th percentile of embedding and search together, in milliseconds.
    pub latency_ms: (f64, f64),
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
    let refused = |unanswerable: bool| {
        let of_kind = outcomes.iter().filter(|outcome| (outcome.kind == UNANSWERABLE) == unanswerable);
        let (refused, kept): (Vec<_>, Vec<_>) = of_kind.partition(|outcome| outcome.relevance < min_score);
        (refused.len(), refused.len() + kept.len())
    };
    Summary {
        answerable: figures(&answerable),
        without_follow_ups: figures(&alone),
        by_kind: by_kind.into_iter().map(|(kind, outcomes)| (kind, figures(&outcomes))).collect(),
        refusals: Refusals { min_score, unanswerable: refused(true), answerable: refused(false) },
        latency_ms: (percentile_ms(outcomes, 50), percentile_ms(outcomes, 95)),
    }
}

#[allow(clippy::cast_precision_loss)] // counts of questions are small
fn figures(outcomes: &[&Outcome]) -> Figures {
    let of = |count: usize| if outcomes.is_empty() { 0.0 } else { count as f64 / outcomes.len() as f64 };
    let hits = |k: usize| outcomes.iter().filter(|outcome| outcome.rank.is_some_and(|rank| rank <= k)).count();
    let reciprocal: f64 = outcomes.iter().filter_map(|outcome| outcome.rank).map(|rank| 1.0 / rank as f64).sum();
    Figures {
        questions: outcomes.len(),
        recall: CUTOFFS.into_iter().map(|k| (k, of(hits(k)))).collect(),
        mrr: if outcomes.is_empty() { 0.0 } else { reciprocal / outcomes.len() as f64 },
    }
}

fn percentile_ms(outcomes: &[Outcome], percent: usize) -> f64 {
    let mut all: Vec<Duration> = outcomes.iter().map(|outcome| outcome.latency).collect();
    all.sort();
    all.get(all.len().saturating_sub(1) * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<22}{:>10}", "", "questions")?;
        CUTOFFS.iter().try_for_each(|k| write!(f, "{:>11}", format!("recall@{k}")))?;
        writeln!(f, "{:>8}", "MRR")?;
        row(f, "answerable", &self.answerable)?;
        row(f, "without follow-ups", &self.without_follow_ups)?;
        self.by_kind.iter().try_for_each(|(kind, figures)| row(f, &format!("  {kind}"), figures))?;
        let Refusals { min_score, unanswerable, answerable } = self.refusals;
        writeln!(
            f,
            "refused below {min_score}: {} of {} unanswerable, {} of {} answerable",
            unanswerable.0, unanswerable.1, answerable.0, answerable.1
        )?;
        write!(f, "embed and search: p50 {:.1} ms, p95 {:.1} ms", self.latency_ms.0, self.latency_ms.1)
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures) -> fmt::Result {
    write!(f, "{name:<22}{:>10}", figures.questions)?;
    figures.recall.values().try_for_each(|recall| write!(f, "{recall:>11.3}"))?;
    writeln!(f, "{:>8.3}", figures.mrr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: &str, rank: Option<usize>, relevance: f32) -> Outcome {
        Outcome { kind: kind.into(), rank, relevance, latency: Duration::from_millis(10) }
    }

    #[test]
    fn recall_and_mrr_count_first_hits() {
        let outcomes =
            [outcome("factual", Some(1), 0.9), outcome("factual", Some(4), 0.6), outcome("follow_up", None, 0.3)];
        let summary = summarise(&outcomes, 0.5);
        assert_eq!(summary.without_follow_ups.recall, BTreeMap::from([(1, 0.5), (3, 0.5), (5, 1.0), (10, 1.0)]));
        assert!((summary.answerable.mrr - (1.0 + 0.25) / 3.0).abs() < 1e-9);
        assert_eq!(summary.refusals.answerable, (1, 3));
    }

    #[test]
    fn unanswerable_questions_count_for_refusal_alone() {
        let summary = summarise(&[outcome("unanswerable", None, 0.2), outcome("factual", Some(1), 0.9)], 0.5);
        assert_eq!((summary.answerable.questions, summary.refusals.unanswerable), (1, (1, 1)));
    }

    #[test]
    fn the_history_of_a_follow_up_is_the_chain_before_it() {
        let question = |id: &str, before: Option<&str>| Question {
            id: id.into(),
            kind: "follow_up".into(),
            question: format!("text of {id}"),
            follow_up_to: before.map(str::to_owned),
            sources: Vec::new(),
        };
        let all =
            [question("a", None), question("b", Some("a")), question("c", Some("b")), question("loop", Some("loop"))];
        assert_eq!(history(&all[2], &all), ["text of a", "text of b"]);
        assert_eq!(history(&all[3], &all).len(), all.len());
    }
}
