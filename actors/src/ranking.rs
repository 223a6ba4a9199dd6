//! How relevant a chunk is to a question: one number out of the likeness of their vectors and the words they share.
//!
//! The two are added, not fused by rank: how far a chunk stands out says more than its place. All constants come from 165 questions
//! with known pages and 26 without an answer, on two sets of books; `docs/adr/0012-hybrid-retrieval.md` has the figures.

/// What the words count for, against the likeness of the vectors.
const WORDS: f32 = 0.5;

/// A logistic curve from scores to probabilities.
struct Curve {
    /// Score of the probability one half.
    even: f32,
    steepness: f32,
}

/// How often a passage with a score stood on a page that answers (fitted).
const PASSAGE: Curve = Curve { even: 0.88, steepness: 6.7 };
/// How likely a question has an answer at all, by its best likeness and words. One half is where few questions with an
/// answer are refused: 3 of those 165, and 22 of the 26 without.
const QUESTION: Curve = Curve { even: 0.636, steepness: 20.0 };
/// The same by its best likeness alone.
const QUESTION_BY_LIKENESS: Curve = Curve { even: 0.48, steepness: 20.0 };

impl Curve {
    fn at(&self, score: f32) -> f32 {
        1.0 / (1.0 + (-self.steepness * (score - self.even)).exp())
    }
}

/// How relevant a chunk is, for comparing chunks: at most 1.5.
///
/// `likeness` is the cosine of the question's vector and the chunk's, -1 to 1; `words` the part of the question's words that stand
/// there, weighted by their rarity, 0 to 1.
#[must_use]
pub fn score(likeness: f32, words: f32) -> f32 {
    likeness + WORDS * words
}

/// How likely a passage with this score answers the question, 0 to 1.
#[must_use]
pub fn relevance(score: f32) -> f32 {
    PASSAGE.at(score)
}

/// How likely a question is answered in the corpus at all, 0 to 1, by the best likeness and the best words, wherever they stand;
/// `None` for the words where they were not looked at.
#[must_use]
pub fn answerable(best_likeness: f32, best_words: Option<f32>) -> f32 {
    match best_words {
        Some(words) => QUESTION.at(score(best_likeness, words)),
        None => QUESTION_BY_LIKENESS.at(best_likeness),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_grows_with_the_score_and_stays_a_probability() {
        let found = [-1.0, 0.0, 0.5, 1.0, 1.5].map(relevance);
        assert!(found.is_sorted() && found[0] >= 0.0 && found[4] <= 1.0, "{found:?}");
    }

    #[test]
    fn words_lift_a_chunk_over_a_slightly_likelier_one() {
        assert!(score(0.5, 0.6) > score(0.6, 0.2));
    }

    #[test]
    fn rare_words_that_stand_nowhere_make_a_question_unanswerable() {
        assert!(answerable(0.55, Some(0.4)) > 0.5 && answerable(0.55, Some(0.05)) < 0.5);
        assert!(answerable(0.55, None) > 0.5 && answerable(0.4, None) < 0.5);
    }
}
