//! Which of the passages found for a question answer it.
//!
//! Where passages have pages, a passage answers a question when it stands on a listed page of a listed file. Elsewhere it must
//! stand under the listed section or hold the quote, or at least half of it in one piece, since a quote may lie across the end
//! of a passage; where a source has neither, any passage of the file will do.

use std::collections::BTreeSet;
use std::time::Duration;

use mentor_actors::domain::{Passage, ScoredPassage};
use mentor_actors::finder::Retrieved;
use mentor_actors::prompt::place_of;
use serde::Serialize;

use super::DEPTH;
use super::questions::{Gold, Question};

/// Characters of a passage that a report shows.
const EXCERPT_CHARS: usize = 240;

/// What retrieval gave for one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The question's id.
    pub id: String,
    /// The question's kind.
    pub kind: String,
    /// The question as searched for.
    pub question: String,
    /// Place of the first hit, from 1.
    pub rank: Option<usize>,
    /// Gain of the passages, discounted by the logarithm of their place, as part of the best possible one.
    pub ndcg: f64,
    /// How likely the corpus answers it at all.
    pub relevance: f32,
    /// Embedding and search together.
    #[serde(rename = "latency_ms", serialize_with = "as_ms")]
    pub latency: Duration,
    /// Where it is answered.
    pub wanted: Vec<String>,
    /// The passage that came first.
    pub first: Option<First>,
}

/// A passage, for a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct First {
    /// File and page or section.
    pub place: String,
    /// How its text begins.
    pub text: String,
}

impl Outcome {
    /// 1 / rank, 0 where nothing was found.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a rank is at most `DEPTH`
    pub fn reciprocal_rank(&self) -> f64 {
        self.rank.map_or(0.0, |rank| 1.0 / rank as f64)
    }

    /// Whether one of the first `k` passages answers.
    #[must_use]
    pub fn is_hit(&self, k: usize) -> bool {
        self.rank.is_some_and(|rank| rank <= k)
    }
}

fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e4).round() / 10.0)
}

/// Counts what was found for a question.
#[must_use]
pub fn judge(question: &Question, found: &Retrieved, latency: Duration) -> Outcome {
    let passages = &found.passages;
    Outcome {
        id: question.id.clone(),
        kind: question.kind.clone(),
        question: found.question.clone(),
        rank: passages.iter().position(|scored| answers(question, &scored.passage)).map(|index| index + 1),
        ndcg: ndcg(question, passages),
        relevance: found.relevance,
        latency,
        wanted: question.sources.iter().map(describe).collect(),
        first: passages.first().map(|best| First {
            place: place_of(&best.passage),
            text: best.passage.text.chars().take(EXCERPT_CHARS).collect(),
        }),
    }
}

/// Whether a passage answers a question.
#[must_use]
pub fn answers(question: &Question, passage: &Passage) -> bool {
    place_met(question, passage).is_some()
}

/// The listed place that a passage stands at: number of the source and page (0 where there are none).
fn place_met(question: &Question, passage: &Passage) -> Option<(usize, u32)> {
    question.sources.iter().enumerate().find_map(|(index, gold)| {
        if gold.file != passage.file_name {
            return None;
        }
        match passage.page {
            Some(page) => gold.pages.contains(&page).then_some((index, page)),
            None => {
                let quote = gold.quote.as_ref().or(question.quote.as_ref().filter(|_| index == 0));
                stands_at(gold, quote.map(String::as_str), passage).then_some((index, 0))
            }
        }
    })
}

fn stands_at(gold: &Gold, quote: Option<&str>, passage: &Passage) -> bool {
    let section = gold.section.as_ref().map(|section| {
        passage.section.as_ref().is_some_and(|heading| heading.to_lowercase() == section.to_lowercase())
    });
    let quoted = quote.map(|quote| holds(&passage.text, quote));
    match (section, quoted) {
        (None, None) => true,
        (section, quoted) => section == Some(true) || quoted == Some(true),
    }
}

