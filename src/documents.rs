//! Names and globs of a request's `documents`, resolved to documents of the store.

use std::collections::BTreeSet;
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
            refuse_too_many(&patterns)?;
            let documents = documents.await.map_err(|error| {
                tracing::error!(%error, "the store cannot be read");
                TurnError::new(ErrorCode::Unavailable, "the course materials could not be searched, try again")
            })?;
            let matching = matching(&patterns, documents)?;
            if matching.is_empty() {
                return Err(invalid(format!("no document matches {}", patterns.join(", "))));
            }
            Ok(matching)
        }
        .boxed()
    }
}

/// The documents that a pattern meets, by their own name or by that of a file with the same content, which they stand for. What is
/// the name of a document means that one, though it could be read as a glob: `notes [draft].md`.
fn matching(patterns: &[String], documents: Vec<DocumentRecord>) -> Result<Vec<DocumentId>, TurnError> {
    let documents: Vec<DocumentRecord> = documents.into_iter().filter(DocumentRecord::was_read).collect();
    let wanted: Vec<String> = patterns.iter().map(|pattern| pattern.to_lowercase()).collect();
    let named: Vec<bool> = wanted.iter().map(|name| documents.iter().any(|record| is_named(record, name))).collect();
    let by_name: BTreeSet<&str> =
        (wanted.iter().zip(&named)).filter(|(_, named)| **named).map(|it| it.0.as_str()).collect();
    let globs = compile(patterns.iter().zip(&named).filter(|(_, named)| !**named).map(|(pattern, _)| pattern))?;
    let meets = |record: &DocumentRecord| {
        by_name.iter().any(|name| is_named(record, name)) || names(record).any(|id| matches(&globs, id))
    };
    Ok(documents.into_iter().filter(meets).map(|record| record.id).collect())
}

/// The names of the files with a document's content.
fn names(record: &DocumentRecord) -> impl Iterator<Item = &DocumentId> {
    std::iter::once(&record.id).chain(&record.copies)
}

/// Whether that, in lower case, is the whole path or the file name of one of its files.
fn is_named(record: &DocumentRecord, name: &str) -> bool {
    names(record).map(|id| id.0.to_lowercase()).any(|id| id == name || file_name(&id) == name)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A pattern meets a document's whole path, or its file name alone.
fn matches(globs: &GlobSet, id: &DocumentId) -> bool {
    globs.is_match(&id.0) || globs.is_match(file_name(&id.0))
}

fn refuse_too_many(patterns: &[String]) -> Result<(), TurnError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(invalid(format!("documents has {} entries, {MAX_PATTERNS} are allowed", patterns.len())));
    }
    Ok(())
}

fn compile<'p>(patterns: impl Iterator<Item = &'p String>) -> Result<GlobSet, TurnError> {
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
            assert!(matches(&compile([pattern.into()].iter()).unwrap(), &id), "{pattern}");
        }
        assert!(!matches(&compile(["*.md".into()].iter()).unwrap(), &id));
        assert!(compile(["[".into()].iter()).unwrap_err().message.contains("documents"));
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
        let met = |pattern: &str| matching(&[pattern.into()], documents.clone()).unwrap();
        assert_eq!(met("again.pdf"), [DocumentId("a.pdf".into())]);
        assert_eq!(met("*.pdf"), [DocumentId("a.pdf".into())]);
        assert!(met("broken.pdf").is_empty());
    }

    #[test]
    fn a_name_with_signs_of_globs_in_it_means_its_document() {
        let record = |name: &str| {
            let id = DocumentId(name.into());
            let failed = DocumentRecord::failed(id, DocumentHash([1; 32]), DocumentKind::Pdf, String::new());
            DocumentRecord { failure: None, ..failed }
        };
        let documents = ["week 1/Notes [draft].pdf", "Notes d.pdf", "what is {x}?.pdf", "[.md"].map(record).to_vec();
        let met = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).into()).collect();
            let met = matching(&patterns, documents.clone()).unwrap();
            met.into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(met(&["notes [draft].PDF"]), ["week 1/Notes [draft].pdf"]);
        assert_eq!(met(&["week 1/Notes [draft].pdf"]), ["week 1/Notes [draft].pdf"]);
        assert_eq!(met(&["what is {x}?.pdf", "Notes [a-e].pdf"]), ["Notes d.pdf", "what is {x}?.pdf"]);
        assert_eq!(met(&["[.md"]), ["[.md"], "no glob at all");
    }
}
