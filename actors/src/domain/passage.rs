//! Passages: what retrieval returns and an answer stands on.

use std::ops::Range;

use super::{ChunkId, DocumentId, DocumentKind};

/// A unit-length vector of the embedder's dimension; cosine similarity is its dot product.
pub type Embedding = Vec<f32>;

/// Half-open range of characters (Unicode scalar values, not bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CharSpan {
    /// First character.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
}

/// A piece of a document, with the place it stands at.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Which chunk of the store this is.
    pub chunk_id: ChunkId,
    /// Which document it belongs to.
    pub document_id: DocumentId,
    /// File name without folders, as shown to people.
    pub file_name: String,
    /// What kind of file it is.
    pub kind: DocumentKind,
    /// Page as a reader finds it: the 1-based page of a PDF. Other kinds have no pages: `None`.
    pub page: Option<u32>,
    /// Nearest heading above the passage, where the document has headings.
    pub section: Option<String>,
    /// Where it stands in the text of its page (or of the whole document where there are no pages).
    pub span: CharSpan,
    /// The text itself.
    pub text: String,
}

/// A passage with its relevance.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPassage {
    /// The passage.
    pub passage: Passage,
    /// How likely it answers the question, 0 to 1.
    pub score: f32,
    /// Which bytes of the text were found. The rest stands beside them.
    pub found: Range<usize>,
}

impl ScoredPassage {
    /// A passage that was found as a whole.
    #[must_use]
    pub fn whole(passage: Passage, score: f32) -> Self {
        let found = 0..passage.text.len();
        Self { passage, score, found }
    }

    /// The part of the text that was found; all of it where there is no such part.
    #[must_use]
    pub fn found_text(&self) -> &str {
        self.passage.text.get(self.found.clone()).unwrap_or(&self.passage.text)
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// Best first.
    pub passages: Vec<ScoredPassage>,
    /// How likely the corpus answers the question at all, 0 to 1; 0 where it is empty.
    pub relevance: f32,
}
