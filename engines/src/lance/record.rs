//! A document's record as JSON, in the column `record`.

use mentor_actors::domain::{DocumentFailure, DocumentHash, DocumentId, DocumentKind, DocumentRecord};
use serde::{Deserialize, Serialize};

use super::error::StoreError;

/// A record without its id, which has a column of its own.
#[derive(Serialize, Deserialize)]
struct StoredRecord {
    hash: String,
    kind: String,
    pages: u32,
    chunks: u32,
    failed_pages: Vec<(u32, String)>,
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

pub(super) fn to_json(record: &DocumentRecord) -> String {
    let stored = StoredRecord {
        hash: record.hash.to_string(),
        kind: record.kind.media_type().into(),
        pages: record.pages,
        chunks: record.chunks,
        failed_pages: record.failed_pages.clone(),
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

pub(super) fn from_json(id: &str, json: &str) -> Result<DocumentRecord, StoreError> {
    let unreadable = |reason: String| StoreError::Damaged(format!("the record of {id} is unreadable: {reason}"));
    let stored: StoredRecord = serde_json::from_str(json).map_err(|error| unreadable(error.to_string()))?;
    let hash = |hex: &str| DocumentHash::from_hex(hex).ok_or_else(|| unreadable(format!("hash {hex:?}")));
    let read = |failure: StoredFailure| -> Result<_, StoreError> {
        Ok(DocumentFailure { hash: hash(&failure.hash)?, reason: failure.reason })
    };
    let failure = stored.failure.map(read);
    Ok(DocumentRecord {
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
    })
}

/// # Errors
/// [`StoreError::Damaged`] for a media type this program does not write.
pub(super) fn parse_kind(media_type: &str) -> Result<DocumentKind, StoreError> {
    DocumentKind::from_media_type(media_type)
        .ok_or_else(|| StoreError::Damaged(format!("it holds a document of unknown type {media_type:?}")))
}
