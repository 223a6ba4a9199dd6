//! Which terms stand in which rows of a segment, and how well a row answers a question by its words: BM25.
//!
//! A row is judged together with its neighbours in the same document: what a chunk is about often stands in the one before it,
//! and a passage is read with its neighbours anyway. On the project's questions that is worth more than anything else done here.
//!
//! BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the inverse document
//! frequency that is never negative, ln(1 + (N - n + 0.5) / (n + 0.5)).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::terms::{Analyser, words};

/// How soon more of the same term stops to count.
const K1: f32 = 1.2;
/// How far longer chunks are held back.
const B: f32 = 0.75;

/// The terms of a segment's rows.
#[derive(Debug)]
pub(super) struct Postings {
    /// Each term's number, in order of first appearance.
    numbers: HashMap<Box<str>, u32>,
    /// Where the entries of each term begin, and behind the last one's end.
    starts: Vec<usize>,
    /// By term, and then by row.
    entries: Vec<Entry>,
    /// Terms of each row and its neighbours, repeated ones counted.
    lengths: Vec<u32>,
    /// Whether a row is the first of its document.
    begins: Vec<bool>,
}

/// A term stands in a row.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    row: u32,
    count: u32,
}

/// The terms of a question as a whole corpus sees them.
#[derive(Debug)]
pub(super) struct Bm25 {
    /// With their weights: inverse document frequencies, which together make 1. A term that stands nowhere is the rarest of
    /// all: a question with such terms is never answered wholly.
    terms: Vec<(String, f32)>,
    /// Terms of a row.
    average_length: f32,
}

impl Postings {
    /// Reads rows in order; each has several texts, and may be the first of its document.
    pub(super) fn of<'t>(analyser: &Analyser, rows: impl Iterator<Item = ([&'t str; 2], bool)>) -> Self {
        let mut reading = Reading { analyser, numbers: HashMap::new(), known: HashMap::new(), entries: Vec::new() };
        let (own_lengths, begins): (Vec<u32>, Vec<bool>) =
            (0..).zip(rows).map(|(row, (texts, begins))| (reading.row(row, &texts), begins)).unzip();
        let Reading { numbers, entries, .. } = reading;
        let (starts, entries) = by_term(numbers.len(), &entries);
        let length = |row| with_neighbours(&begins, row).map(|row| own_lengths[row]).sum();
        let lengths = (0..own_lengths.len()).map(length).collect();
        Self { numbers, starts, entries, lengths, begins }
    }

    fn entries_of(&self, term: &str) -> &[Entry] {
        let Some(&number) = self.numbers.get(term) else { return &[] };
        &self.entries[self.starts[number as usize]..self.starts[number as usize + 1]]
    }

    /// How well each row answers the question by its words, as a part of what is possible: 0 to 1.
    #[allow(clippy::cast_precision_loss)] // counts of words in a chunk are small
    pub(super) fn scores(&self, question: &Bm25) -> Vec<f32> {
        let mut scores = vec![0.0; self.lengths.len()];
        let mut counts = vec![0_u32; self.lengths.len()];
        let mut rows = Vec::new();
        for (term, weight) in &question.terms {
            for entry in self.entries_of(term) {
                for row in with_neighbours(&self.begins, entry.row as usize) {
                    if counts[row] == 0 {
                        rows.push(row);
                    }
                    counts[row] += entry.count;
                }
            }
            for row in rows.drain(..) {
                let (count, length) = (std::mem::take(&mut counts[row]) as f32, self.lengths[row] as f32);
                let held_back = K1 * (1.0 - B + B * length / question.average_length);
                scores[row] += weight * count / (count + held_back);
            }
        }
        scores
    }
}

impl Bm25 {
    /// Weighs the terms by how rare they are in all segments together.
    #[allow(clippy::cast_precision_loss)] // rows and terms stay far below 2^24, or a rounding of them does not matter
    pub(super) fn new<'s>(terms: Vec<String>, segments: impl Iterator<Item = &'s Postings> + Clone) -> Self {
        let rows: usize = segments.clone().map(|segment| segment.lengths.len()).sum();
        let all_terms: u64 =
            segments.clone().flat_map(|segment| &segment.lengths).map(|&length| u64::from(length)).sum();
        let weigh = |term: String| {
            let with: usize = segments.clone().map(|segment| segment.entries_of(&term).len()).sum();
            let weight = (1.0 + (rows as f32 - with as f32 + 0.5) / (with as f32 + 0.5)).ln();
            (term, weight)
        };
        let mut terms: Vec<(String, f32)> = terms.into_iter().map(weigh).collect();
        let all_weights: f32 = terms.iter().map(|(_, weight)| weight).sum();
        terms.iter_mut().for_each(|(_, weight)| *weight /= all_weights);
        Self { terms, average_length: (all_terms as f32 / rows.max(1) as f32).max(1.0) }
    }
}

