//! Documents into chunks that fit the embedder, behind the [`Chunker`] port.
//!
//! ```text
//! page ─ headings ─► sections ─ units ─► sentences with token counts ─ packing ─► chunks ─► spans in characters
//! ```
//! Tokens are counted once for each different word of a document ([`words`]): the tokenizers of BERT-like embedders cut
//! at white space first, so the counts of words add up to the count of their text. What is longer than a chunk without
//! any sentence end is cut by the crate text-splitter.

mod headings;
mod packing;
mod units;
mod words;

use std::ops::Range;
use std::sync::Arc;

use mentor_actors::domain::{CharSpan, Chunk, DocumentContent, DocumentKind, PageText};
use mentor_actors::ports::{Chunker, TokenCounter};

use headings::Section;
use packing::Budget;
use words::WordCounts;

/// Version of the rules by which documents are cut; a store keeps it, and a program with other rules does not mix with it.
pub const CHUNKER_VERSION: u32 = 2;

/// `[CLS]` and `[SEP]`, which the embedder adds to every text.
const SPECIAL_TOKENS: usize = 2;
/// Shortest chunk that may be asked for; less holds no sentence.
const LEAST_TARGET: usize = 16;

/// How long chunks are, in the embedder's tokens, its two special tokens included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Length that chunks are filled up to. 128 is what the default embedder was trained on.
    pub target_tokens: usize,
    /// Length that no chunk exceeds: the embedder's window. A chunk passes the target only to take in a short rest.
    pub limit_tokens: usize,
    /// How much of a chunk is repeated at the start of the next, in whole sentences. Costs as much time to embed.
    pub overlap_tokens: usize,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        Self { target_tokens: 128, limit_tokens: 256, overlap_tokens: 0 }
    }
}

/// Cuts at sentence ends, better at line ends, best between paragraphs; never across pages or headings.
pub struct SentenceChunker {
    counter: Arc<dyn TokenCounter>,
    budget: Budget,
}

impl SentenceChunker {
    /// Options out of range are brought into it: the target to at least 16 and at most the limit, the overlap to at
    /// most half the target.
    #[must_use]
    pub fn new(counter: Arc<dyn TokenCounter>, options: ChunkOptions) -> Self {
        let limit = options.limit_tokens.max(LEAST_TARGET);
        let target = options.target_tokens.clamp(LEAST_TARGET, limit) - SPECIAL_TOKENS;
        let overlap = options.overlap_tokens.min(target / 2);
        Self { counter, budget: Budget { target, limit: limit - SPECIAL_TOKENS, overlap } }
    }

    fn chunk_page(&self, kind: DocumentKind, page: &PageText, words: &WordCounts, chunks: &mut Vec<Chunk>) {
        let Ok(text) = &page.text else { return };
        let mut place = Place::default();
        for section in sections(kind, page, text) {
            let units = units::of(text, section.range.clone(), words, self.budget.target);
            for range in packing::pack(&units, self.budget) {
                let piece = &text[range.clone()];
                if !piece.contains(char::is_alphanumeric) {
                    continue;
                }
                chunks.push(Chunk {
                    page: page.page,
                    section: section.title.clone(),
                    span: place.span(text, range),
                    text: piece.to_owned(),
                    tokens: words.count(piece) + SPECIAL_TOKENS,
                });
            }
        }
    }
}

impl Chunker for SentenceChunker {
    fn chunk(&self, document: &DocumentContent) -> Vec<Chunk> {
        let words = WordCounts::new(&*self.counter);
        let mut chunks = Vec::new();
        for page in &document.pages {
            self.chunk_page(document.kind, page, &words, &mut chunks);
        }
        chunks
    }
}

/// By the headings in the text where the format has such, else as the document names them beside it.
fn sections(kind: DocumentKind, page: &PageText, text: &str) -> Vec<Section> {
    match kind {
        DocumentKind::Markdown
        | DocumentKind::Html
        | DocumentKind::Word
        | DocumentKind::Presentation
        | DocumentKind::Epub
        | DocumentKind::Notebook => headings::sections(text),
        DocumentKind::Pdf | DocumentKind::PlainText => headings::named(text, &page.sections),
    }
}

/// Byte ranges into character spans, for ranges whose starts ascend.
#[derive(Debug, Default)]
struct Place {
    byte: usize,
    character: usize,
}

impl Place {
    fn span(&mut self, text: &str, range: Range<usize>) -> CharSpan {
        self.character += text[self.byte..range.start].chars().count();
        self.byte = range.start;
        CharSpan { start: self.character, end: self.character + text[range].chars().count() }
    }
}
