//! A term of a question that stands nowhere, taken for the one that its writer most likely meant.
//!
//! Without it a slip of the finger is the rarest of all terms: the words find nothing, and the question looks like one that the
//! corpus does not answer.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Words;

/// Shortest term that is corrected, in letters. Shorter ones have too many neighbours that mean something else: "trie", "tree".
const SHORTEST: usize = 5;
/// Letters from which on two slips are forgiven instead of one.
const LONG: usize = 8;

/// A term to compare with many.
pub(super) struct Spelling<'t> {
    term: &'t str,
    letters: Vec<char>,
    /// See [`bits`].
    bits: u64,
    /// Most slips that are forgiven.
    allowed: usize,
}

impl<'t> Spelling<'t> {
    /// `None` where `term` is no word, or too short to be corrected.
    pub fn of(term: &'t str) -> Option<Self> {
        let letters: Vec<char> = term.chars().collect();
        let is_word = letters.len() >= SHORTEST && letters.iter().all(|letter| letter.is_alphabetic());
        let allowed = if letters.len() < LONG { 1 } else { 2 };
        is_word.then(|| Self { term, bits: bits(term), letters, allowed })
    }

    /// The known term nearest to this one: of those equally near, the most frequent one. `None` where none is near.
    pub fn nearest<'w>(&self, parts: impl Iterator<Item = &'w Words>) -> Option<String> {
        let mut near: HashMap<&str, (usize, usize)> = HashMap::new();
        for part in parts {
            for (known, rows) in part.terms_that_begin_like(self.term) {
                if let Some(slips) = self.slips_to(known) {
                    near.entry(known).or_insert((slips, 0)).1 += rows;
                }
            }
        }
        let best = near.into_iter().min_by_key(|(known, (slips, rows))| (*slips, Reverse(*rows), *known));
        best.map(|(known, _)| known.to_owned())
    }

    /// How many slips lead to `known`; `None` for more than are forgiven.
    fn slips_to(&self, known: &str) -> Option<usize> {
        // A slip changes the length by at most one letter, and which letters there are by at most two.
        let near = known.chars().count().abs_diff(self.letters.len()) <= self.allowed
            && (bits(known) ^ self.bits).count_ones() as usize <= 2 * self.allowed;
        let slips = near.then(|| slips(&self.letters, &known.chars().collect::<Vec<_>>()))?;
        (slips <= self.allowed).then_some(slips)
    }
}

/// Which letters a term has, as far as 64 kinds tell them apart.
fn bits(term: &str) -> u64 {
    term.chars().fold(0, |bits, letter| bits | 1 << (u32::from(letter) % 64))
}

/// Letters left out, put in, exchanged or swapped with their neighbour that lead from one term to the other (the restricted distance
/// of Damerau, "A technique for computer detection and correction of spelling errors", 1964).
fn slips(from: &[char], to: &[char]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.len()).collect());
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let exchanged = last[j] + usize::from(letter != other);
            let mut least = exchanged.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::super::WordsBuilder;
    use super::*;

    fn corrected(term: &str, rows: &[&str]) -> Option<String> {
        let mut builder = WordsBuilder::default();
        rows.iter().for_each(|text| builder.row(&[text, ""], true));
        Spelling::of(term)?.nearest(std::iter::once(&builder.into_words()))
    }

    #[test]
    fn one_slip_is_forgiven_in_a_word_and_two_in_a_long_one() {
        for slip in ["semaphor", "semaphroe", "semmaphore", "semapore", "semafhore"] {
            assert_eq!(corrected(slip, &["semaphore mutex"]).as_deref(), Some("semaphor"), "{slip}");
        }
        assert_eq!(corrected("mutxe", &["mutex"]).as_deref(), Some("mutex"));
        assert_eq!(corrected("mtuxe", &["mutex"]), None);
    }

    #[test]
    fn long_words_of_any_script_are_corrected() {
        assert_eq!(corrected("сортировкй", &["сортировка"]).as_deref(), Some("сортировка"));
        assert_eq!(corrected("ταξινομιση", &["ταξινομηση"]).as_deref(), Some("ταξινομηση"));
    }

    #[test]
    fn short_words_identifiers_and_other_beginnings_are_left_as_they_are() {
        assert_eq!(corrected("trie", &["tree"]), None);
        assert_eq!(corrected("sha256", &["sha255"]), None);
        assert_eq!(corrected("nutex", &["mutex"]), None);
    }

    #[test]
    fn the_nearest_wins_and_then_the_most_frequent() {
        assert_eq!(corrected("paralel", &["parallel", "parcel"]).as_deref(), Some("parallel"));
        assert_eq!(corrected("heapz", &["heaps heapy", "heapq", "heapq"]).as_deref(), Some("heapq"));
    }

    #[test]
    fn slips_are_counted_as_damerau_does() {
        let count = |from: &str, to: &str| slips(&from.chars().collect::<Vec<_>>(), &to.chars().collect::<Vec<_>>());
        assert_eq!(
            [count("abcd", "abcd"), count("abcd", "acbd"), count("abcd", "abd"), count("abcd", "abxcy")],
            [0, 1, 1, 2]
        );
        assert_eq!([count("", "abc"), count("abc", "")], [3, 3]);
    }
}
