//! Text into the terms that are searched for: words without their endings, identifiers whole and in parts.

use std::collections::HashSet;
use std::sync::LazyLock;

use frostem::{Algorithm, Stemmer};

/// Longest word that is a term, in bytes; longer ones are data, not words.
const MAX_TERM_BYTES: usize = 64;

/// Words that stand in every text and say nothing of its subject. Those of questions among them: students ask "how do i".
static STOP_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let words = "a about above after again all also am an and any are as at be because been before being below between both \
                 but by can cannot could did do does doing done during each few for from further get had has have having he her \
                 here hers him his how i if in into is it its itself just let me more most my no nor not now of off on once \
                 only or other our out over own please same she should so some such than that the their them then there these \
                 they this those through to too under until up very was we were what when where which while who whom why \
                 will with would you your yours \
                 don doesn didn isn wasn aren can't couldn ll re s t ve m d whats isnt cant dont doesnt ok";
    words.split_whitespace().collect()
});

/// Makes terms of texts in one language.
pub struct Analyser {
    stemmer: Stemmer,
}

impl Analyser {
    pub fn english() -> Self {
        Self { stemmer: Stemmer::new(Algorithm::English) }
    }

    /// Hands the terms of `word`, which is one of [`words`], to `take`: none for a stop word, several for an identifier.
    pub fn terms_of(&self, word: &str, mut take: impl FnMut(&str)) {
        let mut term = |text: &str| {
            let lower = text.trim_matches('_').to_lowercase();
            if !lower.is_empty() && lower.len() <= MAX_TERM_BYTES && !STOP_WORDS.contains(lower.as_str()) {
                take(&self.stemmer.stem(&lower));
            }
        };
        term(word);
        let parts = parts(word);
        if parts.len() > 1 {
            parts.into_iter().for_each(term);
        }
    }

    /// The terms of a question, each once, in order.
    pub fn question_terms(&self, question: &str) -> Vec<String> {
        let mut terms: Vec<String> = Vec::new();
        for word in words(question) {
            self.terms_of(word, |term| {
                if !terms.iter().any(|known| known == term) {
                    terms.push(term.to_owned());
                }
            });
        }
        terms
    }
}

/// Runs of letters, digits and underscores.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// An identifier's parts: between underscores, and where its letters change from small to capital or to digits.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before: Option<char> = None;
    let mut characters = word.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let next = characters.peek().map(|(_, next)| *next);
        if before.is_some_and(|before| begins_part(before, character, next)) {
            parts.push(&word[start..at]);
            start = at;
        }
        before = Some(character);
    }
    parts.push(&word[start..]);
    parts.retain(|part| part.contains(|c: char| c != '_'));
    parts
}

fn begins_part(before: char, character: char, next: Option<char>) -> bool {
    let after_underscore = before == '_' && character != '_';
    let to_underscore = before != '_' && character == '_';
    let hump = before.is_lowercase() && character.is_uppercase();
    // "HTMLParser": the last capital belongs to the word after it.
    let after_capitals = before.is_uppercase() && character.is_uppercase() && next.is_some_and(char::is_lowercase);
    let number = before.is_alphabetic() && character.is_numeric() || before.is_numeric() && character.is_alphabetic();
    after_underscore || to_underscore || hump || after_capitals || number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(question: &str) -> Vec<String> {
        Analyser::english().question_terms(question)
    }

    #[test]
    fn words_lose_their_endings_and_common_ones_are_left_out() {
        assert_eq!(terms("How do the sorting algorithms sort?"), ["sort", "algorithm"]);
    }

    #[test]
    fn identifiers_are_found_whole_and_in_parts() {
        assert_eq!(terms("pthread_cond_wait"), ["pthread_cond_wait", "pthread", "cond", "wait"]);
        assert_eq!(terms("UnboundLocalError"), ["unboundlocalerror", "unbound", "local", "error"]);
        assert_eq!(terms("XFastTrie HTMLParser"), ["xfasttri", "x", "fast", "trie", "htmlparser", "html", "parser"]);
        assert_eq!(terms("__init__"), ["init"]);
    }

    #[test]
    fn a_monster_of_a_word_is_no_term() {
        assert!(terms(&"x".repeat(MAX_TERM_BYTES + 1)).is_empty());
    }
}
