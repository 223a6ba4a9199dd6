//! Names and globs of a request's `documents`, resolved to documents of the store.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use mentor_actors::domain::{DocumentId, DocumentRecord, ErrorCode, TurnError};
use mentor_actors::ports::Retriever;
use mentor_actors::turn::DocumentFilter;

/// Most patterns in one request.
pub const MAX_PATTERNS: usize = 64;

/// Resolves against what the store holds at that moment.
pub struct StoredDocuments {
    store: Arc<dyn Retriever>,
}

impl StoredDocuments {
    /// A filter over that store.
    #[must_use]
    pub fn new(store: Arc<dyn Retriever>) -> Self {
        Self { store }
    }
}

impl DocumentFilter for StoredDocuments {
    fn resolve(&self, patterns: Vec<String>) -> BoxFuture<'static, Result<Vec<DocumentId>, TurnError>> {
        let documents = self.store.documents();
        async move {
            let globs = compile(&patterns)?;
            let documents = documents.await.map_err(|error| {
                tracing::error!(%error, "the store cannot be read");
                TurnError::new(ErrorCode::Unavailable, "the course materials could not be searched, try again")
            })?;
            let matching = matching(&globs, documents);
            if matching.is_empty() {
                return Err(invalid(format!("no document matches {}", patterns.join(", "))));
            }
            Ok(matching)
        }
        .boxed()
    }
}

/// The documents that a pattern meets, by their own name or by that of a file with the same content, which they stand for.
fn matching(globs: &GlobSet, documents: Vec<DocumentRecord>) -> Vec<DocumentId> {
    let meets = |record: &DocumentRecord| {
        record.was_read() && std::iter::once(&record.id).chain(&record.copies).any(|id| matches(globs, id))
    };
    documents.into_iter().filter(meets).map(|record| record.id).collect()
}

/// A pattern meets a document's whole path, or its file name alone.
fn matches(globs: &GlobSet, id: &DocumentId) -> bool {
    let name = id.0.rsplit('/').next().unwrap_or(&id.0);
    globs.is_match(&id.0) || globs.is_match(name)
}

fn compile(patterns: &[String]) -> Result<GlobSet, TurnError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(invalid(format!("documents has {} entries, {MAX_PATTERNS} are allowed", patterns.len())));
    }
    let wrong = |error: globset::Error| invalid(format!("documents: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).case_insensitive(true).build().map_err(wrong)?);
    }
    set.build().map_err(wrong)
}

fn invalid(message: String) -> TurnError {
    TurnError::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mentor_actors::domain::{DocumentHash, DocumentKind};

    #[test]
    fn a_name_or_a_glob_meets_the_file_name_and_the_path() {
        let id = DocumentId("week 1/Heaps.pdf".into());
        for pattern in ["heaps.pdf", "*.pdf", "week 1/*", "week*/h*.PDF"] {
            assert!(matches(&compile(&[pattern.into()]).unwrap(), &id), "{pattern}");
        }
        assert!(!matches(&compile(&["*.md".into()]).unwrap(), &id));
        assert!(compile(&["[".into()]).unwrap_err().message.contains("documents"));
    }

    #[test]
    fn the_name_of_a_copy_means_the_document_that_stands_for_it_and_one_that_failed_is_never_meant() {
        let record = |name: &str, copies: Vec<DocumentId>| {
            let hash = DocumentHash([1; 32]);
            let failed = DocumentRecord::failed(DocumentId(name.into()), hash, DocumentKind::Pdf, "broken".into());
            DocumentRecord { copies, ..failed }
        };
        let stands = DocumentRecord { failure: None, ..record("a.pdf", vec![DocumentId("week 2/again.pdf".into())]) };
        let documents = vec![stands, record("broken.pdf", Vec::new())];
        let met = |pattern: &str| matching(&compile(&[pattern.into()]).unwrap(), documents.clone());
        assert_eq!(met("again.pdf"), [DocumentId("a.pdf".into())]);
        assert_eq!(met("*.pdf"), [DocumentId("a.pdf".into())]);
        assert!(met("broken.pdf").is_empty());
    }
}
