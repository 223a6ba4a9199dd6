//! Where a sentence contradicts the source that it shares its words with: another number, a name that is not there, "not" on
//! one side only, the opposite word, exchanged roles.

use std::collections::BTreeMap;

use super::replacement::{replaces_a_word, says_the_opposite};
use super::roles::{is_reordered, mixes_parts};
use super::vocabulary::{Vocabulary, is_acronym};
use super::words::{Word, WordKind, is_negator};

/// Words of a sentence that are looked at: all of any sentence that a person would write. Some comparisons take time with the
/// square of it.
const MOST_WORDS: usize = 80;

/// Why a sentence cannot stand on a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// A number is not there, or an identifier or name not in the whole source.
    Missing,
    /// One of the two is negated.
    Negation,
    /// A word's opposite or another number stands in its place.
    Replaced,
    /// The source has the parts exchanged.
    Exchanged,
}

/// Looks for a contradiction between a sentence and the place it may stand on: a few sentences (`window`) of a `source`.
pub(super) fn conflict(sentence: &[Word], window: &Vocabulary, source: &Vocabulary) -> Option<Conflict> {
    let sentence = &sentence[..sentence.len().min(MOST_WORDS)];
    if is_something_missing(sentence, window, source) {
        Some(Conflict::Missing)
    } else if is_negated_on_one_side(sentence, &window.words) {
        Some(Conflict::Negation)
    } else if says_the_opposite(sentence, &window.words) || replaces_a_word(sentence, &window.words) {
        Some(Conflict::Replaced)
    } else if is_reordered(sentence, &window.words) || mixes_parts(sentence, &window.words) {
        Some(Conflict::Exchanged)
    } else {
        None
    }
}

fn is_something_missing(sentence: &[Word], window: &Vocabulary, source: &Vocabulary) -> bool {
    // Written In Capitals, names can't be told from words.
    let names = sentence.iter().filter(|word| word.kind == WordKind::Name).count();
    let content = sentence.iter().filter(|word| word.is_content()).count();
    let names_count = names * 2 <= content;
    sentence.iter().any(|word| match word.kind {
        WordKind::Number => !window.has_stem(&word.stem),
        WordKind::Identifier => !source.has_stem(&word.stem),
        WordKind::Name => names_count && !source.holds(word) && !is_acronym(word, source),
        WordKind::Stop | WordKind::Light | WordKind::Content => false,
    })
}

/// Whether a stem stands in a text negated, and whether it stands there plainly.
fn occurs(words: &[Word], stem: &str) -> (bool, bool) {
    let with = words.iter().filter(|word| word.is_content() && word.stem == stem);
    with.fold((false, false), |(negated, plain), word| {
        (negated || word.negated_by.is_some(), plain || word.negated_by.is_none())
    })
}

/// The words that each negator of a text governs, without light ones.
fn negations(words: &[Word]) -> Vec<Vec<&Word>> {
    let mut governed: BTreeMap<usize, Vec<&Word>> = BTreeMap::new();
    for word in words.iter().filter(|word| word.kind != WordKind::Light) {
        if let Some(negator) = word.negated_by {
            governed.entry(negator).or_default().push(word);
        }
    }
    governed.into_values().collect()
}

fn is_negated_on_one_side(sentence: &[Word], window: &[Word]) -> bool {
    let own = negations(sentence);
    // A negation of the sentence must stand in the window, on at least one of the words it governs.
    if !own.is_empty() {
        let places: Vec<(bool, bool)> = own.iter().flatten().map(|word| occurs(window, &word.stem)).collect();
        // A word that stands there both ways tells nothing.
        return places.contains(&(false, true)) && !places.contains(&(true, false));
    }
    // One of the window must stand in the sentence, where that says most of the words it governs.
    let is_denied = |governed: &Vec<&Word>| {
        let said =
            governed.iter().filter(|word| !occurs(window, &word.stem).1 && occurs(sentence, &word.stem).1).count();
        said * 2 > governed.len()
    };
    !sentence.iter().any(is_negator) && negations(window).iter().any(is_denied)
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn between(sentence: &str, source: &str) -> Option<Conflict> {
        let source = Vocabulary::new(words(source));
        conflict(&words(sentence), &source, &source)
    }

    #[test]
    fn a_number_name_or_identifier_must_stand_in_the_source() {
        let source = "Hoare published quicksort in 1961; call sort_all or a depth-first search.";
        assert_eq!(between("Quicksort was published in 1961.", source), None);
        assert_eq!(between("Quicksort was published in 1962.", source), Some(Conflict::Missing));
        assert_eq!(between("Quicksort by Knuth was published.", source), Some(Conflict::Missing));
        assert_eq!(between("Quicksort is called by sort_some.", source), Some(Conflict::Missing));
        assert_eq!(between("The search is called DFS.", source), None);
    }

    #[test]
    fn a_negation_on_one_side_is_a_contradiction() {
        let source = "Heapsort is not stable. Its speed depends on the cache.";
        assert_eq!(between("Heapsort is not a stable sort.", source), None);
        assert_eq!(between("Heapsort is stable.", source), Some(Conflict::Negation));
        assert_eq!(between("The speed of heapsort does not depend on the cache.", source), Some(Conflict::Negation));
    }

    #[test]
    fn opposites_and_exchanged_roles_are_contradictions() {
        assert_eq!(between("Search is slower then.", "Search is faster then."), Some(Conflict::Replaced));
        let source = "Violet light is bent more strongly than red.";
        assert_eq!(between("Red light is bent more strongly than violet.", source), Some(Conflict::Exchanged));
        let source = "The client sends a SYN segment, the server answers with SYN-ACK.";
        assert_eq!(
            between("The server sends a SYN segment; the client answers with SYN-ACK.", source),
            Some(Conflict::Exchanged)
        );
        assert_eq!(between("The client sends SYN, and the server answers with SYN-ACK.", source), None);
    }
}