/// Whether `text` holds half of the words of `quote`, or more, in one piece.
fn holds(text: &str, quote: &str) -> bool {
    let (text, quote) = (words(text), words(quote));
    let enough = quote.len().div_ceil(2).max(quote.len().min(4));
    !quote.is_empty() && quote.windows(enough).any(|run| text.windows(enough).any(|place| place == run))
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Each listed page counts once, at the first passage that stands on it; a source without pages counts as one page.
#[allow(clippy::cast_precision_loss)] // ranks and pages are few
fn ndcg(question: &Question, found: &[ScoredPassage]) -> f64 {
    let discount = |index: usize| 1.0 / (index as f64 + 2.0).log2();
    let mut met = BTreeSet::new();
    let mut gain = 0.0;
    for (index, scored) in found.iter().enumerate().take(DEPTH) {
        if place_met(question, &scored.passage).is_some_and(|place| met.insert(place)) {
            gain += discount(index);
        }
    }
    let places: usize = question.sources.iter().map(|gold| gold.pages.len().max(1)).sum();
    let best: f64 = (0..places.min(DEPTH)).map(discount).sum();
    if best > 0.0 { gain / best } else { 0.0 }
}

fn describe(gold: &Gold) -> String {
    let pages: Vec<String> = gold.pages.iter().map(u32::to_string).collect();
    match (&gold.section, pages.as_slice()) {
        (Some(section), _) => format!("{}, {section}", gold.file),
        (None, []) => gold.file.clone(),
        (None, [page]) => format!("{}, page {page}", gold.file),
        (None, _) => format!("{}, pages {}", gold.file, pages.join(", ")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use mentor_actors::domain::{CharSpan, ChunkId, DocumentId, DocumentKind};

    use super::*;

    pub fn passage(file: &str, page: Option<u32>, section: Option<&str>, text: &str) -> ScoredPassage {
        let passage = Passage {
            chunk_id: ChunkId("c".into()),
            document_id: DocumentId(file.into()),
            file_name: file.into(),
            kind: DocumentKind::Pdf,
            page,
            section: section.map(str::to_owned),
            span: CharSpan::default(),
            text: text.into(),
        };
        ScoredPassage::whole(passage, 0.7)
    }

    pub fn question(sources: Vec<Gold>, quote: Option<&str>) -> Question {
        Question {
            id: "q".into(),
            kind: "factual".into(),
            question: "why?".into(),
            follow_up_to: None,
            sources,
            quote: quote.map(str::to_owned),
            answer_points: Vec::new(),
        }
    }

    pub fn gold(file: &str, pages: &[u32]) -> Gold {
        Gold { file: file.into(), pages: pages.to_vec(), ..Gold::default() }
    }

    fn rank(question: &Question, found: &[ScoredPassage]) -> Option<usize> {
        judged(question, found).rank
    }

    fn judged(question: &Question, passages: &[ScoredPassage]) -> Outcome {
        let found = Retrieved {
            question: "why?".into(),
            was_rewritten: false,
            passages: passages.to_vec(),
            relevance: 0.7,
            embed: Duration::ZERO,
            retrieve: Duration::ZERO,
        };
        judge(question, &found, Duration::ZERO)
    }

    #[test]
    fn a_listed_page_of_a_listed_file_is_a_hit() {
        let asked = question(vec![gold("a.pdf", &[3, 4])], Some("anything"));
        let found = [
            passage("a.pdf", Some(2), None, ""),
            passage("b.pdf", Some(3), None, ""),
            passage("a.pdf", Some(4), None, ""),
        ];
        assert_eq!(rank(&asked, &found), Some(3));
    }

    #[test]
    fn without_pages_the_quote_or_the_section_decides() {
        let text = "So n appends cause fewer than 2n copies, besides the n writes themselves.";
        let quoted =
            question(vec![gold("a.md", &[1])], Some("n appends cause fewer than 2n copies besides the n writes"));
        let found = [passage("a.md", None, None, "something else"), passage("a.md", None, None, text)];
        assert_eq!(rank(&quoted, &found), Some(2));
        let cut_off = [passage("a.md", None, None, "... cause fewer than 2n copies, besides")];
        assert_eq!(rank(&quoted, &cut_off), Some(1), "a quote across the end of a passage");
        let headed = question(vec![Gold { section: Some("Growing".into()), ..gold("a.md", &[]) }], None);
        assert_eq!(rank(&headed, &[passage("a.md", None, Some("growing"), "x")]), Some(1));
        assert_eq!(rank(&headed, &[passage("a.md", None, Some("Shrinking"), "x")]), None);
        assert_eq!(rank(&question(vec![gold("a.md", &[])], None), &found), Some(1), "the file alone");
    }

    #[test]
    fn gain_counts_each_page_once_and_is_one_at_best() {
        let asked = question(vec![gold("a.pdf", &[3, 4])], None);
        let on = |page| passage("a.pdf", Some(page), None, "");
        let ndcg = |found: &[ScoredPassage]| judged(&asked, found).ndcg;
        assert!((ndcg(&[on(3), on(4)]) - 1.0).abs() < 1e-9);
        let best = 1.0 + 1.0 / 3.0_f64.log2();
        assert!((ndcg(&[on(3), on(3)]) - 1.0 / best).abs() < 1e-9, "the same page again gains nothing");
        assert!((ndcg(&[on(9), on(3)]) - (1.0 / 3.0_f64.log2()) / best).abs() < 1e-9);
    }
}
