//! Speculation without a draft model: an answer that quotes its sources goes on as they do.
//!
//! The last tokens are looked up in the prompt and in the answer so far; what followed there is guessed to follow here, and
//! verified by the model in the same batch (prompt lookup decoding, Saxena 2023). A guess never changes what is said, only how
//! fast. An answer whose guesses do not pay is left alone for a while, and for longer each time.

use std::collections::HashMap;

use crate::ports::Token;

/// Tokens that must be the same for a guess. Fewer match by chance too often, more find too little.
const MATCHED: usize = 4;
/// Guesses that count as right and as wrong before any was made, and after a pause.
const TRUST: Odds = Odds { right: 4.5, wrong: 0.5 };
const TRUST_AFTER_PAUSE: Odds = Odds { right: 2.0, wrong: 0.5 };
/// What earlier guesses count when new ones are verified.
const MEMORY: f32 = 0.8;
/// Tokens for which guessing pauses when it does not pay; doubled each time in a row.
const PAUSE: usize = 24;
const LONGEST_PAUSE: usize = 384;

type Key = [Token; MATCHED];

/// How often a guess was right lately, given that the one before it was.
#[derive(Debug, Clone, Copy)]
struct Odds {
    right: f32,
    wrong: f32,
}

impl Odds {
    fn probability(self) -> f32 {
        self.right / (self.right + self.wrong)
    }

    /// How many guesses are worth their cost: the n-th counts only if all before it are right, so it must be right with the
    /// break-even's probability: p^n >= break-even.
    fn worthwhile(self, break_even: f32, longest: usize) -> usize {
        let (right, needed) = (self.probability(), break_even.clamp(1e-6, 1.0));
        if right < needed {
            return 0;
        }
        // What was never wrong lately rounds to certainty, whose logarithm is no divisor.
        if right >= 1.0 {
            return longest;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive, and capped
        let guesses = (needed.ln() / right.ln()).min(longest as f32) as usize;
        guesses.max(1).min(longest)
    }
}

/// Guesses for one generation.
#[derive(Debug)]
pub(super) struct Drafter {
    /// Where the token after each run of tokens stands; the latest place wins.
    places: HashMap<Key, usize>,
    /// Tokens that are in `places`.
    indexed: usize,
    longest: usize,
    odds: Odds,
    pause: usize,
    /// Number of tokens from which on it guesses again.
    resumes_at: usize,
}

impl Drafter {
    /// Guesses at most `longest` tokens at once; 0 never guesses.
    pub(super) fn new(longest: usize) -> Self {
        Self { places: HashMap::new(), indexed: 0, longest, odds: TRUST, pause: PAUSE, resumes_at: 0 }
    }

    /// What may follow `tokens`, the prompt and the answer so far; at most `limit`, and nothing that is right less often than
    /// `break_even`.
    pub(super) fn guess(&mut self, tokens: &[Token], limit: usize, break_even: f32) -> Vec<Token> {
        let limit = limit.min(self.odds.worthwhile(break_even, self.longest));
        if limit == 0 || tokens.len() < self.resumes_at {
            return Vec::new();
        }
        self.index(tokens);
        let Some(last) = tokens.last_chunk::<MATCHED>() else { return Vec::new() };
        let Some(&place) = self.places.get(last) else { return Vec::new() };
        tokens[place..].iter().copied().take(limit).collect()
    }

    /// Remembers every run but the last one, which is what is looked for.
    fn index(&mut self, tokens: &[Token]) {
        for end in self.indexed.max(MATCHED)..tokens.len() {
            if let Some(key) = tokens[..end].last_chunk::<MATCHED>() {
                self.places.insert(*key, end);
            }
        }
        self.indexed = tokens.len();
    }

