//! Words that were divided at the end of a line, put together as the rest of the book writes them.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use super::paragraphs::DIVIDED;

/// Longest part of a word that is looked up.
const MAX_WORD_BYTES: usize = 64;

/// How often the book writes each word, compounds with their hyphens, in lower case.
#[derive(Debug, Default)]
struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    fn add(&mut self, text: &str) {
        for word in text.split(|c: char| !(c.is_alphabetic() || c == '-' || c == DIVIDED)) {
            if !word.is_empty() && !word.contains(DIVIDED) {
                self.count(word);
            }
        }
    }

    fn count(&mut self, word: &str) {
        let word = word.trim_matches('-').to_lowercase();
        if word.contains('-') {
            for part in word.split('-') {
                *self.0.entry(part.to_owned()).or_default() += 1;
            }
        }
        *self.0.entry(word).or_default() += 1;
    }

    fn uses(&self, word: &str) -> u32 {
        self.0.get(word).copied().unwrap_or(0)
    }

    /// Whether `left-right` is one word with a hyphen rather than one that was divided. When the book writes neither,
    /// two parts that are words of their own make a compound.
    fn is_compound(&self, left: &str, right: &str) -> bool {
        let (left, right) = (left.to_lowercase(), right.to_lowercase());
        let (joined, hyphenated) = (self.uses(&format!("{left}{right}")), self.uses(&format!("{left}-{right}")));
        if joined == 0 && hyphenated == 0 {
            return left.chars().count() > 2
                && right.chars().count() > 3
                && self.uses(&left) > 0
                && self.uses(&right) > 0;
        }
        hyphenated > joined
    }
}

/// Decides every [`DIVIDED`] of the pages, and composes their characters (NFC).
pub(in crate::extract) fn resolve<'t>(pages: impl Iterator<Item = &'t mut String>) {
    let mut pages: Vec<_> = pages.collect();
    let mut vocabulary = Vocabulary::default();
    for page in &mut pages {
        if !page.is_ascii() {
            **page = page.nfc().collect();
        }
        vocabulary.add(page);
    }
    for page in pages {
        if page.contains(DIVIDED) {
            *page = joined(page, &vocabulary);
        }
    }
}

fn joined(page: &str, vocabulary: &Vocabulary) -> String {
    let mut text = String::with_capacity(page.len());
    for (index, part) in page.split(DIVIDED).enumerate() {
        if index > 0 && vocabulary.is_compound(last_word(&text), first_word(part)) {
            text.push('-');
        }
        text.push_str(part);
    }
    text
}

fn last_word(text: &str) -> &str {
    text[text.floor_char_boundary(text.len().saturating_sub(MAX_WORD_BYTES))..]
        .rsplit(|c: char| !c.is_alphabetic())
        .next()
        .unwrap_or_default()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(pages: &[&str]) -> Vec<String> {
        let mut pages: Vec<_> = pages.iter().map(|page| (*page).to_owned()).collect();
        resolve(pages.iter_mut());
        pages
    }

    #[test]
    fn a_divided_word_is_put_together() {
        assert_eq!(resolved(&["to de\u{AD}lete a file"]), ["to delete a file"]);
    }

    #[test]
    fn a_compound_that_the_book_writes_elsewhere_keeps_its_hyphen() {
        assert_eq!(resolved(&["a floating-point number", "a floating\u{AD}point one"])[1], "a floating-point one");
    }

    #[test]
    fn a_word_the_book_also_writes_whole_loses_its_hyphen_even_if_its_parts_are_words() {
        assert_eq!(
            resolved(&["in the database", "data and base, data, base: a data\u{AD}base"])[1].rsplit(' ').next(),
            Some("database")
        );
    }

    #[test]
    fn two_words_of_the_book_that_it_never_writes_together_stay_a_compound() {
        let pages = ["it is well known, very well known", "a well\u{AD}known fact"];
        assert_eq!(resolved(&pages)[1], "a well-known fact");
    }

    #[test]
    fn letters_and_their_accents_are_composed() {
        assert_eq!(resolved(&["e\u{301}te\u{301}"]), ["été"]);
    }
}
