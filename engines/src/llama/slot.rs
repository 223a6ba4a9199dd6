//! A slot, taken or free.

use llama_cpp_2::token::LlamaToken;

use super::answer::Answer;
use super::reuse::Evaluated;

/// What a slot holds. Taken or free, its evaluated tokens stay in the context, for a next prompt that begins the same.
#[derive(Default)]
pub(super) struct SlotState {
    /// Prompt and answer so far.
    pub(super) tokens: Vec<LlamaToken>,
    /// How many of them are evaluated: exactly those are in the context.
    pub(super) evaluated: usize,
    /// Whose they are.
    pub(super) scope: String,
    /// Number of the generation, in the order they began.
    pub(super) arrival: u64,
    /// The running generation; `None` while the slot is free.
    pub(super) answer: Option<Answer>,
}

impl SlotState {
    pub(super) fn evaluated(&self) -> Evaluated<'_, LlamaToken> {
        Evaluated { tokens: &self.tokens[..self.evaluated], scope: &self.scope }
    }

    /// Tokens to evaluate; none while the slot is free or its answer finished.
    pub(super) fn pending(&self) -> usize {
        let runs = self.answer.as_ref().is_some_and(|answer| !answer.finished);
        if runs { self.tokens.len() - self.evaluated } else { 0 }
    }

    /// Keeps the first `kept` tokens, all of them evaluated.
    pub(super) fn cut(&mut self, kept: usize) {
        self.tokens.truncate(kept);
        self.evaluated = kept;
    }

    /// Frees the slot.
    pub(super) fn end(&mut self) {
        self.cut(self.evaluated);
        self.answer = None;
    }
}
