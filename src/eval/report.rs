//! The result as a table for people and as JSON for programs.

use std::fmt::{self, Display};

use serde::Serialize;
use serde_json::{Value, json};

use super::answers::{AnswerFigures, JudgedAnswer, summarise_answers};
use super::compare::{Comparison, Difference, compare};
use super::figures::{CUTOFFS, Figures, Refusals, Summary, summarise};
use super::judge::Outcome;

/// Changed questions that the table names.
const NAMED: usize = 20;

/// What one configuration did with all questions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// The configuration, in a few words.
    pub name: String,
    /// One for each question, in the file's order.
    pub outcomes: Vec<Outcome>,
    /// Figures over them.
    pub summary: Summary,
    /// One for each question, when answers were generated.
    pub answers: Vec<JudgedAnswer>,
    /// Figures over them.
    pub answer_figures: Option<AnswerFigures>,
}

impl Run {
    /// Adds up what was found, and the answers if there are any.
    #[must_use]
    pub fn new(name: String, min_score: f32, outcomes: Vec<Outcome>, answers: Vec<JudgedAnswer>) -> Self {
        let summary = summarise(&outcomes, min_score);
        let answer_figures = (!answers.is_empty()).then(|| summarise_answers(&answers));
        Self { name, outcomes, summary, answers, answer_figures }
    }

    /// The figures, and what happened to each question.
    fn to_json(&self) -> Value {
        let mut value = json!(self.summary);
        value["configuration"] = json!(self.name);
        value["questions"] = json!(self.outcomes);
        if let Some(figures) = &self.answer_figures {
            value["answers"] = json!({"figures": figures, "answers": self.answers});
        }
        value
    }
}

/// One configuration, or two side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The configuration.
    pub first: Run,
    /// The one it is compared with.
    pub second: Option<(Run, Comparison)>,
}

impl Report {
    /// Compares the runs when there are two.
    #[must_use]
    pub fn new(first: Run, second: Option<Run>) -> Self {
        let second = second.map(|second| {
            let comparison = compare(&first.outcomes, &second.outcomes);
            (second, comparison)
        });
        Self { first, second }
    }

    /// The runs, in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        std::iter::once(&self.first).chain(self.second.iter().map(|(run, _)| run))
    }

    /// The first run's figures, with `compared` where there is a second.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = self.first.to_json();
        if let Some((second, comparison)) = &self.second {
            value["compared"] = json!({"with": second.to_json(), "comparison": comparison});
        }
        value
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, run) in self.runs().enumerate() {
            if self.second.is_some() {
                writeln!(f, "{}{}", if number > 0 { "\n" } else { "" }, run.name)?;
            }
            run_table(f, run)?;
        }
        self.second.as_ref().map_or(Ok(()), |(_, comparison)| comparison_table(f, comparison))
    }
}

fn run_table(f: &mut fmt::Formatter<'_>, run: &Run) -> fmt::Result {
    let Summary { answerable, without_follow_ups, by_kind, refusals, suggested, latency_ms } = &run.summary;
    write!(f, "{:<22}{:>10}", "", "questions")?;
    CUTOFFS.iter().try_for_each(|k| write!(f, "{:>11}", format!("recall@{k}")))?;
    writeln!(f, "{:>8}{:>9}", "MRR", "nDCG@10")?;
    row(f, "answerable", answerable)?;
    row(f, "without follow-ups", without_follow_ups)?;
    by_kind.iter().try_for_each(|(kind, figures)| row(f, &format!("  {kind}"), figures))?;
    writeln!(f, "{}", refusal_line(refusals))?;
    if let Some(at) =
        suggested.filter(|at| at.unanswerable.0 > refusals.unanswerable.0 || at.answerable.0 < refusals.answerable.0)
    {
        let (unanswerable, answerable) = (at.unanswerable, at.answerable);
        writeln!(
            f,
            "a min_score of {:.2} would refuse {} of {} unanswerable and {} of {} answerable",
            at.min_score, unanswerable.0, unanswerable.1, answerable.0, answerable.1
        )?;
    }
    writeln!(
        f,
        "embed and search: p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms",
        latency_ms.p50, latency_ms.p95, latency_ms.p99
    )?;
    run.answer_figures.as_ref().map_or(Ok(()), |figures| answer_lines(f, figures))
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures) -> fmt::Result {
    write!(f, "{name:<22}{:>10}", figures.questions)?;
    figures.recall.values().try_for_each(|recall| write!(f, "{recall:>11.3}"))?;
    writeln!(f, "{:>8.3}{:>9.3}", figures.mrr, figures.ndcg)
}

