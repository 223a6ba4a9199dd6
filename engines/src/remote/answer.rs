//! What the engine says of a running answer.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use mentor_actors::batching::LoopDetector;
use mentor_actors::domain::{FinishReason, Usage};
use mentor_actors::ports::SlotOutput;

/// Longest text of a token, on average over an answer, in bytes: some four times what any vocabulary has. Only a server that
/// ignores `max_tokens` writes more.
const TOKEN_BYTES: usize = 64;

/// An answer's text on its way. There are never more pieces than tokens were asked for, as events further on are counted by
/// them: a server that sends smaller ones has the rest held back until the end.
#[derive(Debug)]
pub(super) struct Answer {
    pieces_left: usize,
    bytes_left: usize,
    held_back: String,
    started: bool,
    /// Servers send a token at a time, or several when they are fast: what they send at once counts as one here.
    /// `None` under a grammar, which may want the same again and again.
    repetition: Option<LoopDetector<u64>>,
    repeats: bool,
}

impl Answer {
    /// `constrained` by a grammar.
    pub(super) fn new(max_tokens: usize, constrained: bool) -> Self {
        let bytes_left = max_tokens.saturating_mul(TOKEN_BYTES);
        let repetition = (!constrained).then(LoopDetector::new);
        let held_back = String::new();
        Self { pieces_left: max_tokens, bytes_left, held_back, started: false, repetition, repeats: false }
    }

    /// Takes more text, without white space before the first word; `None` when there is nothing to pass on yet.
    pub(super) fn take(&mut self, mut text: String) -> Option<SlotOutput> {
        self.bytes_left = self.bytes_left.saturating_sub(text.len());
        if !self.started {
            text.drain(..text.len() - text.trim_start().len());
            self.started = !text.is_empty();
        }
        if text.is_empty() {
            return None;
        }
        let repeats = self.repetition.as_mut().is_some_and(|repetition| repetition.push(hash(&text), &text));
        self.repeats |= repeats;
        // The last piece is kept for what is held back.
        if self.pieces_left <= 1 {
            self.held_back.push_str(&text);
            return None;
        }
        self.pieces_left -= 1;
        Some(SlotOutput::Token(text))
    }

    /// Whether it goes round in circles.
    pub(super) fn repeats_itself(&self) -> bool {
        self.repeats
    }

    /// Whether the server goes on where it should have stopped.
    pub(super) fn is_overlong(&self) -> bool {
        self.bytes_left == 0
    }

    /// The end of the answer, with the server's own count where it gave one.
    pub(super) fn finish(self, reason: FinishReason, usage: Option<Usage>) -> impl Iterator<Item = SlotOutput> {
        let rest = (!self.held_back.is_empty()).then_some(SlotOutput::Token(self.held_back));
        let finished = SlotOutput::Finished(String::new(), reason);
        rest.into_iter().chain(usage.map(SlotOutput::Counted)).chain([finished])
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(max_tokens: usize, pieces: &[&str]) -> Vec<SlotOutput> {
        let mut answer = Answer::new(max_tokens, false);
        let mut outputs: Vec<_> = pieces.iter().filter_map(|piece| answer.take((*piece).to_owned())).collect();
        outputs.extend(answer.finish(FinishReason::Stop, None));
        outputs
    }

    fn token(text: &str) -> SlotOutput {
        SlotOutput::Token(text.into())
    }

    fn end() -> SlotOutput {
        SlotOutput::Finished(String::new(), FinishReason::Stop)
    }

    #[test]
    fn white_space_before_the_first_word_is_left_out_and_later_kept() {
        assert_eq!(written(9, &["\n", " \n A", " ", "b"]), [token("A"), token(" "), token("b"), end()]);
        assert_eq!(written(9, &[" ", "\n"]), [end()]);
    }

    #[test]
    fn there_are_no_more_pieces_than_tokens_and_nothing_is_lost() {
        assert_eq!(written(3, &["a", "b", "c", "d", "e"]), [token("a"), token("b"), token("cde"), end()]);
        assert_eq!(written(1, &["a", "b"]), [token("ab"), end()]);
        assert_eq!(written(2, &["a"]), [token("a"), end()]);
    }

    #[test]
    fn the_count_comes_before_the_end() {
        let usage = Usage { prompt_tokens: 3, cached_tokens: 0, completion_tokens: 2 };
        let outputs: Vec<_> = Answer::new(9, false).finish(FinishReason::Length, Some(usage)).collect();
        assert_eq!(outputs, [SlotOutput::Counted(usage), SlotOutput::Finished(String::new(), FinishReason::Length)]);
    }

    #[test]
    fn a_server_that_does_not_stop_is_noticed() {
        let mut answer = Answer::new(2, false);
        answer.take("x".repeat(100));
        assert!(!answer.is_overlong());
        answer.take(" ".repeat(28));
        assert!(answer.is_overlong());
    }

    #[test]
    fn an_answer_that_goes_round_in_circles_is_noticed_with_its_last_round() {
        let mut answer = Answer::new(500, false);
        let mut words = ["to ", "be ", "or ", "not "].iter().cycle();
        let said = std::iter::from_fn(|| {
            let more = !answer.repeats_itself();
            more.then(|| answer.take((*words.next().unwrap()).to_owned()))
        });
        assert_eq!(said.take(100).count(), 32);
        let mut prose = Answer::new(500, false);
        for number in 0..100 {
            prose.take(format!("{number} "));
        }
        assert!(!prose.repeats_itself());
        let mut constrained = Answer::new(500, true);
        for _ in 0..100 {
            constrained.take("0,".into());
        }
        assert!(!constrained.repeats_itself());
    }
}
