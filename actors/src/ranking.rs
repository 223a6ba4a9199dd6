//! How relevant a chunk is to a question: one number out of the likeness of their vectors and the words they share.
//!
//! The two are added, not fused by rank: how far a chunk stands out says more than its place. Constants come from questions with
//! known pages, and some without an answer, on several sets of books; `docs/adr/0012-hybrid-retrieval.md` and
//! `docs/adr/0022-when-to-refuse.md` have the figures.

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
/// The same with the tokens compared, see [`relevance_by_tokens`] (fitted).
const PASSAGE_BY_TOKENS: Curve = Curve { even: 1.2, steepness: 5.3 };
/// What the tokens count for, against the score without them.
const TOKENS: f32 = 0.5;
/// How likely a question has an answer at all, by its best likeness alone.
const QUESTION_BY_LIKENESS: Curve = Curve { even: 0.48, steepness: 20.0 };

/// Candidates of which the last one is what the best stands out from, see [`Evidence::lead`].
pub const FIELD: usize = 10;
/// The lead in a field that is too small to have one: that of most questions with an answer.
const USUAL_LEAD: f32 = 0.25;

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

/// The log-odds of a passage's relevance, which is above 0 and below 1.
#[must_use]
pub fn log_odds(relevance: f32) -> f32 {
    let relevance = relevance.clamp(1e-6, 1.0 - 1e-6);
    (relevance / (1.0 - relevance)).ln()
}

/// The relevance of a passage whose tokens were compared with the question's, 0 to 1.
///
/// `relevance` is what [`relevance`] says; `nearness` how near the tokens of the question's terms are to the nearest ones of the passage:
/// the mean of the best cosines (`MaxSim` of Khattab and Zaharia 2020, "ColBERT"), -1 to 1. `docs/adr/0024-tokens-are-compared.md` has the
/// figures.
#[must_use]
pub fn relevance_by_tokens(relevance: f32, nearness: f32) -> f32 {
    let score = log_odds(relevance) / PASSAGE.steepness + PASSAGE.even;
    PASSAGE_BY_TOKENS.at(score + TOKENS * nearness)
}

/// What a search says about whether a question has an answer in the corpus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Best cosine, wherever it stands.
    pub likeness: f32,
    /// Best words, wherever they stand.
    pub words: f32,
    /// How far the best score lies above that of the last of the [`FIELD`]; `None` where there are fewer chunks. Where a
    /// corpus only touches a subject, many chunks are equally near.
    pub lead: Option<f32>,
    /// Different terms of the question. The more it has, the less of them one place can hold.
    pub terms: usize,
    /// Part of the words' weight that lies in terms that stand nowhere.
    pub unknown: f32,
}

/// How likely a question is answered in the corpus at all, 0 to 1.
///
/// A logistic regression on 195 questions with an answer and 40 without, on three sets of books, rounded; one half is where few
/// questions with an answer are refused.
#[must_use]
#[allow(clippy::cast_precision_loss)] // terms of a question
pub fn answerable(evidence: &Evidence) -> f32 {
    let Evidence { likeness, words, lead, terms, unknown } = *evidence;
    if words == 0.0 {
        // A script without words, or a question without terms.
        return answerable_by_likeness(likeness);
    }
    let terms = (1.0 + terms as f32).ln();
    let sum = 26.0 * lead.unwrap_or(USUAL_LEAD) + 4.6 * likeness + 9.3 * words + 3.5 * terms - 3.9 * unknown;
    Curve { even: 15.0, steepness: 1.0 }.at(sum)
}

/// The same where words were not looked at.
#[must_use]
pub fn answerable_by_likeness(best: f32) -> f32 {
    QUESTION_BY_LIKENESS.at(best)
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
    fn log_odds_turn_the_curve_round() {
        for score in [0.4, 0.88, 1.2] {
            let steps = (log_odds(relevance(score)) / PASSAGE.steepness + PASSAGE.even - score).abs();
            assert!(steps < 1e-4, "{score}: {steps}");
        }
        assert!(log_odds(0.0).is_finite() && log_odds(1.0).is_finite());
    }

    #[test]
    fn nearer_tokens_make_a_passage_more_relevant() {
        assert!(relevance_by_tokens(0.5, 0.6) > relevance_by_tokens(0.5, 0.5));
        assert!(relevance_by_tokens(0.6, 0.5) > relevance_by_tokens(0.5, 0.5));
        assert!(relevance_by_tokens(1.0, 1.0) <= 1.0 && relevance_by_tokens(0.0, -1.0) >= 0.0);
    }

    const GOOD: Evidence = Evidence { likeness: 0.62, words: 0.5, lead: Some(0.24), terms: 4, unknown: 0.1 };

    #[test]
    fn rare_words_that_stand_nowhere_make_a_question_unanswerable() {
        assert!(answerable(&GOOD) > 0.5);
        assert!(answerable(&Evidence { words: 0.2, unknown: 0.6, ..GOOD }) < 0.5);
    }

    #[test]
    fn a_subject_that_is_only_touched_has_no_answer() {
        assert!(answerable(&Evidence { lead: Some(0.06), ..GOOD }) < 0.5);
    }

    #[test]
    fn a_long_question_needs_fewer_of_its_words() {
        let long = Evidence { words: 0.25, lead: Some(0.2), terms: 9, ..GOOD };
        assert!(answerable(&long) > 0.5 && answerable(&Evidence { terms: 2, ..long }) < 0.5);
    }

    #[test]
    fn a_few_chunks_are_no_field_to_stand_out_from() {
        assert!(answerable(&Evidence { lead: None, ..GOOD }) > 0.5);
    }

    #[test]
    fn without_any_words_likeness_decides() {
        let silent = Evidence { words: 0.0, unknown: 1.0, ..GOOD };
        assert!(answerable(&silent) > 0.5 && answerable(&Evidence { likeness: 0.4, ..silent }) < 0.5);
    }
}
