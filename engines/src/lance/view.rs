//! One version of the dataset, ready to be searched.

use std::collections::HashSet;
use std::sync::Arc;

use lance::Dataset;
use lance::deps::datafusion::prelude::col;
use lance::table::format::Fragment;
use mentor_actors::domain::{DocumentId, DocumentRecord, Found};
use mentor_actors::ports::SearchQuery;

use super::error::StoreError;
use super::postings::Bm25;
use super::segment::{ScoredSegment, Segment};
use super::terms::Analyser;
use super::{decode, schema, selection};

/// What a reader answers from until the next version is loaded.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The version; `None` before the first ingest.
    dataset: Option<Dataset>,
    /// Ordered by id.
    records: Vec<DocumentRecord>,
    chunks: Chunks,
}

#[derive(Debug)]
enum Chunks {
    /// All of them.
    InMemory(Vec<Arc<Segment>>),
    /// More than may be held.
    OnDisk,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::InMemory(Vec::new())
    }
}

impl View {
    /// Loads a version, of which fragments that `former` holds already are not read again.
    pub(super) async fn load(
        dataset: Dataset,
        former: &Self,
        dimension: usize,
        max_resident_rows: usize,
    ) -> Result<Self, StoreError> {
        if row_count(&dataset) > max_resident_rows {
            let records = read_records(&dataset).await?;
            return Ok(Self { dataset: Some(dataset), records, chunks: Chunks::OnDisk });
        }
        let mut segments = Vec::with_capacity(dataset.count_fragments());
        for fragment in dataset.fragments().iter() {
            segments.push(match former.segment(fragment) {
                Some(segment) => segment,
                None => Arc::new(Segment::load(&dataset, fragment, dimension).await?),
            });
        }
        let records = sorted(segments.iter().flat_map(|segment| segment.records()).cloned().collect());
        Ok(Self { dataset: Some(dataset), records, chunks: Chunks::InMemory(segments) })
    }

    fn segment(&self, fragment: &Fragment) -> Option<Arc<Segment>> {
        match &self.chunks {
            Chunks::InMemory(segments) => segments.iter().find(|segment| segment.fragment() == fragment).cloned(),
            Chunks::OnDisk => None,
        }
    }

    pub(super) fn dataset(&self) -> Option<&Dataset> {
        self.dataset.as_ref()
    }

    pub(super) fn records(&self) -> &[DocumentRecord] {
        &self.records
    }

    /// The dataset to search where the chunks are not in memory.
    pub(super) fn on_disk(&self) -> Option<&Dataset> {
        match self.chunks {
            Chunks::InMemory(_) => None,
            Chunks::OnDisk => self.dataset.as_ref(),
        }
    }

    /// The most relevant passages in memory, best first; ties by chunk id, then by document. The query's vector must have
    /// the store's dimension.
    pub(super) fn search(&self, query: &SearchQuery) -> Found {
        let Chunks::InMemory(segments) = &self.chunks else { return Found::default() };
        let wanted: Option<HashSet<DocumentId>> =
            (!query.documents.is_empty()).then(|| query.documents.iter().cloned().collect());
        let terms = Analyser::new().question_terms(&query.text);
        let words = Bm25::new(terms, segments.iter().map(|segment| segment.postings()));
        let scored: Vec<ScoredSegment> =
            segments.iter().map(|segment| segment.score(&query.embedding, &words, wanted.as_ref())).collect();
        selection::select(&scored, query.top_k, query.context_chars)
    }
}

/// Rows of the version, those of records included; where a count is missing, the store is taken for a large one.
fn row_count(dataset: &Dataset) -> usize {
    let counts: Option<Vec<usize>> = dataset.fragments().iter().map(Fragment::num_rows).collect();
    counts.map_or(usize::MAX, |counts| counts.into_iter().sum())
}

/// The records of a version, ordered by document id.
pub(super) async fn read_records(dataset: &Dataset) -> Result<Vec<DocumentRecord>, StoreError> {
    let mut scan = dataset.scan();
    scan.filter_expr(col(schema::RECORD).is_not_null()).project(&[schema::DOCUMENT_ID, schema::RECORD])?;
    Ok(sorted(decode::decode_records(&scan.try_into_batch().await?)?))
}

fn sorted(mut records: Vec<DocumentRecord>) -> Vec<DocumentRecord> {
    records.sort_by(|a, b| a.id.cmp(&b.id));
    records
}
