//! Texts into the terms that stand in them.

use std::collections::HashMap;

use super::Words;
use super::entries::EntryWriter;
use crate::mapped::Numbers;
use crate::terms::{Analyser, words};

/// The terms of so many different words are remembered: most words are not new, but data can be without end.
const KNOWN_WORDS: usize = 1 << 20;

/// Reads the texts of rows. Holds one to two bytes for each different term of each row.
pub struct WordsBuilder {
    analyser: Analyser,
    /// Each term's number, in order of first appearance.
    numbers: HashMap<Box<str>, u32>,
    known: HashMap<Box<str>, Box<[u32]>>,
    /// Of each term.
    entries: Vec<EntryWriter>,
    /// Terms of each row alone.
    lengths: Vec<u16>,
    begins: Vec<u8>,
    /// Terms of the row that is being read.
    found: Vec<u32>,
}

impl Default for WordsBuilder {
    fn default() -> Self {
        Self {
            analyser: Analyser::english(),
            numbers: HashMap::new(),
            known: HashMap::new(),
            entries: Vec::new(),
            lengths: Vec::new(),
            begins: Vec::new(),
            found: Vec::new(),
        }
    }
}

impl WordsBuilder {
    /// Reads the next row, which may be the first of its document.
    pub fn row(&mut self, texts: &[&str], begins: bool) {
        let row = self.lengths.len() as u32;
        self.found.clear();
        for word in texts.iter().flat_map(|text| words(text)) {
            match self.known.get(word) {
                Some(terms) => self.found.extend_from_slice(terms),
                None => self.learn(word),
            }
        }
        self.found.sort_unstable();
        for terms in self.found.chunk_by(|a, b| a == b) {
            self.entries[terms[0] as usize].push(row, terms.len() as u32);
        }
        self.lengths.push(u16::try_from(self.found.len()).unwrap_or(u16::MAX));
        self.begins.push(u8::from(begins || row == 0));
    }

    fn learn(&mut self, word: &str) {
        let mut terms = Vec::new();
        self.analyser.terms_of(word, |term| {
            let next = self.numbers.len() as u32;
            let number = *self.numbers.entry(term.into()).or_insert(next);
            if number == next {
                self.entries.push(EntryWriter::default());
            }
            terms.push(number);
        });
        self.found.extend_from_slice(&terms);
        if self.known.len() >= KNOWN_WORDS {
            self.known.clear();
        }
        self.known.insert(word.into(), terms.into());
    }

    /// What was read, in memory.
    #[must_use]
    pub fn into_words(self) -> Words {
        let mut terms: Vec<(Box<str>, u32)> = self.numbers.into_iter().collect();
        terms.sort_unstable();
        let (mut texts, mut text_ends) = (Vec::new(), Vec::with_capacity(terms.len()));
        let (mut entries, mut entry_ends) = (Vec::new(), Vec::with_capacity(terms.len()));
        let mut row_counts = Vec::with_capacity(terms.len());
        let mut written = self.entries;
        for (text, number) in terms {
            // Each is freed as soon as it was copied: they are not all there twice.
            let EntryWriter { bytes, rows, .. } = std::mem::take(&mut written[number as usize]);
            texts.extend_from_slice(text.as_bytes());
            text_ends.push(texts.len() as u64);
            entries.extend_from_slice(&bytes);
            entry_ends.push(entries.len() as u64);
            row_counts.push(rows);
        }
        let lengths = with_neighbours(&self.lengths, &self.begins);
        Words {
            texts: Numbers::Held(texts),
            text_ends: Numbers::Held(text_ends),
            row_counts: Numbers::Held(row_counts),
            entry_ends: Numbers::Held(entry_ends),
            entries: Numbers::Held(entries),
            terms_of_rows: lengths.iter().map(|&length| u64::from(length)).sum(),
            lengths: Numbers::Held(lengths),
            begins: Numbers::Held(self.begins),
        }
    }
}

/// The length of each row together with those beside it in the same document.
fn with_neighbours(lengths: &[u16], begins: &[u8]) -> Vec<u16> {
    let length = |row: usize| {
        let before = if begins[row] == 1 { 0 } else { lengths[row - 1] };
        let behind = if begins.get(row + 1).is_none_or(|begins| *begins == 1) { 0 } else { lengths[row + 1] };
        lengths[row].saturating_add(before).saturating_add(behind)
    };
    (0..lengths.len()).map(length).collect()
}
