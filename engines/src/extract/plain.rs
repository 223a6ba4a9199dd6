//! Plain text files.

use mentor_actors::domain::{DocumentContent, DocumentKind, EngineError};

use super::{encoding, file};

/// The text as the file has it, without a byte order mark.
///
/// # Errors
/// [`EngineError::Failed`] when the bytes are not text.
pub fn extract(bytes: &[u8]) -> Result<DocumentContent, EngineError> {
    Ok(file::without_pages(DocumentKind::PlainText, encoding::decode(bytes, None)?))
}
