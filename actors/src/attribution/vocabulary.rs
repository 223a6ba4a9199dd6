//! The words of a text to compare with, and when two of them are one.

use std::collections::HashSet;

use super::words::Word;

/// A text to compare with: its words, and a set of their stems.
#[derive(Debug, Clone)]
pub(super) struct Vocabulary {
    pub words: Vec<Word>,
    stems: HashSet<String>,
}

impl Vocabulary {
    pub fn new(words: Vec<Word>) -> Self {
        let stems = words.iter().map(|word| word.stem.clone()).collect();
        Self { words, stems }
    }

    /// Whether the word stands here, in whatever form. Long words may differ a little at the end.
    pub fn holds(&self, word: &Word) -> bool {
        self.has_stem(&word.stem) || self.stems.iter().any(|stem| is_form_of(stem, &word.stem))
    }

    /// Whether exactly this stem stands here.
    pub fn has_stem(&self, stem: &str) -> bool {
        self.stems.contains(stem)
    }
}

/// Whether two stems belong to one word: they are the same, or one begins with the other.
pub(super) fn is_form_of(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    short.len() >= 5
        && long.len() - short.len() <= 3
        && long.starts_with(short)
        && !long.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether the source spells out what the word abbreviates.
pub(super) fn is_acronym(word: &Word, source: &Vocabulary) -> bool {
    let letters: Vec<char> = word.lower.chars().collect();
    (2..=5).contains(&letters.len())
        && source
            .words
            .windows(letters.len())
            .any(|spelt| spelt.iter().zip(&letters).all(|(word, letter)| word.lower.starts_with(*letter)))
}
