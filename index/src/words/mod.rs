//! Which terms stand in which rows, and how well a row answers a question by its words: BM25.
//!
//! A row is judged together with its neighbours in the same document: what a chunk is about often stands in the one before it,
//! and a passage is read with its neighbours anyway. On the project's questions that is worth more than anything else done here.
//!
//! BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the inverse document
//! frequency that is never negative, ln(1 + (N - n + 0.5) / (n + 0.5)).
//!
//! | module | what it holds |
//! |---|---|
//! | `builder` | reads texts |
//! | `entries` | a term's rows as bytes, and back |
//! | `spelling` | what a term that stands nowhere was meant to be |
//! | here | searching |

mod builder;
mod entries;
mod spelling;

use std::ops::Range;

pub use builder::WordsBuilder;

use crate::best::Best;
use crate::mapped::Numbers;
use entries::Entries;
use spelling::Spelling;

/// How soon more of the same term stops to count.
const K1: f32 = 1.2;
/// How far longer chunks are held back.
const B: f32 = 0.75;
/// Terms of a question that are corrected. Each is compared with every known term of its first letter, and a question with more
/// slips is a pasted text in another language.
const MAX_CORRECTED: usize = 8;

/// The terms of rows.
#[derive(Debug)]
pub struct Words {
    /// All terms, sorted, without anything between them.
    pub(crate) texts: Numbers<u8>,
    /// Where each term's text ends.
    pub(crate) text_ends: Numbers<u64>,
    /// In how many rows each term stands.
    pub(crate) row_counts: Numbers<u32>,
    /// Where each term's entries end.
    pub(crate) entry_ends: Numbers<u64>,
    pub(crate) entries: Numbers<u8>,
    /// Terms of each row and its neighbours, repeated ones counted.
    pub(crate) lengths: Numbers<u16>,
    /// 1 where a row is the first of its document.
    pub(crate) begins: Numbers<u8>,
    /// All `lengths` together.
    pub(crate) terms_of_rows: u64,
}

/// The terms of a question as a whole corpus sees them.
#[derive(Debug)]
pub struct Bm25 {
    /// With their weights: inverse document frequencies, which together make 1. A term that stands nowhere, nor one like it, is
    /// the rarest of all: a question with such terms is never answered wholly.
    terms: Vec<(String, f32)>,
    /// Part of all weights that lies in terms that stand nowhere.
    unknown: f32,
    /// Terms of a row.
    average_length: f32,
}

