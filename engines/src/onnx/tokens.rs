//! Text to token ids, as the model was trained.

use std::path::Path;
use std::sync::Arc;

use mentor_actors::domain::EngineError;
use mentor_actors::ports::TokenCounter;
use tokenizers::{PostProcessor as _, Tokenizer, TruncationDirection};

use super::folder::{damaged, find_tokenizer};
use super::runtime::{in_one_line, no_panic};

/// How much of a text is looked at, for each token it may have. A word is about five bytes; the rest is room for
/// spaces, which make no tokens.
const MAX_BYTES_PER_TOKEN: usize = 64;
/// A text every tokenizer makes at least one token of.
const SAMPLE: &str = "course";

/// Reads `tokenizer.json`, without the truncation and padding it may carry: both are decided here, per batch.
///
/// # Errors
/// [`EngineError::Load`] when the file cannot be read or is not a tokenizer.
pub(super) fn load(file: &Path) -> Result<Arc<Tokenizer>, EngineError> {
    let load = || {
        let mut tokenizer = Tokenizer::from_file(file).map_err(|e| e.to_string())?;
        tokenizer.with_padding(None).with_truncation(None).map_err(|e| e.to_string())?;
        let sample = tokenizer.encode_fast(SAMPLE, false).map_err(|e| e.to_string())?;
        if sample.is_empty() { Err("it makes no tokens of text".to_owned()) } else { Ok(Arc::new(tokenizer)) }
    };
    no_panic(load).map_err(|problem| damaged(file, &format!("is not a tokenizer: {}", in_one_line(&problem, file))))
}

/// Makes the model's input of a text.
#[derive(Debug)]
pub(super) struct TextEncoder {
    tokenizer: Arc<Tokenizer>,
    /// Special tokens before and after every text.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// What fills a row up to the longest of its batch.
    pub(super) pad_id: u32,
    max_tokens: usize,
}

impl TextEncoder {
    /// # Errors
    /// [`EngineError::Load`] when `max_tokens` leaves no room between the special tokens.
    pub(super) fn new(tokenizer: Arc<Tokenizer>, max_tokens: usize) -> Result<Self, EngineError> {
        let (prefix, suffix) = special_tokens(&tokenizer).map_err(EngineError::Load)?;
        if prefix.len() + suffix.len() >= max_tokens {
            return Err(EngineError::Load(format!("the model's max_tokens is {max_tokens}: no room for a text")));
        }
        let pad_id = pad_id(&tokenizer);
        Ok(Self { tokenizer, prefix, suffix, pad_id, max_tokens })
    }

    /// How many special tokens are before and behind every text.
    pub(super) fn special_tokens(&self) -> (usize, usize) {
        (self.prefix.len(), self.suffix.len())
    }

    /// Token ids with special tokens: at least one, at most `max_tokens`; what is longer is cut.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the tokenizer refuses the text.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let encoding = self.tokenizer.encode_fast(cut(text, self.max_tokens), false).map_err(refused)?;
        let ids = &encoding.get_ids()[..encoding.len().min(self.room())];
        let ids = [&self.prefix, ids, &self.suffix].concat();
        Ok(if ids.is_empty() { vec![self.pad_id] } else { ids })
    }

    /// The word that each token of a text is of, without special tokens; as many as `encode` makes.
    ///
    /// # Errors
    /// The same.
    pub(super) fn words<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, EngineError> {
        let text = cut(text, self.max_tokens);
        let encoding = self.tokenizer.encode(text, false).map_err(refused)?;
        let offsets = encoding.get_offsets().iter().take(self.room());
        Ok(offsets.map(|&(start, end)| word_around(text, start, end)).collect())
    }

    /// Tokens of a text that there is room for between the special ones.
    fn room(&self) -> usize {
        self.max_tokens - self.prefix.len() - self.suffix.len()
    }
}

/// As much of a text as is looked at for so many tokens.
fn cut(text: &str, tokens: usize) -> &str {
    &text[..text.floor_char_boundary(tokens * MAX_BYTES_PER_TOKEN)]
}

fn refused(error: tokenizers::Error) -> EngineError {
    EngineError::Failed(format!("the tokenizer refused a text: {error}"))
}

/// The word that a piece of a text is of; empty where it is of none.
fn word_around(text: &str, start: usize, end: usize) -> &str {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (Some(before), Some(piece), Some(behind)) = (text.get(..start), text.get(start..end), text.get(end..)) else {
        return "";
    };
    if !piece.contains(is_part) {
        return "";
    }
    let start = before.trim_end_matches(is_part).len();
    let end = text.len() - behind.trim_start_matches(is_part).len();
    text.get(start..end).unwrap_or_default()
}

/// Two texts as one row, the way the model was trained to read them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// Token ids with special tokens.
    pub(super) ids: Vec<u32>,
    /// 0 for tokens of the first text, 1 for those of the second, as the tokenizer's own template has it.
    pub(super) types: Vec<u32>,
}

/// Makes the model's input of two texts.
#[derive(Debug)]
pub(super) struct PairEncoder {
    tokenizer: Arc<Tokenizer>,
    /// What fills a row up to the longest of its batch.
    pub(super) pad_id: u32,
    /// Room between the special tokens.
    room: usize,
}

