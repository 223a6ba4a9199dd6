//! A word of the source whose opposite, or another number, stands in its place in the sentence.

use std::sync::LazyLock;

use super::lexicon::{NEGATIVE_PREFIXES, OPPOSITE_PREFIXES, OPPOSITES};
use super::roles::parts;
use super::vocabulary::is_form_of;
use super::words::{Word, WordKind, stem};

/// Whether the sentence has a word where the window has only its opposite.
pub(super) fn says_the_opposite(sentence: &[Word], window: &[Word]) -> bool {
    let has = |words: &[Word], wanted: &str| words.iter().any(|word| word.stem == wanted);
    let contradicts = |here: &str, there: &str| {
        has(sentence, here) && !has(sentence, there) && !has(window, here) && has(window, there)
    };
    OPPOSITE_STEMS.iter().any(|(one, other)| contradicts(one, other) || contradicts(other, one))
}

/// Whether the sentence is one of the window's, or a part of one, but for a word that it has replaced by its opposite or by
/// another number.
pub(super) fn replaces_a_word(sentence: &[Word], window: &[Word]) -> bool {
    let here: Vec<&Word> = sentence.iter().filter(|word| word.is_content()).collect();
    let sentences = window.chunk_by(|a, b| a.sentence == b.sentence);
    sentences.chain(parts(window)).any(|there| {
        let there: Vec<&Word> = there.iter().filter(|word| word.is_content()).collect();
        let matches = common_order(&here, &there);
        // What has less than half in common is another statement.
        matches.len() * 2 >= here.len() && has_exclusive_gap(&here, &there, &matches)
    })
}

/// Whether words between the same two common words, next to one of them, exclude each other.
fn has_exclusive_gap(here: &[&Word], there: &[&Word], matches: &[(usize, usize)]) -> bool {
    /// Words next to a common one.
    const NEAR: usize = 2;
    let exclude = |ours: &[&Word], theirs: &[&Word]| ours.iter().any(|a| theirs.iter().any(|b| excludes(a, b)));
    let (mut our_start, mut their_start) = (0, 0);
    matches.iter().chain(&[(here.len(), there.len())]).any(|&(our_end, their_end)| {
        let (ours, theirs) = (&here[our_start..our_end], &there[their_start..their_end]);
        (our_start, their_start) = (our_end + 1, their_end + 1);
        let first = |gap: &[&Word]| gap.len().min(NEAR);
        let last = |gap: &[&Word]| gap.len().saturating_sub(NEAR);
        exclude(&ours[..first(ours)], &theirs[..first(theirs)]) || exclude(&ours[last(ours)..], &theirs[last(theirs)..])
    })
}

/// Whether what one word says cannot be said with the other in its place.
fn excludes(a: &Word, b: &Word) -> bool {
    a.kind == WordKind::Number && b.kind == WordKind::Number && a.stem != b.stem || are_opposites(a, b)
}

/// Places of the longest sequence of words that both have in the same order.
fn common_order(here: &[&Word], there: &[&Word]) -> Vec<(usize, usize)> {
    let is_same = |i: usize, j: usize| is_form_of(&here[i].stem, &there[j].stem);
    // Of what is behind each pair of places.
    let mut longest = vec![vec![0_usize; there.len() + 1]; here.len() + 1];
    for i in (0..here.len()).rev() {
        for j in (0..there.len()).rev() {
            longest[i][j] =
                if is_same(i, j) { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let mut matches = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < here.len() && j < there.len() {
        if is_same(i, j) {
            matches.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    matches
}

/// [`OPPOSITES`] as stems.
static OPPOSITE_STEMS: LazyLock<Vec<(String, String)>> =
    LazyLock::new(|| OPPOSITES.iter().map(|(one, other)| (stem(one), stem(other))).collect());

fn are_opposites(a: &Word, b: &Word) -> bool {
    /// A shorter rest of a word is there by accident.
    const REST_CHARS: usize = 4;
    let listed = OPPOSITE_STEMS
        .iter()
        .any(|(one, other)| *one == a.stem && *other == b.stem || *one == b.stem && *other == a.stem);
    let is_rest =
        |rest: Option<&str>, other: Option<&str>| rest == other && rest.is_some_and(|rest| rest.len() >= REST_CHARS);
    let negated = |a: &str, b: &str| NEGATIVE_PREFIXES.iter().any(|prefix| is_rest(a.strip_prefix(prefix), Some(b)));
    let exchanged = |a: &str, b: &str| {
        OPPOSITE_PREFIXES.iter().any(|(one, other)| is_rest(a.strip_prefix(one), b.strip_prefix(other)))
    };
    let by_prefix = |a: &str, b: &str| negated(a, b) || negated(b, a) || exchanged(a, b) || exchanged(b, a);
    listed || by_prefix(&a.lower, &b.lower) || by_prefix(&a.stem, &b.stem)
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn replaced(sentence: &str, window: &str) -> bool {
        replaces_a_word(&words(sentence), &words(window))
    }

    #[test]
    fn an_opposite_or_another_number_in_a_words_place_is_found_by_its_neighbours() {
        let stack = "Popping an empty stack is called underflow; pushing onto a full one is overflow.";
        assert!(replaced("Popping an empty stack is called overflow.", stack));
        assert!(!replaced("Popping an empty stack is called underflow.", stack));
        let incomes = "For the incomes 20, 25 and 500 the mean is 182 and the median 25.";
        assert!(replaced("For the incomes 20, 25 and 500 the median is 20.", incomes));
        assert!(!replaced("For the incomes 20, 25 and 500 the median is 25.", incomes));
    }

    #[test]
    fn a_sentence_that_has_little_in_common_replaces_nothing() {
        assert!(!replaced(
            "Demand for bread is elastic in times of plenty.",
            "A rubber band that is inelastic breaks."
        ));
    }
}