pub(super) fn refusal_line(refusals: &Refusals) -> String {
    let Refusals { min_score, unanswerable, answerable, precision, recall } = refusals;
    let share = |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    format!(
        "refused below {min_score}: {} of {} unanswerable, {} of {} answerable (precision {}, recall {})",
        unanswerable.0,
        unanswerable.1,
        answerable.0,
        answerable.1,
        share(precision),
        share(recall)
    )
}

fn answer_lines(f: &mut fmt::Formatter<'_>, figures: &AnswerFigures) -> fmt::Result {
    answer_rows(figures).iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
}

/// What was measured on answers, for people.
pub(super) fn answer_rows(figures: &AnswerFigures) -> Vec<(&'static str, String)> {
    let of = |(part, whole): (usize, usize)| format!("{part} of {whole}");
    vec![
        ("answers refused, unanswerable", of(figures.refused_unanswerable)),
        ("answers refused, answerable", of(figures.refused_answerable)),
        ("citations on a place that answers", format!("{:.3} of {}", figures.citation_precision, figures.citations)),
        ("sentences with a source", format!("{:.3} of {}", figures.supported_rate, figures.sentences)),
        ("points of the answer made", format!("{:.3} of {}", figures.point_coverage, figures.points)),
    ]
}

/// The measures that are tested.
pub(super) fn tested(comparison: &Comparison) -> [(&'static str, Difference); 3] {
    [("MRR", comparison.reciprocal_rank), ("hit at 5", comparison.hit_at_5), ("nDCG@10", comparison.ndcg)]
}

/// A place in the list, for people.
pub(super) fn place(rank: Option<usize>) -> String {
    rank.map_or_else(|| "not found".to_owned(), |rank| rank.to_string())
}

fn comparison_table(f: &mut fmt::Formatter<'_>, comparison: &Comparison) -> fmt::Result {
    writeln!(f, "\n{:<22}{:>10}{:>11}{:>13}{:>10}", "", "first", "second", "difference", "p")?;
    for (name, Difference { first, second, difference, p_value }) in tested(comparison) {
        writeln!(f, "{name:<22}{first:>10.3}{second:>11.3}{difference:>+13.3}{p_value:>10.4}")?;
    }
    if comparison.changed.is_empty() {
        return writeln!(f, "the first hit of every question stands at the same place");
    }
    writeln!(f, "{} questions changed (place of the first hit):", comparison.changed.len())?;
    for changed in comparison.changed.iter().take(NAMED) {
        let line = changed.question.replace('\n', " ");
        writeln!(f, "  {} {} -> {}: {line}", changed.id, place(changed.first), place(changed.second))?;
    }
    let more = comparison.changed.len().saturating_sub(NAMED);
    if more > 0 { writeln!(f, "  and {more} more: see --json") } else { Ok(()) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::figures::tests::outcome;
    use super::*;

    pub fn report() -> Report {
        let first = vec![outcome("factual", Some(4), 0.9), outcome("unanswerable", None, 0.2)];
        let second = vec![outcome("factual", Some(1), 0.9), outcome("unanswerable", None, 0.2)];
        let run = |name: &str, outcomes| Run::new(name.into(), 0.5, outcomes, Vec::new());
        Report::new(run("as configured", first), Some(run("top_k = 7", second)))
    }

    #[test]
    fn a_table_shows_both_runs_and_their_difference() {
        let text = report().to_string();
        assert!(text.contains("as configured\n") && text.contains("\ntop_k = 7\n"), "{text}");
        assert!(
            text.contains("refused below 0.5: 1 of 1 unanswerable, 0 of 1 answerable (precision 1.000, recall 1.000)")
        );
        assert!(text.contains("+0.750") && text.contains("4 -> 1: why?"), "{text}");
        let alone = Report { second: None, ..report() }.to_string();
        assert!(!alone.contains("as configured") && !alone.contains("difference"), "{alone}");
    }

    #[test]
    fn json_has_the_figures_on_top_and_the_comparison_beside_them() {
        let value = report().to_json();
        assert_eq!(value["answerable"]["recall"]["5"], 1.0);
        assert_eq!(value["refusals"]["unanswerable"], json!([1, 1]));
        assert_eq!(value["latency_ms"]["p50"], 10.0);
        assert_eq!(value["questions"][0]["rank"], 4);
        assert_eq!(value["compared"]["with"]["configuration"], "top_k = 7");
        assert_eq!(value["compared"]["comparison"]["changed"][0]["second"], 1);
    }
}
