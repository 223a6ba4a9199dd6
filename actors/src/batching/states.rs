//! What left the decoder and may come back: the evaluated tokens of conversations whose sequence went to somebody else, kept
//! in main memory. Bounded in bytes; the least recently used goes first.

use super::reuse::{Evaluated, reusable_tokens};
use crate::ports::{EncodedPrompt, Token};

/// Fewer tokens than this are quicker evaluated than looked after.
const MIN_TOKENS: usize = 8;

/// A saved sequence.
#[derive(Debug)]
pub(super) struct Saved<S> {
    /// Whose; `None` for what all conversations share.
    scope: Option<String>,
    tokens: Vec<Token>,
    state: S,
    /// Of the state and the tokens.
    bytes: usize,
    used: u64,
}

impl<S> Saved<S> {
    /// Leading tokens of `prompt` that it brings.
    pub(super) fn reusable(&self, prompt: &EncodedPrompt, scope: &str) -> usize {
        let owner = self.scope.as_deref().unwrap_or(scope);
        reusable_tokens(Evaluated { tokens: &self.tokens, scope: owner }, prompt, scope)
    }

    /// How many tokens it holds.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn state(&self) -> &S {
        &self.state
    }

    /// Whether it is that conversation's own.
    pub(super) fn is_of(&self, scope: &str) -> bool {
        self.scope.as_deref() == Some(scope)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct StateCache<S> {
    entries: Vec<Saved<S>>,
    budget_bytes: usize,
    bytes: usize,
    clock: u64,
    /// Fewest tokens that were too large for the whole budget: it would be in vain to copy as many again.
    too_many: usize,
}

impl<S> StateCache<S> {
    /// Empty; with a budget of 0 it stays so.
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self { entries: Vec::new(), budget_bytes, bytes: 0, clock: 0, too_many: usize::MAX }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a sequence of so many tokens is worth its place.
    pub(super) fn wants(&self, tokens: usize) -> bool {
        self.budget_bytes > 0 && (MIN_TOKENS..self.too_many).contains(&tokens)
    }

    /// Leading tokens of `prompt` that the best entry would bring.
    pub(super) fn reusable(&self, prompt: &EncodedPrompt, scope: &str) -> usize {
        self.entries.iter().map(|saved| saved.reusable(prompt, scope)).max().unwrap_or(0)
    }

    /// Takes out the state that brings most of `prompt`, if it brings more than `kept` tokens.
    pub(super) fn take(&mut self, prompt: &EncodedPrompt, scope: &str, kept: usize) -> Option<Saved<S>> {
        // Of two that bring the same the shorter one, which is quicker to restore.
        let rank = |saved: &Saved<S>| (saved.reusable(prompt, scope), std::cmp::Reverse(saved.tokens()));
        let ranks = self.entries.iter().map(rank).enumerate();
        let (best, _) = ranks.filter(|(_, (brings, _))| *brings > kept).max_by_key(|(_, rank)| *rank)?;
        let saved = self.entries.swap_remove(best);
        self.bytes -= saved.bytes;
        Some(saved)
    }

    /// What all share, where these tokens are here.
    pub(super) fn shared(&self, tokens: &[Token]) -> Option<&Saved<S>> {
        self.entries.iter().find(|saved| saved.scope.is_none() && saved.tokens == tokens)
    }

    /// Keeps a sequence, in place of an earlier one of that scope. What is too large for the whole budget is dropped.
    pub(super) fn insert(&mut self, scope: Option<String>, tokens: Vec<Token>, state_bytes: usize, state: S) {
        if scope.is_some() {
            self.remove(|saved| saved.scope == scope);
        }
        let bytes = state_bytes + size_of_val(&tokens[..]);
        if bytes > self.budget_bytes {
            self.too_many = self.too_many.min(tokens.len());
            return;
        }
        self.put_back(Saved { scope, tokens, state, bytes, used: 0 });
    }

    /// Keeps what was taken out, as the most recently used.
    pub(super) fn put_back(&mut self, saved: Saved<S>) {
        while self.bytes + saved.bytes > self.budget_bytes {
            let oldest = self.entries.iter().map(|saved| saved.used).min();
            self.remove(|saved| Some(saved.used) == oldest);
        }
        self.clock += 1;
        self.bytes += saved.bytes;
        self.entries.push(Saved { used: self.clock, ..saved });
    }

    fn remove(&mut self, unwanted: impl Fn(&Saved<S>) -> bool) {
        self.entries.retain(|saved| !unwanted(saved));
        self.bytes = self.entries.iter().map(|saved| saved.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(range: std::ops::Range<i32>) -> Vec<Token> {
        range.map(Token).collect()
    }

    fn prompt(range: std::ops::Range<i32>, shared: usize) -> EncodedPrompt {
        EncodedPrompt { tokens: tokens(range), shared }
    }

    /// Saves tokens with these bytes for that conversation.
    fn save(states: &mut StateCache<char>, scope: &str, range: std::ops::Range<i32>, bytes: usize) {
        states.insert(Some(scope.to_owned()), tokens(range), bytes, '0');
    }

    #[test]
    fn a_conversation_finds_its_own_state_and_not_that_of_another() {
        let mut states = StateCache::new(10_000);
        save(&mut states, "a", 0..40, 100);
        let foreign = states.take(&prompt(0..50, 4), "b", 0).unwrap();
        assert_eq!(foreign.reusable(&prompt(0..50, 4), "b"), 4, "only what all share");
        assert!(!foreign.is_of("b"));
        states.put_back(foreign);
        let own = states.take(&prompt(0..50, 4), "a", 39).unwrap();
        assert_eq!((own.tokens(), own.reusable(&prompt(0..50, 4), "a"), *own.state()), (40, 40, '0'));
        assert!(own.is_of("a") && states.bytes() == 0, "it is out");
    }

    #[test]
    fn what_brings_no_more_than_is_there_stays() {
        let mut states = StateCache::new(10_000);
        save(&mut states, "a", 0..40, 100);
        assert!(states.take(&prompt(0..50, 4), "a", 40).is_none());
        assert_eq!(states.reusable(&prompt(0..50, 4), "a"), 40);
    }

    #[test]
    fn the_least_recently_used_goes_when_the_budget_is_spent() {
        let mut states = StateCache::new(1_000);
        for (scope, start) in [("a", 0), ("b", 100), ("c", 200)] {
            save(&mut states, scope, start..start + 20, 200);
        }
        let used = states.take(&prompt(0..30, 0), "a", 0).unwrap();
        states.put_back(used);
        save(&mut states, "d", 300..320, 200);
        assert_eq!(states.reusable(&prompt(100..130, 0), "b"), 0, "b was used longest ago");
        assert_eq!(states.reusable(&prompt(0..30, 0), "a"), 20);
        assert!(states.bytes() <= 1_000);
    }

    #[test]
    fn what_exceeds_the_whole_budget_is_dropped_and_not_wanted_again() {
        let mut states = StateCache::new(300);
        assert!(states.wants(30) && !states.wants(MIN_TOKENS - 1));
        save(&mut states, "a", 0..20, 100);
        save(&mut states, "a", 0..30, 400);
        assert_eq!((states.reusable(&prompt(0..40, 0), "a"), states.bytes()), (0, 0));
        assert!(!states.wants(30) && !states.wants(31) && states.wants(29));
    }

    #[test]
    fn what_all_share_serves_everybody() {
        let mut states = StateCache::new(1_000);
        states.insert(None, tokens(0..20), 10, '7');
        assert_eq!(states.shared(&tokens(0..20)).map(|saved| *saved.state()), Some('7'));
        assert!(states.shared(&tokens(0..21)).is_none());
        assert_eq!(states.reusable(&prompt(0..99, 20), "anybody"), 20);
    }
}
