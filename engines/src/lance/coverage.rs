//! Which documents of a version stand in a search index.

use std::collections::HashMap;

use mentor_index::SearchIndex;

use super::record::StoredRecord;

/// An index as a version sees it.
#[derive(Debug)]
pub(super) struct Coverage {
    /// For each document of the index the version's record, by its number, unless it is gone.
    pub(super) documents: Vec<Option<usize>>,
    /// For each record of the version whether the index has its document.
    pub(super) covered: Vec<bool>,
    /// Chunks of the other documents.
    pub(super) rest: usize,
    /// Rows of the index whose documents are gone.
    pub(super) gone: usize,
}

impl Coverage {
    /// Without an `index` nothing is covered.
    pub(super) fn of(index: Option<&SearchIndex>, records: &[StoredRecord]) -> Self {
        let mut numbers: HashMap<(&str, u32), Vec<usize>> = HashMap::new();
        for (number, StoredRecord { record, content }) in records.iter().enumerate().rev() {
            numbers.entry((content.as_str(), record.chunks)).or_default().push(number);
        }
        let mut coverage = Self { documents: Vec::new(), covered: vec![false; records.len()], rest: 0, gone: 0 };
        for document in index.into_iter().flat_map(SearchIndex::documents) {
            let rows = document.rows.end - document.rows.start;
            let found = numbers.get_mut(&(document.content, rows)).and_then(Vec::pop);
            match found {
                Some(number) => coverage.covered[number] = true,
                None => coverage.gone += rows as usize,
            }
            coverage.documents.push(found);
        }
        let others = records.iter().zip(&coverage.covered).filter(|(_, covered)| !**covered);
        coverage.rest = others.map(|(stored, _)| stored.record.chunks as usize).sum();
        coverage
    }

    /// What is said of the index, for people; `has_index` where there is one that can be read.
    pub(super) fn state(&self, has_index: bool) -> String {
        match (has_index, self.rest) {
            (false, _) => "flat".into(),
            (true, 0) => "lists".into(),
            (true, rest) => format!("lists, and {rest} passages beside them"),
        }
    }
}