impl PairEncoder {
    /// # Errors
    /// [`EngineError::Load`] when the tokenizer has no template for two texts, or `max_tokens` leaves no room in it.
    pub(super) fn new(tokenizer: Arc<Tokenizer>, max_tokens: usize) -> Result<Self, EngineError> {
        let special = tokenizer.get_post_processor().map_or(0, |template| template.added_tokens(true));
        if special == 0 {
            return Err(EngineError::Load(
                "tokenizer.json has no template for two texts: this is no reranker".to_owned(),
            ));
        }
        // A token of each text at least.
        if special + 2 > max_tokens {
            return Err(EngineError::Load(format!("the model's max_tokens is {max_tokens}: no room for two texts")));
        }
        let pad_id = pad_id(&tokenizer);
        Ok(Self { tokenizer, pad_id, room: max_tokens - special })
    }

    /// A row of at most `max_tokens`. What is too long is cut at its end: the first text to half of the room, then the second to
    /// what is left.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the tokenizer refuses a text.
    pub(super) fn encode(&self, first: &str, second: &str) -> Result<Pair, EngineError> {
        let encoded = |text: &str, room: usize| -> tokenizers::Result<_> {
            let mut encoding = self.tokenizer.encode_fast(cut(text, room), false)?;
            encoding.truncate(room, 0, TruncationDirection::Right);
            Ok(encoding)
        };
        let encode = || -> tokenizers::Result<_> {
            let first = encoded(first, self.room / 2)?;
            let second = encoded(second, self.room - first.len())?;
            self.tokenizer.post_process(first, Some(second), true)
        };
        let row = encode().map_err(refused)?;
        Ok(Pair { ids: row.get_ids().to_vec(), types: row.get_type_ids().to_vec() })
    }
}

fn pad_id(tokenizer: &Tokenizer) -> u32 {
    ["[PAD]", "<pad>"].iter().find_map(|pad| tokenizer.token_to_id(pad)).unwrap_or_default()
}

/// What the tokenizer puts before and after a text.
fn special_tokens(tokenizer: &Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let encode = |special| tokenizer.encode_fast(SAMPLE, special).map_err(|e| e.to_string());
    let (bare, whole) = (encode(false)?, encode(true)?);
    let (bare, whole) = (bare.get_ids(), whole.get_ids());
    // `load` has seen that the sample makes tokens, so the windows are not empty.
    let start = whole.windows(bare.len()).position(|window| window == bare);
    let start = start.ok_or("tokenizer.json changes a text when it adds special tokens, which is not supported")?;
    Ok((whole[..start].to_vec(), whole[start + bare.len()..].to_vec()))
}

/// Counts tokens as the embedder does. Cheap to clone and to share.
#[derive(Debug, Clone)]
pub struct OnnxTokenCounter {
    tokenizer: Arc<Tokenizer>,
}

impl OnnxTokenCounter {
    /// The counter of the model in `folder`; needs no runtime library.
    ///
    /// # Errors
    /// [`EngineError::Load`] when `tokenizer.json` is missing or is not a tokenizer.
    pub fn load(folder: &Path) -> Result<Self, EngineError> {
        Ok(Self::new(load(&find_tokenizer(folder, None)?)?))
    }

    pub(super) fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer }
    }
}

impl TokenCounter for OnnxTokenCounter {
    fn count(&self, text: &str) -> usize {
        // No tokenizer makes more tokens than there are bytes, so what it refuses counts as too long rather than too short.
        self.tokenizer.encode_fast(text, false).map_or(text.len(), |encoding| encoding.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words, with the templates of BERT.
    const TOKENIZER: &str = r#"{
      "version": "1.0", "added_tokens": [], "normalizer": null, "decoder": null,
      "pre_tokenizer": {"type": "Whitespace"},
      "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
      "model": {"type": "WordLevel", "unk_token": "[PAD]",
                "vocab": {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "heap": 3, "tree": 4, "order": 5}}
    }"#;

    fn encoder(tokenizer: &str, max_tokens: usize) -> Result<PairEncoder, EngineError> {
        PairEncoder::new(Arc::new(tokenizer.parse().unwrap()), max_tokens)
    }

    #[test]
    fn two_texts_become_one_row_by_the_tokenizers_template() {
        let row = encoder(TOKENIZER, 16).unwrap().encode("heap order", "tree").unwrap();
        assert_eq!(row, Pair { ids: vec![1, 3, 5, 2, 4, 2], types: vec![0, 0, 0, 0, 1, 1] });
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_second_text_gets_what_the_first_leaves() {
        let encoder = encoder(TOKENIZER, 9).unwrap();
        let row = encoder.encode("heap", "tree tree tree tree tree tree tree").unwrap();
        assert_eq!(row.ids, [1, 3, 2, 4, 4, 4, 4, 4, 2]);
        let row = encoder.encode("heap heap heap heap heap", "tree tree tree tree tree").unwrap();
        assert_eq!(row.ids, [1, 3, 3, 3, 2, 4, 4, 4, 2]);
    }

    #[test]
    fn a_piece_is_of_the_word_around_it_and_a_sign_of_none() {
        let text = "Größe of list_head?";
        let of = |piece: &str| {
            let start = text.find(piece).unwrap();
            word_around(text, start, start + piece.len())
        };
        assert_eq!((of("ö"), of("of"), of("head"), of("?")), ("Größe", "of", "list_head", ""));
        assert_eq!((word_around(text, 3, 4), word_around(text, 50, 51)), ("", ""), "no boundary, and no such place");
    }

    #[test]
    fn a_tokenizer_without_a_template_for_two_texts_is_refused() {
        let bare = TOKENIZER.replace(r#"{"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}"#, "null");
        assert!(encoder(&bare, 16).unwrap_err().to_string().contains("no reranker"));
        assert!(encoder(TOKENIZER, 4).unwrap_err().to_string().contains("no room"));
    }
}
