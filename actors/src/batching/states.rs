//! What left the decoder and may come back: the evaluated tokens of conversations whose sequence went to somebody else, kept
//! in main memory. Bounded in bytes; the least recently used goes first.

use super::reuse::{Evaluated, reusable_tokens};
use crate::ports::{EncodedPrompt, Token};

/// Fewer tokens than this are quicker evaluated than looked after.
const MIN_TOKENS: usize = 8;

#[derive(Debug)]
struct Entry<S> {
    /// Whose; `None` for what all conversations share.
    scope: Option<String>,
    tokens: Vec<Token>,
    state: S,
    /// Of the state and the tokens.
    bytes: usize,
    used: u64,
}

impl<S> Entry<S> {
    fn reusable(&self, prompt: &EncodedPrompt, scope: &str) -> usize {
        let owner = self.scope.as_deref().unwrap_or(scope);
        reusable_tokens(Evaluated { tokens: &self.tokens, scope: owner }, prompt, scope)
    }
}

/// A state that was found; good until the next `insert`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Saved {
    entry: usize,
    /// How many tokens it holds.
    pub(super) tokens: usize,
    /// How many of them the prompt begins with.
    pub(super) reusable: usize,
}

/// Saved sequences.
#[derive(Debug)]
pub(super) struct StateCache<S> {
    entries: Vec<Entry<S>>,
    budget_bytes: usize,
    bytes: usize,
    clock: u64,
}

impl<S> StateCache<S> {
    /// Empty; with a budget of 0 it stays so.
    pub(super) fn new(budget_bytes: usize) -> Self {
        Self { entries: Vec::new(), budget_bytes, bytes: 0, clock: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a sequence of so many tokens is worth its place.
    pub(super) fn wants(&self, tokens: usize) -> bool {
        self.budget_bytes > 0 && tokens >= MIN_TOKENS
    }

    /// Leading tokens of `prompt` that the best entry would bring.
    pub(super) fn reusable(&self, prompt: &EncodedPrompt, scope: &str) -> usize {
        self.entries.iter().map(|entry| entry.reusable(prompt, scope)).max().unwrap_or(0)
    }

    /// The state that brings most of `prompt`.
    pub(super) fn find(&mut self, prompt: &EncodedPrompt, scope: &str) -> Option<Saved> {
        self.clock += 1;
        let saved = self.entries.iter().enumerate().map(|(entry, saved)| {
            let reusable = saved.reusable(prompt, scope);
            Saved { entry, tokens: saved.tokens.len(), reusable }
        });
        // Of two that bring the same the shorter one, which is quicker to restore.
        let best = saved.max_by_key(|saved| (saved.reusable, std::cmp::Reverse(saved.tokens)))?;
        self.entries[best.entry].used = self.clock;
        Some(best)
    }

    /// A state that was just found.
    pub(super) fn state(&self, saved: &Saved) -> &S {
        &self.entries[saved.entry].state
    }

    /// Whether what all share is here for this prompt.
    pub(super) fn has_shared(&self, prompt: &EncodedPrompt) -> bool {
        self.entries.iter().any(|entry| entry.scope.is_none() && prompt.tokens[..prompt.shared] == entry.tokens)
    }

    /// Keeps a sequence, in place of an earlier one of that scope. What is too large for the whole budget is dropped.
    pub(super) fn insert(&mut self, scope: Option<&str>, tokens: &[Token], state_bytes: usize, state: S) {
        if scope.is_some() {
            self.remove(|entry| entry.scope.as_deref() == scope);
        }
        self.clock += 1;
        let bytes = state_bytes + size_of_val(tokens);
        if bytes > self.budget_bytes {
            return;
        }
        while self.bytes + bytes > self.budget_bytes {
            let oldest = self.entries.iter().map(|entry| entry.used).min();
            self.remove(|entry| Some(entry.used) == oldest);
        }
        self.bytes += bytes;
        let (scope, tokens) = (scope.map(str::to_owned), tokens.to_vec());
        self.entries.push(Entry { scope, tokens, state, bytes, used: self.clock });
    }

    fn remove(&mut self, unwanted: impl Fn(&Entry<S>) -> bool) {
        self.entries.retain(|entry| !unwanted(entry));
        self.bytes = self.entries.iter().map(|entry| entry.bytes).sum();
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

    #[test]
    fn a_conversation_finds_its_own_state_and_not_that_of_another() {
        let mut states = StateCache::new(10_000);
        states.insert(Some("a"), &tokens(0..40), 100, '1');
        let own = states.find(&prompt(0..50, 4), "a").unwrap();
        assert_eq!((own.tokens, own.reusable, *states.state(&own)), (40, 40, '1'));
        let foreign = states.find(&prompt(0..50, 4), "b").unwrap();
        assert_eq!(foreign.reusable, 4, "only what all share");
    }

    #[test]
    fn the_least_recently_used_goes_when_the_budget_is_spent() {
        let mut states = StateCache::new(1_000);
        for (scope, start) in [("a", 0), ("b", 100), ("c", 200)] {
            states.insert(Some(scope), &tokens(start..start + 20), 200, '0');
        }
        states.find(&prompt(0..30, 0), "a");
        states.insert(Some("d"), &tokens(300..320), 200, '0');
        assert_eq!(states.reusable(&prompt(100..130, 0), "b"), 0, "b was used longest ago");
        assert_eq!(states.reusable(&prompt(0..30, 0), "a"), 20);
        assert!(states.bytes() <= 1_000);
    }

    #[test]
    fn what_exceeds_the_whole_budget_is_dropped_and_an_older_state_of_the_scope_too() {
        let mut states = StateCache::new(300);
        states.insert(Some("a"), &tokens(0..20), 100, '0');
        states.insert(Some("a"), &tokens(0..30), 400, '0');
        assert_eq!((states.reusable(&prompt(0..40, 0), "a"), states.bytes()), (0, 0));
    }

    #[test]
    fn what_all_share_serves_everybody() {
        let mut states = StateCache::new(1_000);
        states.insert(None, &tokens(0..20), 10, '7');
        assert!(states.has_shared(&prompt(0..99, 20)));
        assert!(!states.has_shared(&prompt(0..99, 21)));
        assert_eq!(states.reusable(&prompt(0..99, 20), "anybody"), 20);
    }
}