    /// Learns how many of the guesses were right; `tokens` is how many there are now.
    pub(super) fn learn(&mut self, guessed: usize, right: usize, tokens: usize, break_even: f32) {
        if guessed == 0 {
            return;
        }
        self.odds.right = self.odds.right * MEMORY + right as f32;
        // Only the first wrong one says something: what came after it was never asked for.
        self.odds.wrong = self.odds.wrong * MEMORY + if right < guessed { 1.0 } else { 0.0 };
        if right == guessed {
            self.pause = PAUSE;
        }
        if self.odds.worthwhile(break_even, self.longest) == 0 {
            self.resumes_at = tokens + self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.odds = TRUST_AFTER_PAUSE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(numbers: &[i32]) -> Vec<Token> {
        numbers.iter().copied().map(Token).collect()
    }

    #[test]
    fn what_followed_the_same_tokens_before_is_guessed() {
        let mut drafter = Drafter::new(8);
        assert_eq!(
            drafter.guess(&tokens(&[0, 1, 2, 3, 4, 5, 6, 9, 0, 1, 2, 3]), 8, 0.3),
            tokens(&[4, 5, 6, 9, 0, 1, 2, 3])
        );
        assert_eq!(drafter.guess(&tokens(&[0, 1, 2, 3, 4, 5, 6, 9, 0, 1, 2, 3]), 2, 0.3), tokens(&[4, 5]));
        assert!(drafter.guess(&tokens(&[0, 1, 2, 3, 4, 5, 6, 9, 0, 1, 2, 3, 7]), 8, 0.3).is_empty());
    }

    #[test]
    fn the_latest_place_wins() {
        let mut drafter = Drafter::new(1);
        assert_eq!(drafter.guess(&tokens(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 5, 0, 1, 2, 3]), 8, 0.3), tokens(&[5]));
    }

    #[test]
    fn too_few_tokens_give_no_guess() {
        let mut drafter = Drafter::new(8);
        for length in 0..=MATCHED {
            assert!(drafter.guess(&tokens(&[1, 1, 1, 1][..length]), 8, 0.3).is_empty());
        }
    }

    #[test]
    fn the_less_is_right_the_less_is_guessed() {
        let guesses = |right: f32, break_even| Odds { right, wrong: 1.0 - right }.worthwhile(break_even, 16);
        assert_eq!([0.95, 0.9, 0.7, 0.5, 0.3].map(|right| guesses(right, 0.4)), [16, 8, 2, 1, 0]);
        assert_eq!(guesses(0.5, 0.0), 16, "what costs nothing is always worth it");
        assert_eq!(guesses(0.9, 1.5), 0);
    }

    #[test]
    fn guesses_that_are_always_right_stay_as_long_as_they_may_be() {
        let mut drafter = Drafter::new(8);
        for length in 0..500 {
            drafter.learn(8, 8, length, 0.3);
        }
        assert_eq!(drafter.odds.probability(), 1.0, "what went wrong is rounded away");
        for break_even in [0.3, 1.0] {
            assert_eq!(drafter.guess(&tokens(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).repeat(2), 8, break_even).len(), 8);
        }
    }

    #[test]
    fn nothing_is_guessed_while_better_guesses_are_needed() {
        let mut drafter = Drafter::new(8);
        let loops = tokens(&[1, 2, 3, 4]).repeat(5);
        assert!(drafter.guess(&loops, 8, 0.95).is_empty());
        assert_eq!(drafter.guess(&loops, 8, 0.3).len(), 4);
    }

    #[test]
    fn guesses_that_are_always_wrong_stop_for_longer_and_longer() {
        let mut drafter = Drafter::new(8);
        let loops: Vec<Token> = tokens(&[1, 2, 3, 4]).repeat(200);
        let mut asked = 0;
        for length in 10..700 {
            let guessed = drafter.guess(&loops[..length], 8, 0.3).len();
            asked += usize::from(guessed > 0);
            drafter.learn(guessed, 0, length, 0.3);
        }
        assert!(asked < 24, "{asked} of 690 tokens were guessed at");
    }
}
