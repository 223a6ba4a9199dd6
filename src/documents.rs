//! Names and globs of a request's `documents`, resolved to documents of the store.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use mentor_actors::domain::{DocumentId, ErrorCode, TurnError};
use mentor_actors::ports::Retriever;
use mentor_actors::turn::DocumentFilter;

/// Most patterns in one request.
const MAX_PATTERNS: usize = 64;

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
            let matching: Vec<DocumentId> =
                documents.into_iter().map(|record| record.id).filter(|id| matches(&globs, id)).collect();
            if matching.is_empty() {
                return Err(invalid(format!("no document matches {}", patterns.join(", "))));
            }
            Ok(matching)
        }
        .boxed()
    }
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

    #[test]
    fn a_name_or_a_glob_meets_the_file_name_and_the_path() {
        let id = DocumentId("week 1/Heaps.pdf".into());
        for pattern in ["heaps.pdf", "*.pdf", "week 1/*", "week*/h*.PDF"] {
            assert!(matches(&compile(&[pattern.into()]).unwrap(), &id), "{pattern}");
        }
        assert!(!matches(&compile(&["*.md".into()]).unwrap(), &id));
        assert!(compile(&["[".into()]).unwrap_err().message.contains("documents"));
    }
}
