//! What generated answers are worth.
//!
//! - *Citation precision*: the part of the citations whose source stands at a place that answers the question. Over answerable
//!   questions.
//! - *Supported sentences*: the part of the sentences that claim something and have a source, as the server attributes them.
//! - *Coverage*: the part of the `answer_points` that the answer makes. A point counts as made when at least 60 % of its content
//!   words (numbers, and words of three letters or more that are not among the commonest) stand in the answer; words are the
//!   same when their first five letters are, an `s` at the end aside, numbers when they are equal. It is a rough measure that
//!   rewards the book's own words: good for comparing two configurations, not for judging one.

use std::collections::HashSet;

use mentor_actors::attribution::sentence_spans;
use mentor_actors::domain::{CharSpan, Completion, Grounding};
use serde::Serialize;

use super::figures::ratio;
use super::judge::answers;
use super::questions::Question;

/// Part of a point's content words that the answer must have.
const POINT_MADE: f64 = 0.6;

/// Letters of a word that count, without an `s` at the end.
const STEM_CHARS: usize = 5;

const COMMON: &[&str] = &[
    "about", "after", "all", "also", "and", "any", "are", "because", "been", "before", "being", "both", "but", "can",
    "does", "each", "for", "from", "had", "has", "have", "how", "into", "its", "may", "more", "most", "not", "one",
    "only", "other", "out", "over", "same", "should", "since", "some", "such", "than", "that", "the", "their", "them",
    "then", "there", "these", "they", "this", "those", "through", "too", "under", "very", "was", "were", "what",
    "when", "where", "which", "while", "who", "will", "with", "without", "would", "you", "your",
];

/// One answer, counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgedAnswer {
    /// The question's id.
    pub id: String,
    /// What was answered.
    pub answer: String,
    /// Whether the materials answer the question.
    pub is_answerable: bool,
    /// Whether it was refused.
    pub refused: bool,
    /// Citations of a source at a place that answers, and all of them.
    pub citations: (usize, usize),
    /// Sentences with a source, and all that claim something.
    pub supported: (usize, usize),
    /// Points made, and all of them.
    pub points: (usize, usize),
}

/// Figures over all answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AnswerFigures {
    /// How many questions were answered or refused.
    pub answers: usize,
    /// Unanswerable questions refused, and all of them.
    pub refused_unanswerable: (usize, usize),
    /// Answerable questions refused, and all of them.
    pub refused_answerable: (usize, usize),
    /// Citations of answers to answerable questions.
    pub citations: usize,
    /// Part of them whose source stands at a place that answers.
    pub citation_precision: f64,
    /// Sentences that claim something.
    pub sentences: usize,
    /// Part of them with a source.
    pub supported_rate: f64,
    /// Points that answers to answerable questions should make; a refused one makes none.
    pub points: usize,
    /// Part of them that were made.
    pub point_coverage: f64,
}

/// Counts one answer.
#[must_use]
pub fn judge_answer(question: &Question, done: &Completion) -> JudgedAnswer {
    let refused = done.grounding == Grounding::Refused;
    let on_gold = done.citations.iter().filter(|citation| {
        done.sources.get(citation.source - 1).is_some_and(|scored| answers(question, &scored.passage))
    });
    // A sentence of several clauses may have a citation for each.
    let is_cited = |sentence: &CharSpan| {
        done.citations.iter().any(|citation| (sentence.start..sentence.end).contains(&citation.span.start))
    };
    let supported = sentence_spans(&done.answer).iter().filter(|sentence| is_cited(sentence)).count();
    let made = question.answer_points.iter().filter(|point| !refused && is_made(point, &done.answer));
    JudgedAnswer {
        id: question.id.clone(),
        answer: done.answer.clone(),
        is_answerable: question.is_answerable(),
        refused,
        citations: (on_gold.count(), done.citations.len()),
        supported: (supported, supported + done.unsupported.len()),
        points: (made.count(), question.answer_points.len()),
    }
}

/// Adds the answers up.
#[must_use]
pub fn summarise_answers(all: &[JudgedAnswer]) -> AnswerFigures {
    let of = |answerable: bool| all.iter().filter(move |answer| answer.is_answerable == answerable);
    let refused = |answerable| (of(answerable).filter(|answer| answer.refused).count(), of(answerable).count());
    let sum = |counts: fn(&JudgedAnswer) -> (usize, usize), answers: &mut dyn Iterator<Item = &JudgedAnswer>| {
        answers.map(counts).fold((0, 0), |(part, whole), (more, all)| (part + more, whole + all))
    };
    let citations = sum(|answer| answer.citations, &mut of(true));
    let supported = sum(|answer| answer.supported, &mut all.iter());
    let points = sum(|answer| answer.points, &mut of(true));
    AnswerFigures {
        answers: all.len(),
        refused_unanswerable: refused(false),
        refused_answerable: refused(true),
        citations: citations.1,
        citation_precision: ratio(citations.0, citations.1),
        sentences: supported.1,
        supported_rate: ratio(supported.0, supported.1),
        points: points.1,
        point_coverage: ratio(points.0, points.1),
    }
}

fn is_made(point: &str, answer: &str) -> bool {
    let (wanted, said) = (content_words(point), content_words(answer));
    !wanted.is_empty() && ratio(wanted.intersection(&said).count(), wanted.len()) >= POINT_MADE
}

fn content_words(text: &str) -> HashSet<String> {
    // "1,000" is one number.
    let joined = text.to_lowercase().replace(',', "");
    let words = joined.split(|c: char| !c.is_alphanumeric() && c != '.').map(|word| word.trim_matches('.'));
    words
        .filter_map(|word| {
            let number = word.starts_with(|c: char| c.is_ascii_digit());
            let counts = number || word.chars().count() >= 3 && !COMMON.contains(&word);
            counts.then(|| {
                if number { word.to_owned() } else { word.trim_end_matches('s').chars().take(STEM_CHARS).collect() }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_made_by_most_of_its_words_in_other_forms() {
        let answer = "Python refuses calls nested 1,000 deep, since waiting frames occupy memory.";
        assert!(is_made("1,000 frames by default in CPython", "CPython allows 1000 frames."));
        assert!(is_made("Every waiting call occupies a stack frame", answer));
        assert!(!is_made("The limit is 10,000 frames of the stack", answer));
        assert!(!is_made("of the", answer), "a point without content words cannot be made");
    }

    #[test]
    fn answers_are_added_up_and_unanswerable_ones_count_for_refusals() {
        let answer = |is_answerable, refused, citations, supported, points| JudgedAnswer {
            id: "q".into(),
            answer: String::new(),
            is_answerable,
            refused,
            citations,
            supported,
            points,
        };
        let figures = summarise_answers(&[
            answer(true, false, (1, 2), (2, 4), (1, 2)),
            answer(true, true, (0, 0), (0, 0), (0, 2)),
            answer(false, false, (0, 3), (3, 4), (0, 1)),
            answer(false, true, (0, 0), (0, 0), (0, 1)),
        ]);
        assert_eq!((figures.refused_unanswerable, figures.refused_answerable), ((1, 2), (1, 2)));
        assert_eq!((figures.citations, figures.sentences, figures.points), (2, 8, 4));
        assert!((figures.citation_precision - 0.5).abs() < 1e-9);
        assert!((figures.supported_rate - 5.0 / 8.0).abs() < 1e-9);
        assert!((figures.point_coverage - 0.25).abs() < 1e-9);
    }
}
