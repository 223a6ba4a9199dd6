//! Markdown files. Their text stays as it is: spans refer to what a reader sees in an editor, and the chunker finds the
//! headings itself.

use mentor_actors::domain::{DocumentContent, DocumentKind, EngineError};

use super::{encoding, file};

/// The text as the file has it, without a byte order mark.
///
/// # Errors
/// [`EngineError::Failed`] when the bytes are not text.
pub fn extract(bytes: &[u8]) -> Result<DocumentContent, EngineError> {
    Ok(file::without_pages(DocumentKind::Markdown, encoding::decode(bytes, None)?))
}
