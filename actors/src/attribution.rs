//! Which sentence of an answer stands on which source: decided here from the words, whatever the model writes.
//!
//! A sentence is supported by a source when enough of its content words stand there. Words are compared by a crude stem;
//! sentences with hardly any content word ("Yes.") claim nothing and are passed over.

use std::collections::HashSet;

use crate::domain::{CharSpan, Citation, Grounding, ScoredPassage};

/// Part of a sentence's content words that a source must hold.
const SUPPORT: f32 = 0.6;

/// Fewest content words that make a claim.
const CLAIM_WORDS: usize = 3;

const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "because", "been",
    "before", "being", "between", "both", "but", "by", "can", "could", "did", "do", "does", "each", "example", "for",
    "from", "had", "has", "have", "how", "however", "if", "in", "into", "is", "it", "its", "just", "like", "may",
    "more", "most", "must", "no", "not", "of", "on", "one", "only", "or", "other", "our", "out", "over", "passage",
    "same", "should", "so", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these", "they",
    "this", "those", "through", "to", "two", "under", "use", "used", "using", "was", "we", "were", "what", "when",
    "where", "which", "while", "who", "why", "will", "with", "would", "you", "your",
];

/// What was found about an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// Supported sentences, in order.
    pub citations: Vec<Citation>,
    /// Sentences that claim something and stand on no source.
    pub unsupported: usize,
}

impl Attribution {
    /// How far the answer stands on its sources.
    #[must_use]
    pub fn grounding(&self) -> Grounding {
        if self.unsupported == 0 && !self.citations.is_empty() { Grounding::Grounded } else { Grounding::Partial }
    }
}

/// Looks for every sentence of `answer` in `sources`.
#[must_use]
pub fn attribute(answer: &str, sources: &[ScoredPassage]) -> Attribution {
    let vocabularies: Vec<HashSet<String>> =
        sources.iter().map(|source| content_words(&source.passage.text).into_iter().collect()).collect();
    let mut found = Attribution { citations: Vec::new(), unsupported: 0 };
    for (span, sentence) in sentences(answer) {
        let words: HashSet<String> = content_words(sentence).into_iter().collect();
        if words.len() < CLAIM_WORDS {
            continue;
        }
        match best_source(&words, &vocabularies) {
            Some((source, score)) if score >= SUPPORT => found.citations.push(Citation { source, span, score }),
            _ => found.unsupported += 1,
        }
    }
    found
}

/// Number (from 1) and coverage of the source that holds most of the words; the earlier one wins a tie.
fn best_source(words: &HashSet<String>, vocabularies: &[HashSet<String>]) -> Option<(usize, f32)> {
    let mut best: Option<(usize, usize)> = None;
    for (index, vocabulary) in vocabularies.iter().enumerate() {
        let held = words.intersection(vocabulary).count();
        if best.is_none_or(|(_, most)| held > most) {
            best = Some((index + 1, held));
        }
    }
    // A sentence has far fewer words than a float counts exactly.
    #[allow(clippy::cast_precision_loss)]
    best.map(|(source, held)| (source, held as f32 / words.len() as f32))
}

fn content_words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .filter(|word| !STOP_WORDS.contains(&word.as_str()))
        .map(|word| stem(&word))
        .collect()
}

/// Takes off the commonest English endings, so that "sorted" meets "sorting".
fn stem(word: &str) -> String {
    for ending in ["ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s"] {
        if let Some(short) = word.strip_suffix(ending)
            && short.chars().count() >= 3
        {
            return short.trim_end_matches('e').to_owned();
        }
    }
    word.trim_end_matches('e').to_owned()
}

/// Sentences with their place in characters. A sentence ends at `.`, `!` or `?` before white space, or at a line's end.
fn sentences(text: &str) -> Vec<(CharSpan, &str)> {
    let mut found = Vec::new();
    let (mut start_byte, mut start_char) = (0, 0);
    let mut characters = text.char_indices().peekable();
    let mut position = 0;
    while let Some((byte, character)) = characters.next() {
        position += 1;
        let next = characters.peek().map(|(_, next)| *next);
        let ends = character == '\n'
            || matches!(character, '.' | '!' | '?') && next.is_none_or(char::is_whitespace)
            || next.is_none();
        if ends {
            let end_byte = byte + character.len_utf8();
            push_trimmed(&mut found, &text[start_byte..end_byte], start_char);
            (start_byte, start_char) = (end_byte, position);
        }
    }
    found
}

fn push_trimmed<'a>(found: &mut Vec<(CharSpan, &'a str)>, raw: &'a str, start_char: usize) {
    let sentence = raw.trim();
    if sentence.is_empty() {
        return;
    }
    let leading = raw.chars().take_while(|c| c.is_whitespace()).count();
    let start = start_char + leading;
    found.push((CharSpan { start, end: start + sentence.chars().count() }, sentence));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChunkId, DocumentId, DocumentKind, Passage};

    fn source(text: &str) -> ScoredPassage {
        ScoredPassage {
            passage: Passage {
                chunk_id: ChunkId("c".into()),
                document_id: DocumentId("d".into()),
                file_name: "d.md".into(),
                kind: DocumentKind::Markdown,
                page: None,
                section: None,
                span: CharSpan::default(),
                text: text.into(),
            },
            score: 0.8,
        }
    }

    #[test]
    fn a_sentence_is_cited_to_the_source_that_holds_its_words() {
        let sources = [
            source("Linked lists keep their elements in nodes."),
            source("A binary heap is a complete tree stored in an array."),
        ];
        let answer = "Good question! The heap is stored as an array and forms a complete binary tree.";
        let found = attribute(answer, &sources);
        assert_eq!((found.citations.len(), found.unsupported), (1, 0));
        let citation = found.citations[0];
        assert_eq!(citation.source, 2);
        let cited: String =
            answer.chars().skip(citation.span.start).take(citation.span.end - citation.span.start).collect();
        assert!(cited.starts_with("The heap") && cited.ends_with("tree."), "{cited}");
        assert_eq!(found.grounding(), Grounding::Grounded);
    }

    #[test]
    fn a_made_up_sentence_stands_on_nothing_whatever_number_it_claims() {
        let found = attribute("Napoleon invented quantum chromodynamics in Paris [1].", &[source("A heap is a tree.")]);
        assert_eq!((found.citations.len(), found.unsupported), (0, 1));
        assert_eq!(found.grounding(), Grounding::Partial);
    }

    #[test]
    fn spans_count_characters_and_not_bytes() {
        let answer = "Größe zählt überall mehr. Tail words here matter.";
        let spans: Vec<CharSpan> = sentences(answer).into_iter().map(|(span, _)| span).collect();
        assert_eq!(spans, [CharSpan { start: 0, end: 25 }, CharSpan { start: 26, end: 49 }]);
    }

    #[test]
    fn a_decimal_point_does_not_end_a_sentence() {
        assert_eq!(sentences("It takes 3.5 steps.\nThen it ends").len(), 2);
    }
}
