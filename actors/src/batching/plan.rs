//! What the scheduler says is to be done.

use crate::ports::{Sequence, Slot, Token};

/// Part of a batch: consecutive tokens of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// Whose.
    pub slot: Slot,
    /// Where they go.
    pub sequence: Sequence,
    /// Position of the first.
    pub start: usize,
    /// How many of its tokens.
    pub tokens: usize,
    /// How many guessed ones behind them, to be verified.
    pub drafted: usize,
    /// Whether nothing is left to evaluate after it, so that the next token can be chosen.
    pub completes: bool,
}

impl Feed {
    /// Rows it has in the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens + self.drafted
    }

    /// Whether it is part of a prompt, be it a single token, and not the last token of what is written.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.tokens > 1 || !self.completes
    }
}

/// A sequence to empty, and what is lost with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Which.
    pub sequence: Sequence,
    /// What a next turn could reuse; nothing of a generation that goes on, which needs it all again.
    pub held: Vec<Token>,
    /// Whose that is.
    pub scope: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Sequences to empty first.
    pub forget: Vec<Forgotten>,
    /// Generations that fit nowhere and have failed.
    pub failed: Vec<Slot>,
    /// Batches to evaluate, one after the other.
    pub batches: Vec<Vec<Feed>>,
}

/// Where a new generation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// A sequence without an owner.
    pub sequence: Sequence,
    /// How many of the prompt's tokens it holds already.
    pub kept: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_prompt_is_read_also_where_it_is_a_single_token() {
        let feed = |tokens, completes| Feed { slot: 0, sequence: 0, start: 0, tokens, drafted: 0, completes };
        assert!(feed(1, false).reads() && feed(9, false).reads() && feed(9, true).reads());
        assert!(!feed(1, true).reads());
    }
}
