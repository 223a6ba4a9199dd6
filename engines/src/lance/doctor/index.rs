//! The search index: missing, behind the store, or damaged.

use mentor_index::SearchIndex;

use super::super::index_folder::IndexFolder;
use super::super::indexing;
use super::super::survey::IndexSurvey;
use super::{Finding, REINDEX};

const CHECK: &str = "index";

/// Reads all of the index.
pub(super) fn examine(index: &IndexSurvey, folder: &IndexFolder, chunks: usize, index_from: usize) -> Option<Finding> {
    let Some(number) = index.number else {
        let message = format!("{chunks} passages are searched one by one: there is no search index");
        return (chunks >= index_from).then(|| Finding::problem(CHECK, message, REINDEX));
    };
    let error =
        index.error.clone().or_else(|| SearchIndex::verify(&folder.path(number)).err().map(|it| it.to_string()));
    if let Some(error) = error {
        return Some(Finding::problem(CHECK, format!("the search index cannot be used: {error}"), REINDEX));
    }
    let coverage = &index.coverage;
    let message = format!(
        "the search index is behind the store: {} passages are not in it, {} of it are gone",
        coverage.rest, coverage.gone
    );
    indexing::is_due(coverage, chunks, index_from).then(|| Finding::problem(CHECK, message, REINDEX))
}
