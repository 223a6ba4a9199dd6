//! Passages and documents that are there more than once, by their words.
//!
//! A passage is compared by a hash of its words. A document is compared by the smallest hashes of its runs of words (a
//! bottom-k sketch: Broder, "On the resemblance and containment of documents", 1997), which takes a few kilobytes a
//! document however long it is.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Finding;

/// Words in a run.
const RUN: usize = 4;
/// Hashes kept a document. The estimate's standard error is `sqrt(j (1 - j) / 128)`: 0.035 at a likeness of 0.8.
const SKETCH: usize = 128;
/// Documents with fewer different runs say too little.
const LEAST_RUNS: usize = 32;
/// Documents that share so much of their runs are near duplicates.
const ALIKE: f64 = 0.8;
/// A run in more documents than this tells none of them apart.
const COMMON: usize = 64;
/// Passages of fewer words are headings and the like.
const LEAST_WORDS: usize = 12;
/// So many pairs are named.
const NAMED: usize = 10;

/// Looks at passages as they come, document by document.
#[derive(Default)]
pub(super) struct Similar {
    passages: HashMap<u64, u32>,
    documents: Vec<(String, BTreeSet<u64>)>,
}

impl Similar {
    pub(super) fn add(&mut self, document: &str, text: &str) {
        let words: Vec<u64> = words(text).collect();
        if words.len() >= LEAST_WORDS {
            *self.passages.entry(hash(&words)).or_default() += 1;
        }
        if self.documents.last().is_none_or(|(id, _)| id != document) {
            self.documents.push((document.to_owned(), BTreeSet::new()));
        }
        let Some((_, sketch)) = self.documents.last_mut() else { return };
        for run in words.windows(RUN).map(hash) {
            if sketch.len() < SKETCH || sketch.last().is_some_and(|largest| run < *largest) {
                sketch.insert(run);
                if sketch.len() > SKETCH {
                    sketch.pop_last();
                }
            }
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let remedy = "delete one of the files, then mentor ingest";
        let mut findings: Vec<Finding> = Vec::new();
        let pairs = self.pairs();
        for (one, other, likeness) in pairs.iter().take(NAMED) {
            let message = format!("{one} and {other} share about {:.0} % of their text", likeness * 100.0);
            findings.push(Finding::note("duplicates", message, remedy));
        }
        if pairs.len() > NAMED {
            let message = format!("{} more pairs of documents are alike", pairs.len() - NAMED);
            findings.push(Finding::note("duplicates", message, remedy));
        }
        let repeated: u64 = self.passages.values().map(|count| u64::from(count - 1)).sum();
        if repeated > 0 {
            let message = format!("{repeated} passages say the same words as another one");
            findings.push(Finding::note("duplicates", message, remedy));
        }
        findings
    }

    /// Pairs of documents that are alike, the most alike first.
    fn pairs(&self) -> Vec<(&str, &str, f64)> {
        let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
        for (document, (_, sketch)) in self.documents.iter().enumerate().filter(|(_, (_, s))| s.len() >= LEAST_RUNS) {
            sketch.iter().for_each(|run| holders.entry(*run).or_default().push(document));
        }
        let mut shared: HashMap<(usize, usize), usize> = HashMap::new();
        for documents in holders.values().filter(|documents| documents.len() <= COMMON) {
            for (place, one) in documents.iter().enumerate() {
                documents[place + 1..].iter().for_each(|other| *shared.entry((*one, *other)).or_default() += 1);
            }
        }
        let mut pairs: Vec<_> = shared
            .into_keys()
            .map(|(one, other)| {
                let ((a, one), (b, other)) = (&self.documents[one], &self.documents[other]);
                (a.as_str(), b.as_str(), likeness(one, other))
            })
            .filter(|(a, b, likeness)| a != b && *likeness >= ALIKE)
            .collect();
        pairs.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
        pairs
    }
}

/// Estimates what part of all their different runs two documents share.
fn likeness(one: &BTreeSet<u64>, other: &BTreeSet<u64>) -> f64 {
    let both: BTreeSet<&u64> = one.union(other).collect();
    let smallest: Vec<&u64> = both.into_iter().take(SKETCH).collect();
    let shared = smallest.iter().filter(|run| one.contains(run) && other.contains(run)).count();
    #[allow(clippy::cast_precision_loss)] // at most 128
    let likeness = shared as f64 / smallest.len().max(1) as f64;
    likeness
}

/// Hashes of the words, without case and punctuation.
fn words(text: &str) -> impl Iterator<Item = u64> + '_ {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| {
        let mut hasher = DefaultHasher::new();
        word.chars().flat_map(char::to_lowercase).for_each(|c| c.hash(&mut hasher));
        hasher.finish()
    })
}

fn hash(words: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(seed: u32, words: u32) -> String {
        (0..words).map(|n| format!("word{} ", n.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) % 9_973)).collect()
    }

    #[test]
    fn an_edited_copy_is_found_and_another_text_is_not() {
        let mut similar = Similar::default();
        similar.add("a.pdf", &prose(1, 2_000));
        similar.add("another.pdf", &prose(2, 2_000));
        similar.add("copy.pdf", &format!("A new beginning! {}", prose(1, 1_950).to_uppercase()));
        let pairs: Vec<_> = similar.pairs().into_iter().map(|(a, b, _)| (a, b)).collect();
        assert_eq!(pairs, [("a.pdf", "copy.pdf")]);
        assert!(similar.findings()[0].message.starts_with("a.pdf and copy.pdf share about 9"));
    }

    #[test]
    fn passages_of_the_same_words_are_counted_whatever_their_case_and_headings_are_not() {
        let mut similar = Similar::default();
        let text = "A stack is a list from which only the newest element can be taken away.";
        for text in [text, &text.to_uppercase(), "Chapter 1", "Chapter 1"] {
            similar.add("a.pdf", text);
        }
        assert_eq!(similar.findings().len(), 1);
        assert!(similar.findings()[0].message.starts_with("1 passages"));
    }
}
