//! A sentence made of the source's words that gives them to others: exchanged roles, and words of two statements in one.

use std::collections::HashSet;

use super::lexicon::PRONOUNS;
use super::vocabulary::is_form_of;
use super::words::Word;

/// Words apart at most this far belong together, for telling who does what.
const REACH: usize = 3;

/// Whether the sentence is one of the window's, told with exchanged roles; a paraphrase may order its words freely.
pub(super) fn is_reordered(sentence: &[Word], window: &[Word]) -> bool {
    /// Hundredths of its words that make it the same sentence.
    const SAME_WORDS: usize = 88;
    let here: Vec<&Word> = sentence.iter().filter(|word| word.is_content()).collect();
    window.chunk_by(|a, b| a.sentence == b.sentence).any(|there| {
        let is_there =
            |word: &&&Word| there.iter().any(|other| other.is_content() && is_form_of(&other.stem, &word.stem));
        let held = here.iter().filter(is_there).count();
        held * 100 >= here.len() * SAME_WORDS && has_exchanged_roles(sentence, there)
    })
}

/// "The client calls, the server answers" against "the server calls, the client answers", or "red bends more than violet"
/// against "violet bends more than red": two words have exchanged the neighbours that they have in the other text.
fn has_exchanged_roles(sentence: &[Word], window: &[Word]) -> bool {
    let is_passive = |words: &[Word]| words.iter().any(|word| word.lower == "by");
    if is_passive(sentence) != is_passive(window) {
        return false;
    }
    let (here, there) = (neighbours(sentence), neighbours(window));
    let is_new = |pair: &(&str, &str)| there.contains(pair) && !here.contains(pair);
    let lost: Vec<(&str, &str)> = here.iter().copied().filter(|pair| !there.contains(pair)).collect();
    lost.iter().any(|&(a, p)| {
        lost.iter().any(|&(b, q)| {
            let side_by_side = a != b && p != q && is_new(&(a, q)) && is_new(&(b, p));
            // Here (b, q) is a word with its left neighbour, so the roles of the two in the pair are the other way round.
            let across = a != q && p != b && is_new(&(q, p)) && is_new(&(b, a));
            side_by_side || across
        })
    })
}

/// Pairs of content words that stand near each other, in their order.
fn neighbours(words: &[Word]) -> HashSet<(&str, &str)> {
    let content: Vec<&Word> = words.iter().filter(|word| word.is_content() || word.lower == "than").collect();
    let mut pairs = HashSet::new();
    for (at, first) in content.iter().enumerate() {
        for second in content.iter().skip(at + 1).take(REACH) {
            pairs.insert((first.stem.as_str(), second.stem.as_str()));
        }
    }
    pairs
}

/// The parts of a text that say something by themselves; a shorter one belongs to the next, the last one to the one before.
pub(super) fn parts(words: &[Word]) -> Vec<&[Word]> {
    /// Fewer content words say nothing by themselves.
    const PART_WORDS: usize = 3;
    let mut found: Vec<&[Word]> = Vec::new();
    let (mut start, mut content) = (0, 0);
    for at in 0..words.len() {
        if at > start && words[at].part != words[at - 1].part && content >= PART_WORDS {
            found.push(&words[start..at]);
            (start, content) = (at, 0);
        }
        content += usize::from(words[at].is_content());
    }
    if content >= PART_WORDS || found.is_empty() {
        found.push(&words[start..]);
    }
    found
}

/// A part of the window with its content words.
struct Part<'a> {
    words: &'a [Word],
    stems: HashSet<&'a str>,
}

impl<'a> Part<'a> {
    fn new(words: &'a [Word]) -> Self {
        Self { words, stems: stems(words) }
    }

    fn has(&self, words: &[&str]) -> bool {
        self.words.iter().any(|word| words.contains(&word.lower.as_str()))
    }
}

/// "TCP has a header of 8 bytes" where UDP's has 8 and TCP's has 20: a part of the sentence takes words from each of two parts
/// of the window that are built alike, or two parts take words from the same two.
pub(super) fn mixes_parts(sentence: &[Word], window: &[Word]) -> bool {
    let there: Vec<Part> = parts(window).into_iter().map(Part::new).collect();
    let here: Vec<HashSet<&str>> = parts(sentence).into_iter().map(stems).collect();
    let own = |part: &Part, stem: &str| {
        part.stems.contains(stem) && there.iter().filter(|other| other.stems.contains(stem)).count() == 1
    };
    let mixes = |part: &HashSet<&str>, a: &Part, b: &Part| {
        let held = part.iter().filter(|stem| a.stems.contains(*stem) || b.stems.contains(*stem)).count();
        held * 4 >= part.len() * 3 && part.iter().any(|stem| own(a, stem)) && part.iter().any(|stem| own(b, stem))
    };
    let pairs = there.iter().enumerate().flat_map(|(at, a)| there[at + 1..].iter().map(move |b| (a, b)));
    pairs.into_iter().any(|(a, b)| {
        let mixing: Vec<&HashSet<&str>> = here.iter().filter(|part| mixes(part, a, b)).collect();
        mixing.len() > 1 || mixing.iter().any(|part| are_alike(a, b, part))
    })
}

/// Whether two parts say of two things what a part of the sentence says of one: they share a word with it, differ in a few
/// others that it leaves out, and the second does not speak of the first.
fn are_alike(a: &Part, b: &Part, part: &HashSet<&str>) -> bool {
    /// Words that each may have by itself.
    const LEFT_OUT: usize = 3;
    let left_out = |of: &Part, other: &Part| {
        of.stems.iter().filter(|stem| !other.stems.contains(*stem) && !part.contains(*stem)).count()
    };
    let shared = a.stems.intersection(&b.stems).filter(|stem| part.contains(*stem)).count();
    let is_apart = shared >= 2 && !b.has(&["its", "their"]) || shared == 1 && !b.has(PRONOUNS);
    is_apart && (1..=LEFT_OUT).contains(&left_out(a, b)) && (1..=LEFT_OUT).contains(&left_out(b, a))
}

fn stems(words: &[Word]) -> HashSet<&str> {
    words.iter().filter(|word| word.is_content()).map(|word| word.stem.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn mixed(sentence: &str, window: &str) -> bool {
        mixes_parts(&words(sentence), &words(window))
    }

    #[test]
    fn words_of_two_statements_that_are_built_alike_make_no_third_one() {
        let records = "An A record holds an IPv4 address; an MX record names the mail server of a domain.";
        assert!(mixed("An MX record holds the address of a domain.", records));
        assert!(!mixed("An MX record names a mail server.", records));
    }

    #[test]
    fn two_statements_that_have_exchanged_their_ends_are_mixed() {
        let tables = "Python's dict uses open addressing and grows early. Java's HashMap uses chaining and grows late.";
        assert!(mixed("Python's dict uses chaining, while Java's HashMap uses open addressing.", tables));
        assert!(!mixed("Java's HashMap uses chaining, while Python's dict uses open addressing.", tables));
    }

    #[test]
    fn a_statement_that_refers_to_the_one_before_may_be_joined_with_it() {
        let statistics = "The variance is a mean of squares, and the standard deviation is its square root.";
        assert!(!mixed("The standard deviation is the square root of the variance.", statistics));
    }
}
