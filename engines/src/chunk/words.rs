//! Token counts, one tokenizer call for each different word.

use std::cell::RefCell;
use std::collections::HashMap;

use mentor_actors::ports::TokenCounter;
use text_splitter::ChunkSizer;

/// Most bytes that count as one token. A tokenizer may call any monster of a word one unknown token; a chunk of such
/// words must stay of a readable size all the same.
const BYTES_PER_TOKEN: usize = 16;
/// Most bytes that count as one token, white space and what makes no tokens included. Embedders look at no more.
pub(super) const SPACED_BYTES_PER_TOKEN: usize = 64;
/// Longest word that is tokenized, in bytes. Of a longer one each byte counts as a token: no tokenizer makes more, and it is split
/// in any case.
const MAX_COUNTED_BYTES: usize = 4 << 10;
/// Longest word whose count is kept, in bytes. Longer ones hardly come again, and every part tried of a word that is split would be
/// kept.
const MAX_KEPT_BYTES: usize = 64;

/// The words of one document and how many tokens each has.
pub(super) struct WordCounts<'c> {
    counter: &'c dyn TokenCounter,
    known: RefCell<HashMap<Box<str>, usize>>,
}

impl<'c> WordCounts<'c> {
    pub fn new(counter: &'c dyn TokenCounter) -> Self {
        Self { counter, known: RefCell::default() }
    }

    /// Tokens of `text` without special tokens, as the sum over its words.
    pub fn count(&self, text: &str) -> usize {
        words(text).map(|word| self.of_word(word)).sum()
    }

    /// What `text` takes up of a chunk: its tokens, or more where it or its words are of unreadable length.
    pub fn weight(&self, text: &str) -> usize {
        let words = words(text).map(|word| self.of_word(word).max(word.len() / BYTES_PER_TOKEN)).sum::<usize>();
        words.max(text.len() / SPACED_BYTES_PER_TOKEN)
    }

    fn of_word(&self, word: &str) -> usize {
        if word.len() > MAX_COUNTED_BYTES {
            word.len()
        } else if word.len() > MAX_KEPT_BYTES {
            self.counter.count(word)
        } else {
            self.kept(word)
        }
    }

    fn kept(&self, word: &str) -> usize {
        let mut known = self.known.borrow_mut();
        if let Some(count) = known.get(word) {
            return *count;
        }
        let count = self.counter.count(word);
        known.insert(word.into(), count);
        count
    }
}

impl ChunkSizer for WordCounts<'_> {
    fn size(&self, chunk: &str) -> usize {
        self.weight(chunk)
    }
}

/// Pieces between the white space that BERT's tokenizer knows; it removes other control characters without cutting.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let separates = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r') || (c.is_whitespace() && !c.is_control());
    text.split(separates).filter(|word| !word.is_empty())
}
