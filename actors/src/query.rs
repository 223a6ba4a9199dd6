//! What a question that follows others may mean: itself alone, or itself together with what it goes on from.
//!
//! Its form only makes one of them likelier ("and how do I remove it?" is a follow-up, "tombstone" hardly). Both are searched for, and
//! what the course answers better is taken: a change of the subject together with the old one is near to nothing in a book.

use crate::ranking::log_odds;

/// The ways to read a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readings {
    /// As it was asked.
    pub alone: String,
    /// With what it may go on from before it.
    pub together: Option<Together>,
}

/// A question with what it may go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Together {
    /// What to search for.
    pub text: String,
    form: Form,
}

/// What a question's form says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// It begins as a follow-up does, or has a word that points back.
    GoesOn,
    /// One or two words, which stand alone or say what is wanted of the last subject ("disadvantages?").
    Keywords,
}

impl Form {
    /// What the form is worth, in log-odds of the best passage's relevance: so much further the reading it speaks against has to
    /// be ahead. From 24 follow-ups on two sets of books and 30 changes of the subject on one of them.
    fn bias(self) -> f32 {
        match self {
            Self::GoesOn => 0.25,
            Self::Keywords => -1.0,
        }
    }
}

impl Together {
    /// Whether this reading is taken, with the relevance of the best passage of both; `None` where nothing was found.
    #[must_use]
    pub fn is_taken(&self, best: Option<f32>, best_alone: Option<f32>) -> bool {
        let odds = |best: Option<f32>| log_odds(best.unwrap_or(0.0));
        odds(best) + self.form.bias() >= odds(best_alone)
    }
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

/// Most words that are taken for keywords.
const KEYWORDS: usize = 2;

/// Shortest question, in words, that is taken to stand alone whatever it begins with.
const STANDS_ALONE_WORDS: usize = 24;

/// How to read a question after others. What it may go on from is the last one, and, if that goes on itself, the last before it that
/// does not.
#[must_use]
pub fn readings(question: &str, previous_questions: &[&str]) -> Readings {
    let alone = question.trim().to_owned();
    let (Some(form), Some((last, before))) = (form_of(&alone), previous_questions.split_last()) else {
        return Readings { alone, together: None };
    };
    let goes_on = |earlier: &&str| form_of(earlier) == Some(Form::GoesOn);
    let subject = if goes_on(last) { before.iter().rfind(|earlier| !goes_on(earlier)) } else { None };
    let parts = subject.into_iter().chain([last]).map(|earlier| earlier.trim()).chain([alone.as_str()]);
    let text = parts.collect::<Vec<_>>().join(" ");
    Readings { together: Some(Together { text, form }), alone }
}

/// `None` where nothing in the question's form says that it goes on from another.
fn form_of(question: &str) -> Option<Form> {
    let lower = question.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()).collect();
    if words.is_empty() || words.len() >= STANDS_ALONE_WORDS {
        return None;
    }
    let opening = words.join(" ");
    let opens = OPENERS
        .iter()
        .any(|opener| opening.strip_prefix(opener).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')));
    let points = words.len() <= POINTING_WORDS && words.iter().any(|word| POINTERS.contains(word));
    match (opens || points, words.len()) {
        (true, _) => Some(Form::GoesOn),
        (false, ..=KEYWORDS) => Some(Form::Keywords),
        (false, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(question: &str, before: &[&str]) -> Option<String> {
        readings(question, before).together.map(|together| together.text)
    }

    #[test]
    fn a_follow_up_may_carry_the_question_before_it() {
        let found = readings("ok and what does it do when the file is bigger?", &["older", "what is in an inode?"]);
        assert_eq!(found.alone, "ok and what does it do when the file is bigger?");
        let together = found.together.unwrap();
        assert_eq!(together.text, "what is in an inode? ok and what does it do when the file is bigger?");
        assert_eq!(together.form, Form::GoesOn);
    }

    #[test]
    fn a_follow_up_to_a_follow_up_still_has_its_subject() {
        let before = ["what is a trie?", "which list doubles when full?", "and when does it shrink?"];
        let text = "which list doubles when full? and when does it shrink? and what does that cost?";
        assert_eq!(together("and what does that cost?", &before).as_deref(), Some(text));
        assert_eq!(together("why is that?", &["and then?", "so what?"]).as_deref(), Some("so what? why is that?"));
    }

    #[test]
    fn keywords_are_a_subject_that_a_follow_up_goes_on_from() {
        let text = "hash tables tombstone and how many of them?";
        assert_eq!(together("and how many of them?", &["hash tables", "tombstone"]).as_deref(), Some(&text[12..]));
    }

    #[test]
    fn a_question_that_stands_alone_is_left_alone() {
        for question in ["How does a skip list find an element in logarithmic time?", "explain the third normal form"] {
            assert_eq!(together(question, &["what is a heap?"]), None);
        }
    }

    #[test]
    fn the_first_question_has_nothing_to_go_on_from() {
        assert_eq!(together("what about it?", &[]), None);
    }

    #[test]
    fn the_better_answered_reading_is_taken_and_the_form_decides_between_equals() {
        let taken = |question: &str, best: f32, alone: f32| {
            readings(question, &["what is a heap?"]).together.unwrap().is_taken(Some(best), Some(alone))
        };
        assert!(taken("and how do I remove from it?", 0.5, 0.3) && taken("and how do I remove from it?", 0.3, 0.3));
        assert!(!taken("so what turned the plains into dust?", 0.2, 0.5));
        assert!(taken("disadvantages?", 0.5, 0.1) && !taken("tombstone", 0.2, 0.1));
        let together = readings("tombstone", &["what is a heap?"]).together.unwrap();
        assert!(together.is_taken(Some(0.1), None) && !together.is_taken(None, Some(0.1)));
    }
}
