//! A running answer: its tokens become text, and it ends.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;
use mentor_actors::domain::FinishReason;
use mentor_actors::ports::SlotOutput;

use super::repetition::LoopDetector;

/// The generation of one slot.
pub(super) struct Answer {
    /// Chooses the next token, and remembers the chosen ones.
    pub(super) sampler: LlamaSampler,
    max_tokens: usize,
    produced: usize,
    text: TextStream,
    repetition: LoopDetector<LlamaToken>,
    /// Its slot is still taken, but there is nothing more to do.
    pub(super) finished: bool,
}

impl Answer {
    pub(super) fn new(sampler: LlamaSampler, max_tokens: usize) -> Self {
        let (text, repetition) = (TextStream::default(), LoopDetector::new());
        Self { sampler, max_tokens, produced: 0, text, repetition, finished: false }
    }

    /// Whether not a single token may be written: such a generation only reads its prompt.
    pub(super) fn is_full(&self) -> bool {
        self.produced >= self.max_tokens
    }

    /// Takes the next token of the answer.
    pub(super) fn take(&mut self, token: LlamaToken, vocab: &LlamaVocab<'_>) -> SlotOutput {
        if vocab.is_eog(token) {
            return self.finish(String::new(), FinishReason::Stop);
        }
        self.produced += 1;
        // Control tokens have no text here: special tokens are not rendered.
        let text = self.text.push(&vocab.token_to_piece(token, false, None));
        if self.repetition.push(token, &text) {
            tracing::debug!(tokens = self.produced, "the answer repeats itself and is ended");
            return self.finish(text, FinishReason::Stop);
        }
        if self.is_full() {
            return self.finish(text, FinishReason::Length);
        }
        SlotOutput::Token(text)
    }

    pub(super) fn finish(&mut self, text: String, reason: FinishReason) -> SlotOutput {
        self.finished = true;
        SlotOutput::Finished(text, reason)
    }
}

/// Turns bytes that may end inside a character into text.
///
/// Bytes that can be no character are left out, as is a character that is never completed; white space before the first
/// word too.
#[derive(Debug, Default)]
struct TextStream {
    incomplete: Vec<u8>,
    started: bool,
}

impl TextStream {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.incomplete.extend_from_slice(bytes);
        let mut text = self.take_complete();
        if !self.started {
            text.drain(..text.len() - text.trim_start().len());
            self.started = !text.is_empty();
        }
        text
    }

    /// All whole characters; what may still become one stays.
    fn take_complete(&mut self) -> String {
        let bytes = std::mem::take(&mut self.incomplete);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            if chunks.peek().is_none() && may_be_completed(chunk.invalid()) {
                self.incomplete.extend_from_slice(chunk.invalid());
            }
        }
        text
    }
}

/// Whether more bytes can make a character of these.
fn may_be_completed(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pieces: &[&[u8]]) -> Vec<String> {
        let mut stream = TextStream::default();
        pieces.iter().map(|piece| stream.push(piece)).collect()
    }

    #[test]
    fn a_character_that_is_spread_over_tokens_comes_whole() {
        assert_eq!(stream(&[b"a", &[0xF0, 0x9F], &[0xA6], &[0x99, b'!']]), ["a", "", "", "🦙!"]);
        assert_eq!(stream(&[&[b'x', 0xC3], &[0xA9, 0xC3], &[0xA9]]), ["x", "é", "é"]);
    }

    #[test]
    fn bytes_that_are_no_character_are_left_out() {
        assert_eq!(stream(&[b"a\xFFb", &[0xE2, 0x82], b"c"]), ["ab", "", "c"]);
    }

    #[test]
    fn white_space_before_the_first_word_is_left_out_and_later_kept() {
        assert_eq!(stream(&[b" ", b"\n Hello", b" ", b"you"]), ["", "Hello", " ", "you"]);
    }
}
