//! A document's record as JSON, in the column `record`.

use mentor_actors::domain::{DocumentFailure, DocumentHash, DocumentId, DocumentKind, DocumentRecord, EmbeddedChunk};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::StoreError;

/// A record, and what says whether the document's chunks are still the same.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredRecord {
    pub(super) record: DocumentRecord,
    /// The same for two documents only when their chunks are the same, with their places and vectors.
    pub(super) content: String,
}

impl StoredRecord {
    /// The record of a document that is written with these chunks.
    pub(super) fn of(record: &DocumentRecord, chunks: &[EmbeddedChunk]) -> Self {
        let mut hash = Sha256::new();
        // A document's hash and the places of its chunks are parts of what is stored of each.
        hash.update(record.hash.0);
        for (chunk, vector) in chunks {
            for text in [chunk.section.as_deref().unwrap_or_default(), &chunk.text] {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
            let page = chunk.page.map_or(0, u64::from);
            [page, chunk.span.start as u64, chunk.span.end as u64]
                .into_iter()
                .for_each(|number| hash.update(number.to_le_bytes()));
            vector.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        let content = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { record: record.clone(), content }
    }
}

/// A record without its id, which has a column of its own.
#[derive(Serialize, Deserialize)]
struct RecordJson {
    hash: String,
    kind: String,
    pages: u32,
    chunks: u32,
    failed_pages: Vec<(u32, String)>,
    /// Missing in stores that were written before there was an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    copies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<StoredFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_at_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StoredFailure {
    hash: String,
    reason: String,
}

pub(super) fn to_json(StoredRecord { record, content }: &StoredRecord) -> String {
    let stored = RecordJson {
        hash: record.hash.to_string(),
        kind: record.kind.media_type().into(),
        pages: record.pages,
        chunks: record.chunks,
        failed_pages: record.failed_pages.clone(),
        content: Some(content.clone()),
        copies: record.copies.iter().map(|id| id.0.clone()).collect(),
        failure: record
            .failure
            .as_ref()
            .map(|failure| StoredFailure { hash: failure.hash.to_string(), reason: failure.reason.clone() }),
        bytes: record.bytes,
        stored_at_s: record.stored_at_s,
    };
    serde_json::to_string(&stored).expect("strings and numbers always serialise")
}

pub(super) fn from_json(id: &str, json: &str) -> Result<StoredRecord, StoreError> {
    let unreadable = |reason: String| StoreError::Damaged(format!("the record of {id} is unreadable: {reason}"));
    let stored: RecordJson = serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
    let hash = |hex: &str| DocumentHash::from_hex(hex).ok_or_else(|| unreadable(format!("hash {hex:?}")));
    let read = |failure: StoredFailure| -> Result<_, StoreError> {
        Ok(DocumentFailure { hash: hash(&failure.hash)?, reason: failure.reason })
    };
    let failure = stored.failure.map(read);
    // Whoever writes without a content never changes the chunks of a hash.
    let content = stored.content.unwrap_or_else(|| format!("{}-{}", stored.hash, stored.chunks));
    let record = DocumentRecord {
        id: DocumentId(id.into()),
        hash: hash(&stored.hash)?,
        kind: parse_kind(&stored.kind)?,
        pages: stored.pages,
        failed_pages: stored.failed_pages,
        chunks: stored.chunks,
        copies: stored.copies.into_iter().map(DocumentId).collect(),
        failure: failure.transpose()?,
        bytes: stored.bytes,
        stored_at_s: stored.stored_at_s,
    };
    Ok(StoredRecord { record, content })
}

/// # Errors
/// [`StoreError::Damaged`] for a media type this program does not write.
pub(super) fn parse_kind(media_type: &str) -> Result<DocumentKind, StoreError> {
    DocumentKind::from_media_type(media_type)
        .ok_or_else(|| StoreError::Damaged(format!("it holds a document of unknown type {media_type:?}")))
}
