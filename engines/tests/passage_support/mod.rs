//! Passages for tests to which only the text matters.

use mentor_actors::domain::{CharSpan, ChunkId, DocumentId, DocumentKind, Passage, ScoredPassage};

/// A passage that was found as a whole, with this score.
pub fn passage(text: &str, score: f32) -> ScoredPassage {
    let passage = Passage {
        chunk_id: ChunkId("c".into()),
        document_id: DocumentId("d".into()),
        file_name: "d.md".into(),
        kind: DocumentKind::Markdown,
        page: None,
        section: None,
        span: CharSpan::default(),
        text: text.into(),
    };
    ScoredPassage::whole(passage, score)
}
