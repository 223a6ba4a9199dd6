//! A running answer: its tokens become text, and it ends.

use super::repetition::LoopDetector;
use super::text::{Filtered, StopFilter, TextStream};
use crate::domain::FinishReason;
use crate::ports::{SlotOutput, Token};

/// The answer of one slot.
#[derive(Debug)]
pub(super) struct Answer {
    max_tokens: usize,
    produced: usize,
    text: TextStream,
    stop: StopFilter,
    /// `None` under a grammar, which may want the same again and again: half of a JSON text would be worth nothing.
    repetition: Option<LoopDetector<Token>>,
}

impl Answer {
    /// `constrained` by a grammar.
    pub(super) fn new(max_tokens: usize, stop: &[String], constrained: bool) -> Self {
        let (text, stop) = (TextStream::default(), StopFilter::new(stop));
        let repetition = (!constrained).then(LoopDetector::new);
        Self { max_tokens, produced: 0, text, stop, repetition }
    }

    /// Tokens it may still get.
    pub(super) fn room(&self) -> usize {
        self.max_tokens - self.produced
    }

    /// Tokens so far: those of a stop sequence count, the one that says that it is over does not.
    pub(super) fn produced(&self) -> usize {
        self.produced
    }

    /// The model says that it is over.
    pub(super) fn end(&mut self) -> SlotOutput {
        SlotOutput::Finished(self.stop.rest(), FinishReason::Stop)
    }

    /// Not a single token may be written: such a generation only reads its prompt.
    pub(super) fn full(&mut self) -> SlotOutput {
        SlotOutput::Finished(self.stop.rest(), FinishReason::Length)
    }

    /// Takes the next token, with the bytes of its text.
    pub(super) fn take(&mut self, token: Token, piece: &[u8]) -> SlotOutput {
        self.produced += 1;
        let text = self.text.push(piece);
        let circles = self.repetition.as_mut().is_some_and(|repetition| repetition.push(token, &text));
        let text = match self.stop.push(&text) {
            Filtered::Text(text) => text,
            Filtered::Stopped(text) => return SlotOutput::Finished(text, FinishReason::Stop),
        };
        if circles {
            tracing::debug!(tokens = self.produced, "the answer repeats itself and is ended");
            return SlotOutput::Finished(text + &self.stop.rest(), FinishReason::Stop);
        }
        if self.room() == 0 {
            return SlotOutput::Finished(text + &self.stop.rest(), FinishReason::Length);
        }
        SlotOutput::Token(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_at_its_longest_length_with_everything_it_held_back() {
        let mut answer = Answer::new(2, &["END".into()], false);
        assert_eq!(answer.take(Token(1), b"a"), SlotOutput::Token("a".into()));
        assert_eq!(answer.take(Token(2), b"bE"), SlotOutput::Finished("bE".into(), FinishReason::Length));
    }

    #[test]
    fn a_stop_sequence_is_no_part_of_the_answer() {
        let mut answer = Answer::new(9, &["END".into()], false);
        assert_eq!(answer.take(Token(1), b"aE"), SlotOutput::Token("a".into()));
        assert_eq!(answer.take(Token(2), b"ND b"), SlotOutput::Finished(String::new(), FinishReason::Stop));
    }

    #[test]
    fn only_a_grammar_may_want_the_same_again_and_again() {
        let said = |constrained: bool| {
            let mut answer = Answer::new(80, &[], constrained);
            let outputs = (0..80).map(|number| answer.take(Token(number % 2), [b"0", b","][number as usize % 2]));
            outputs.take_while(|output| matches!(output, SlotOutput::Token(_))).count()
        };
        assert_eq!((said(false), said(true)), (31, 79));
    }
}