impl Bm25 {
    /// Weighs the terms by how rare they are in all parts of a corpus together.
    #[must_use]
    pub fn new<'w>(terms: Vec<String>, parts: impl Iterator<Item = &'w Words> + Clone) -> Self {
        let rows: usize = parts.clone().map(|part| part.lengths.len()).sum();
        let all_terms: u64 = parts.clone().map(|part| part.terms_of_rows).sum();
        let rows_with = |term: &str| parts.clone().map(|part| part.row_count(term)).sum::<usize>();
        let mut weighed: Vec<(String, f32)> = Vec::with_capacity(terms.len());
        let (mut unknown, mut looked_up) = (0.0, 0);
        for mut term in terms {
            let mut with = rows_with(&term);
            if with == 0
                && looked_up < MAX_CORRECTED
                && let Some(spelling) = Spelling::of(&term)
            {
                looked_up += 1;
                if let Some(meant) = spelling.nearest(parts.clone()) {
                    with = rows_with(&meant);
                    term = meant;
                }
            }
            if !weighed.iter().any(|(known, _)| *known == term) {
                let weight = (1.0 + (rows as f32 - with as f32 + 0.5) / (with as f32 + 0.5)).ln();
                unknown += if with == 0 { weight } else { 0.0 };
                weighed.push((term, weight));
            }
        }
        let mut terms = weighed;
        let all_weights: f32 = terms.iter().map(|(_, weight)| weight).sum();
        terms.iter_mut().for_each(|(_, weight)| *weight /= all_weights);
        let unknown = if terms.is_empty() { 0.0 } else { unknown / all_weights };
        Self { terms, unknown, average_length: (all_terms as f32 / rows.max(1) as f32).max(1.0) }
    }

    /// How many different terms there are.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.terms.len()
    }

    /// Part of the weight that lies in terms that stand nowhere, 0 to 1.
    #[must_use]
    pub fn unknown(&self) -> f32 {
        self.unknown
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl Words {
    /// How well each row answers the question by its words, as a part of what is possible: 0 to 1. Empty when the question has
    /// no words.
    #[must_use]
    pub fn scores(&self, question: &Bm25) -> Vec<f32> {
        if question.is_empty() {
            return Vec::new();
        }
        let mut scores = vec![0.0; self.lengths.len()];
        for (term, weight) in &question.terms {
            self.score_term(term, *weight, question.average_length, &mut scores);
        }
        scores
    }

    /// Adds what `term` is worth to the rows it stands in or beside.
    fn score_term(&self, term: &str, weight: f32, average_length: f32, scores: &mut [f32]) {
        let mut score = |row: usize, count: u32| {
            let (count, length) = (count as f32, f32::from(self.lengths[row]));
            let held_back = K1 * (1.0 - B + B * length / average_length);
            scores[row] += weight * count / (count + held_back);
        };
        // Counts of three rows from `first` on, which later entries may still add to.
        let (mut first, mut counts) = (0, [0_u32; 3]);
        for (row, count) in self.entries_of(term) {
            let row = row as usize;
            // Entries are too many to be checked at open: damaged ones may cost hits, and no more.
            if row >= self.lengths.len() {
                break;
            }
            let beside = self.with_neighbours(row);
            while first < beside.start && counts != [0; 3] {
                if counts[0] > 0 {
                    score(first, counts[0]);
                }
                counts = [counts[1], counts[2], 0];
                first += 1;
            }
            first = first.max(beside.start);
            for row in beside {
                counts[row - first] = counts[row - first].saturating_add(count);
            }
        }
        for (row, count) in (first..).zip(counts).filter(|(_, count)| *count > 0) {
            score(row, count);
        }
    }

    /// A row, and those beside it in the same document.
    fn with_neighbours(&self, row: usize) -> Range<usize> {
        let first = if self.begins[row] == 1 { row } else { row - 1 };
        let last = if self.begins.get(row + 1).is_none_or(|begins| *begins == 1) { row } else { row + 1 };
        first..last + 1
    }

    fn row_count(&self, term: &str) -> usize {
        self.number_of(term).map_or(0, |number| self.row_counts[number] as usize)
    }

    /// Terms with the first letter of `term`, and how many rows have them.
    fn terms_that_begin_like(&self, term: &str) -> impl Iterator<Item = (&str, usize)> {
        let letter = term.chars().next().map_or(0, char::len_utf8);
        let beginning = &term.as_bytes()[..letter];
        let from = self.first_from(beginning);
        let texts = (from..self.text_ends.len()).map(|number| (self.text(number), self.row_counts[number] as usize));
        let alike = texts.take_while(move |(text, _)| text.starts_with(beginning));
        // Only a damaged file has terms that are no text.
        alike.filter_map(|(text, rows)| Some((std::str::from_utf8(text).ok()?, rows)))
    }

    fn entries_of(&self, term: &str) -> Entries<'_> {
        Entries::of(self.number_of(term).map_or(&[], |number| &self.entries[between(&self.entry_ends, number)]))
    }

    fn number_of(&self, term: &str) -> Option<usize> {
        let number = self.first_from(term.as_bytes());
        (number < self.text_ends.len() && self.text(number) == term.as_bytes()).then_some(number)
    }

    /// Number of the first term that does not come before `text`.
    fn first_from(&self, text: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.text_ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.text(middle) < text { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn text(&self, number: usize) -> &[u8] {
        &self.texts[between(&self.text_ends, number)]
    }
}

/// From one end to the next.
fn between(ends: &[u64], number: usize) -> Range<usize> {
    let start = if number == 0 { 0 } else { ends[number - 1] };
    start as usize..ends[number] as usize
}

/// The `count` rows with the highest scores above 0 that are wanted, best first.
pub(crate) fn best_rows(scores: &[f32], count: usize, wanted: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut best = Best::new(count);
    for (row, &score) in (0..).zip(scores) {
        if score > 0.0 && best.wants(score) && wanted(row) {
            best.take(score, row);
        }
    }
    best.into_sorted().into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Analyser;

    fn read<'t>(rows: impl IntoIterator<Item = (&'t str, bool)>) -> Words {
        let mut builder = WordsBuilder::default();
        rows.into_iter().for_each(|(text, begins)| builder.row(&[text, ""], begins));
        builder.into_words()
    }

    /// Every row is a document.
    fn documents(rows: &[&str]) -> Words {
        read(rows.iter().map(|text| (*text, true)))
    }

    fn scores(parts: &[&Words], question: &str) -> Vec<f32> {
        let bm25 = Bm25::new(Analyser::english().question_terms(question), parts.iter().copied());
        parts.iter().flat_map(|part| part.scores(&bm25)).collect()
    }

    #[test]
    fn a_rare_term_counts_more_than_a_common_one_and_a_repeated_one_more_than_once() {
        let found = scores(&[&documents(&["heap tree", "tree list", "tree array tree", "tree graph"])], "heap tree");
        assert!(found[0] > found[2] && found[2] > found[1], "{found:?}");
        let (rare, common) = ((1.0_f32 + 3.5 / 1.5).ln(), (1.0_f32 + 0.5 / 4.5).ln());
        let once = |length: f32| 1.0 / (1.0 + K1 * (1.0 - B + B * length / (9.0 / 4.0)));
        let expected = [once(2.0), common / (rare + common) * once(2.0)];
        assert!(
            (found[0] - expected[0]).abs() < 1e-6 && (found[1] - expected[1]).abs() < 1e-6,
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn parts_are_weighed_together() {
        let (one, two) = (documents(&["heap tree", "tree list"]), documents(&["tree array tree", "tree graph"]));
        let whole = documents(&["heap tree", "tree list", "tree array tree", "tree graph"]);
        assert_eq!(scores(&[&one, &two], "heap tree"), scores(&[&whole], "heap tree"));
    }

    #[test]
    fn a_row_is_judged_with_its_neighbours_in_the_same_document() {
        let words = read([("heap", true), ("list", false), ("graph", false), ("trie", true), ("list", false)]);
        let found = scores(&[&words], "list");
        assert!(found.iter().all(|score| *score > 0.0), "{found:?}");
        let found = scores(&[&words], "heap trie");
        assert!(found[0] > found[1] && found[1] > 0.0 && found[2] == 0.0 && found[4] > 0.0, "{found:?}");
    }

    #[test]
    fn a_term_in_every_row_counts_those_of_three_rows() {
        let words = read([("heap", true), ("heap heap", false), ("heap", false), ("heap", false), ("list", false)]);
        let counts = [3.0_f32, 4.0, 4.0, 2.0, 1.0];
        let average = [3.0_f32, 4.0, 4.0, 3.0, 2.0].iter().sum::<f32>() / 5.0;
        let expected = [3.0_f32, 4.0, 4.0, 3.0, 2.0].iter().zip(counts).map(|(length, count)| {
            let held_back = K1 * (1.0 - B + B * length / average);
            count / (count + held_back)
        });
        assert_eq!(scores(&[&words], "heap"), expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_term_that_stands_nowhere_lowers_every_score() {
        let words = documents(&["heap tree", "list"]);
        assert!(scores(&[&words], "heap")[0] > 2.0 * scores(&[&words], "heap zebra")[0]);
        let bm25 = |question: &str| Bm25::new(Analyser::english().question_terms(question), std::iter::once(&words));
        assert!((0.5..1.0).contains(&bm25("heap zebra").unknown()), "the rarest of all weighs most");
        assert_eq!([bm25("heap").unknown(), bm25("zebra").unknown(), bm25("").unknown()], [0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_slip_of_the_finger_finds_what_was_meant() {
        let words = documents(&["semaphore mutex", "list"]);
        assert_eq!(scores(&[&words], "semapohre"), scores(&[&words], "semaphore"));
        assert_eq!(scores(&[&words], "semaphore semapohre"), scores(&[&words], "semaphore"));
    }

    #[test]
    fn only_the_first_slips_of_a_question_are_corrected() {
        let words = documents(&["semaphore", "list"]);
        let question = |unknown: usize| {
            let unknown: String = (0..unknown).map(|number| format!("unknown{} ", "x".repeat(number))).collect();
            scores(&[&words], &format!("{unknown} ab1 semapohre"))
        };
        assert!(question(MAX_CORRECTED - 1)[0] > 0.0);
        assert_eq!(question(MAX_CORRECTED), [0.0, 0.0]);
    }

    #[test]
    fn entries_that_are_damaged_cost_hits_and_no_more() {
        let rows: Vec<String> = (0..300).map(|row| format!("heap {}", "tree ".repeat(1 + row % 5))).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let whole = documents(&rows);
        for at in 0..whole.entries.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut damaged = documents(&rows);
                let mut entries = damaged.entries.to_vec();
                entries[at] = byte;
                damaged.entries = Numbers::Held(entries);
                let found = scores(&[&damaged], "heap tree");
                assert!(found.len() == 300 && found.iter().all(|score| score.is_finite()));
            }
        }
    }

    #[test]
    fn a_question_without_terms_scores_nothing() {
        assert!(scores(&[&documents(&["heap"])], "how do i do the").is_empty());
        assert!(scores(&[&documents(&[])], "heap").is_empty());
    }

    #[test]
    fn the_best_rows_are_those_that_are_wanted() {
        assert_eq!(best_rows(&[0.1, 0.0, 0.9, 0.5], 2, |row| row != 3), [2, 0]);
    }
}