/// A row, and those beside it in the same document.
fn with_neighbours(begins: &[bool], row: usize) -> RangeInclusive<usize> {
    let first = if begins[row] { row } else { row - 1 };
    let last = if begins.get(row + 1).is_none_or(|begins| *begins) { row } else { row + 1 };
    first..=last
}

/// Rows while they are read.
struct Reading<'a, 't> {
    analyser: &'a Analyser,
    numbers: HashMap<Box<str>, u32>,
    /// The terms of every word so far: most words are not new.
    known: HashMap<&'t str, Vec<u32>>,
    /// By row, each with its term.
    entries: Vec<(u32, Entry)>,
}

impl<'t> Reading<'_, 't> {
    /// How many terms the row has.
    fn row(&mut self, row: u32, texts: &[&'t str]) -> u32 {
        let mut found = Vec::new();
        for word in texts.iter().flat_map(|text| words(text)) {
            let (analyser, numbers) = (self.analyser, &mut self.numbers);
            found.extend_from_slice(self.known.entry(word).or_insert_with(|| number_terms(analyser, word, numbers)));
        }
        found.sort_unstable();
        let same = found.chunk_by(|a, b| a == b);
        self.entries.extend(same.map(|terms| (terms[0], Entry { row, count: terms.len() as u32 })));
        found.len() as u32
    }
}

fn number_terms(analyser: &Analyser, word: &str, numbers: &mut HashMap<Box<str>, u32>) -> Vec<u32> {
    let mut terms = Vec::new();
    analyser.terms_of(word, |term| {
        let next = numbers.len() as u32;
        terms.push(*numbers.entry(term.into()).or_insert(next));
    });
    terms
}

/// Orders entries by term; those of one term stay in their order. Where each term begins, and the entries.
fn by_term(terms: usize, entries: &[(u32, Entry)]) -> (Vec<usize>, Vec<Entry>) {
    let mut starts = vec![0; terms + 1];
    for (term, _) in entries {
        starts[*term as usize + 1] += 1;
    }
    for term in 0..terms {
        starts[term + 1] += starts[term];
    }
    let mut next = starts.clone();
    let mut ordered = vec![Entry::default(); entries.len()];
    for &(term, entry) in entries {
        ordered[next[term as usize]] = entry;
        next[term as usize] += 1;
    }
    (starts, ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row is a document.
    fn postings(rows: &[&'static str]) -> Postings {
        Postings::of(&Analyser::new(), rows.iter().map(|text| ([*text, ""], true)))
    }

    fn scores(segments: &[&Postings], question: &str) -> Vec<f32> {
        let bm25 = Bm25::new(Analyser::new().question_terms(question), segments.iter().copied());
        segments.iter().flat_map(|segment| segment.scores(&bm25)).collect()
    }

    #[test]
    fn a_rare_term_counts_more_than_a_common_one_and_a_repeated_one_more_than_once() {
        let found = scores(&[&postings(&["heap tree", "tree list", "tree array tree", "tree graph"])], "heap tree");
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
    fn segments_are_weighed_together() {
        let (one, two) = (postings(&["heap tree", "tree list"]), postings(&["tree array tree", "tree graph"]));
        let whole = postings(&["heap tree", "tree list", "tree array tree", "tree graph"]);
        assert_eq!(scores(&[&one, &two], "heap tree"), scores(&[&whole], "heap tree"));
    }

    #[test]
    fn a_row_is_judged_with_its_neighbours_in_the_same_document() {
        let rows = [("heap", true), ("list", false), ("graph", false), ("trie", true), ("list", false)];
        let postings = Postings::of(&Analyser::new(), rows.into_iter().map(|(text, begins)| ([text, ""], begins)));
        let found = scores(&[&postings], "list");
        assert!(found[..3].iter().all(|score| *score > 0.0), "{found:?}");
        let found = scores(&[&postings], "heap trie");
        assert!(found[0] > found[1] && found[1] > 0.0 && found[2] == 0.0 && found[4] > 0.0, "{found:?}");
    }

    #[test]
    fn a_term_that_stands_nowhere_lowers_every_score() {
        let postings = postings(&["heap tree", "list"]);
        assert!(scores(&[&postings], "heap")[0] > 2.0 * scores(&[&postings], "heap zebra")[0]);
    }

    #[test]
    fn a_question_without_terms_scores_nothing() {
        assert_eq!(scores(&[&postings(&["heap"])], "how do i do the"), [0.0]);
        assert_eq!(scores(&[&postings(&[])], "heap"), [0.0; 0]);
    }
}
