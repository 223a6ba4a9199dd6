//! The chunks of a version that stand in its search index.

use std::collections::HashSet;
use std::sync::Arc;

use mentor_actors::domain::{DocumentId, DocumentKind};
use mentor_actors::ranking;
use mentor_index::{Bm25, Near, SearchIndex, Wanted, Words};

use super::coverage::Coverage;
use super::error::StoreError;
use super::hit::{Hit, Scored};
use super::payload;
use super::record::StoredRecord;

/// So many chunks are taken by their vectors, and as many by their words, before both are added: the sum's best stand high
/// in one of the two.
const CANDIDATES: usize = 200;

/// An index, with what the version calls its documents.
#[derive(Debug)]
pub(super) struct Sealed {
    index: Arc<SearchIndex>,
    /// Of each document of the index, unless it is gone.
    documents: Vec<Option<(DocumentId, DocumentKind)>>,
}

impl Sealed {
    pub(super) fn new(index: Arc<SearchIndex>, coverage: &Coverage, records: &[StoredRecord]) -> Self {
        let of = |number: usize| (records[number].record.id.clone(), records[number].record.kind);
        Self { index, documents: coverage.documents.iter().map(|number| number.map(of)).collect() }
    }

    pub(super) fn words(&self) -> &Words {
        self.index.words()
    }

    /// Compares the question's words with all chunks; its vector is compared when the best are asked for.
    pub(super) fn score<'s>(
        &'s self,
        query: &'s [f32],
        words: &Bm25,
        wanted: Option<&HashSet<DocumentId>>,
    ) -> ScoredIndex<'s> {
        let is_wanted = |number: usize| match (&self.documents[number], wanted) {
            (Some((id, _)), Some(wanted)) => wanted.contains(id),
            (found, None) => found.is_some(),
            (None, _) => false,
        };
        ScoredIndex {
            sealed: self,
            query,
            words: self.index.words().scores(words),
            wanted: self.index.wanted(is_wanted),
        }
    }
}

/// An index as one question sees it.
#[derive(Debug)]
pub(super) struct ScoredIndex<'s> {
    sealed: &'s Sealed,
    query: &'s [f32],
    /// Of each row; empty when the question has none.
    words: Vec<f32>,
    wanted: Wanted,
}

/// The best of an index.
pub(super) struct BestOfIndex<'s> {
    /// Best first.
    pub(super) hits: Vec<Hit<'s>>,
    /// The highest likeness, and the highest part of the question's words, in any of the index.
    best_likeness: f32,
    best_words: f32,
}

impl BestOfIndex<'_> {
    pub(super) fn likeness_and_words(&self) -> (f32, f32) {
        (self.best_likeness, self.best_words)
    }
}

impl ScoredIndex<'_> {
    /// How many rows it has, wanted or not.
    pub(super) fn rows(&self) -> usize {
        self.sealed.index.rows()
    }

    /// The `count` best chunks.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn best(&self, count: usize) -> Result<BestOfIndex<'_>, StoreError> {
        let index = &self.sealed.index;
        let candidates = if self.words.is_empty() { count } else { count.max(CANDIDATES) };
        let mut found = index.nearest(self.query, candidates, &self.wanted)?;
        let best_likeness = found.first().map_or(f32::NEG_INFINITY, |near| near.likeness);
        let by_words = index.best_by_words(&self.words, candidates, &self.wanted);
        let best_words = by_words.first().map_or(0.0, |row| self.words_of(*row));
        let known: HashSet<u32> = found.iter().map(|near| near.row).collect();
        for row in by_words.into_iter().filter(|row| !known.contains(row)) {
            found.push(index.compared(row, self.query)?);
        }
        found.sort_by(|a, b| self.score_of(b).total_cmp(&self.score_of(a)).then(a.row.cmp(&b.row)));
        let hits = found.into_iter().take(count).map(|near| self.hit_of(near)).collect::<Result<_, _>>()?;
        Ok(BestOfIndex { hits, best_likeness, best_words })
    }

    fn words_of(&self, row: u32) -> f32 {
        self.words.get(row as usize).copied().unwrap_or(0.0)
    }

    fn score_of(&self, near: &Near) -> f32 {
        ranking::score(near.likeness, self.words_of(near.row))
    }
}

impl Scored for ScoredIndex<'_> {
    fn hit(&self, row: usize) -> Result<Hit<'_>, StoreError> {
        self.hit_of(self.sealed.index.compared(row as u32, self.query)?)
    }
}

impl ScoredIndex<'_> {
    fn hit_of(&self, near: Near) -> Result<Hit<'_>, StoreError> {
        let sealed = self.sealed;
        let (document, rows) = sealed.index.document_of(near.row);
        let gone = || StoreError::Damaged("a passage of a document that is gone was found".into());
        let (id, kind) = sealed.documents[document].as_ref().ok_or_else(gone)?;
        Ok(Hit {
            from: self,
            row: near.row as usize,
            run: rows.start as usize..rows.end as usize,
            score: self.score_of(&near),
            passage: payload::decode(&sealed.index.payload(near.row)?, id, *kind)?,
            vector: near.vector,
        })
    }
}
