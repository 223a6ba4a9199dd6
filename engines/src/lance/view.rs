//! One version of the dataset, ready to be searched.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use lance::Dataset;
use lance::deps::datafusion::prelude::col;
use lance::table::format::Fragment;
use mentor_actors::domain::{DocumentId, DocumentRecord, Found};
use mentor_actors::ports::SearchQuery;
use mentor_index::{Analyser, Bm25, SearchIndex};

use super::coverage::Coverage;
use super::error::StoreError;
use super::record::StoredRecord;
use super::sealed::Sealed;
use super::segment::{ScoredSegment, Segment};
use super::{decode, schema, selection};

/// What a reader answers from until the next version is loaded.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The version; `None` before the first ingest.
    dataset: Option<Dataset>,
    /// Ordered by id.
    records: Vec<StoredRecord>,
    index: Option<NumberedIndex>,
    /// What the index has of the version.
    coverage: Option<Coverage>,
    fragments: Vec<Arc<FragmentView>>,
    chunks: Chunks,
}

/// A search index, or that it cannot be read.
#[derive(Debug, Clone)]
pub(super) struct NumberedIndex {
    pub(super) number: u64,
    pub(super) index: Option<Arc<SearchIndex>>,
}

/// What a version has in one of its fragments. A fragment never changes: later versions with the same one keep this.
#[derive(Debug)]
struct FragmentView {
    fragment: Fragment,
    records: Vec<StoredRecord>,
    /// Its chunks that do not stand in the index, unless they are searched on disk.
    segment: Option<Arc<Segment>>,
}

#[derive(Debug)]
enum Chunks {
    /// In an index, in the fragments' segments, or both.
    AtHand(Option<Sealed>),
    /// More are in no index than may be held in memory.
    OnDisk,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::AtHand(None)
    }
}

impl View {
    /// Loads a version with an index, of which fragments that `former` holds already are not read again. At most
    /// `max_resident_rows` chunks outside of the index are held in memory.
    pub(super) async fn load(
        dataset: Dataset,
        index: Option<NumberedIndex>,
        former: &Self,
        dimension: usize,
        max_resident_rows: usize,
    ) -> Result<Self, StoreError> {
        let by_fragment = records_by_fragment(&dataset, former).await?;
        let records = sorted(by_fragment.iter().flatten().cloned().collect());
        let usable =
            index.as_ref().and_then(|index| index.index.clone()).filter(|index| index.dimension() == dimension);
        let coverage = Coverage::of(usable.as_deref(), &records);
        let mut view = Self { records, index, ..Self::default() };
        let on_disk = coverage.rest > max_resident_rows;
        let rest: Vec<&str> = uncovered(&view.records, &coverage).collect();
        let keeps_segments = !on_disk && former.on_disk().is_none() && view.covers_as(&coverage, former);
        for (fragment, records) in dataset.fragments().iter().zip(by_fragment) {
            let segment = match former.fragment(fragment).filter(|_| keeps_segments) {
                Some(kept) => kept.segment.clone(),
                None if on_disk || rest.is_empty() => None,
                None => {
                    let documents = usable.is_some().then_some(rest.as_slice());
                    Some(Arc::new(Segment::load(&dataset, fragment, dimension, documents).await?))
                }
            };
            view.fragments.push(Arc::new(FragmentView { fragment: fragment.clone(), records, segment }));
        }
        let sealed = usable.map(|index| Sealed::new(index, &coverage, &view.records));
        view.chunks = if on_disk { Chunks::OnDisk } else { Chunks::AtHand(sealed) };
        Ok(Self { dataset: Some(dataset), coverage: Some(coverage), ..view })
    }

    fn fragment(&self, fragment: &Fragment) -> Option<&Arc<FragmentView>> {
        self.fragments.iter().find(|known| known.fragment == *fragment)
    }

    /// Whether the segments of `former` hold what belongs into those of this view: the index is the same, and of every document
    /// that both have it has the chunks in both, or in neither.
    fn covers_as(&self, coverage: &Coverage, former: &Self) -> bool {
        let Some(former_coverage) = &former.coverage else { return true };
        let covered = |view: &Self, coverage: &Coverage| -> HashMap<DocumentId, bool> {
            view.records.iter().map(|stored| stored.record.id.clone()).zip(coverage.covered.iter().copied()).collect()
        };
        let number = |view: &Self| view.index.as_ref().map(|index| index.number);
        let was = covered(former, former_coverage);
        number(self) == number(former)
            && covered(self, coverage).iter().all(|(id, is)| was.get(id).is_none_or(|was| was == is))
    }

    pub(super) fn dataset(&self) -> Option<&Dataset> {
        self.dataset.as_ref()
    }

    pub(super) fn index(&self) -> Option<&NumberedIndex> {
        self.index.as_ref()
    }

    /// What is said of the index, for people.
    pub(super) fn index_state(&self) -> String {
        let has_index = self.index.as_ref().is_some_and(|index| index.index.is_some());
        self.coverage.as_ref().map_or_else(|| "flat".into(), |coverage| coverage.state(has_index))
    }

    /// The documents, ordered by id.
    pub(super) fn records(&self) -> impl Iterator<Item = &DocumentRecord> + Clone {
        self.records.iter().map(|stored| &stored.record)
    }

    /// The dataset to search where the chunks are neither in an index nor in memory.
    pub(super) fn on_disk(&self) -> Option<&Dataset> {
        match self.chunks {
            Chunks::AtHand(_) => None,
            Chunks::OnDisk => self.dataset.as_ref(),
        }
    }

    /// The most relevant passages at hand, best first; ties by chunk id, then by document. The query's vector must have the
    /// store's dimension.
    ///
    /// # Errors
    /// Those of the disk, where the index is.
    pub(super) fn search(&self, query: &SearchQuery) -> Result<Found, StoreError> {
        let Chunks::AtHand(sealed) = &self.chunks else { return Ok(Found::default()) };
        let wanted: Option<HashSet<DocumentId>> =
            (!query.documents.is_empty()).then(|| query.documents.iter().cloned().collect());
        let segments = || self.fragments.iter().filter_map(|fragment| fragment.segment.as_deref());
        let terms = Analyser::english().question_terms(&query.text);
        let words = Bm25::new(terms, segments().map(Segment::words).chain(sealed.as_ref().map(Sealed::words)));
        let scored: Vec<ScoredSegment> =
            segments().map(|segment| segment.score(&query.embedding, &words, wanted.as_ref())).collect();
        let sealed = sealed.as_ref().map(|sealed| sealed.score(&query.embedding, &words, wanted.as_ref()));
        selection::select(&scored, sealed.as_ref(), &words, query.top_k, query.context_chars)
    }
}

/// The documents whose chunks stand outside of the index.
fn uncovered<'r>(records: &'r [StoredRecord], coverage: &Coverage) -> impl Iterator<Item = &'r str> {
    let rest = records.iter().zip(coverage.covered.clone());
    rest.filter(|(stored, covered)| !covered && stored.record.chunks > 0).map(|(stored, _)| stored.record.id.0.as_str())
}

/// The records in each fragment of a version.
async fn records_by_fragment(dataset: &Dataset, former: &View) -> Result<Vec<Vec<StoredRecord>>, StoreError> {
    let fragments = dataset.fragments();
    let is_new = |fragment: &&Fragment| former.fragment(fragment).is_none();
    let mut read = read_fragments(dataset, fragments.iter().filter(is_new).cloned().collect()).await?;
    let of = |fragment: &Fragment| match former.fragment(fragment) {
        Some(known) => known.records.clone(),
        None => read.remove(&fragment.id).unwrap_or_default(),
    };
    Ok(fragments.iter().map(of).collect())
}

async fn read_fragments(
    dataset: &Dataset,
    fragments: Vec<Fragment>,
) -> Result<HashMap<u64, Vec<StoredRecord>>, StoreError> {
    let mut by_fragment: HashMap<u64, Vec<StoredRecord>> = HashMap::new();
    if fragments.is_empty() {
        return Ok(by_fragment);
    }
    let mut scan = dataset.scan();
    scan.with_fragments(fragments).filter_expr(col(schema::RECORD).is_not_null());
    scan.with_row_address().project(&[schema::DOCUMENT_ID, schema::RECORD])?;
    let rows = scan.try_into_batch().await?;
    let addresses = rows.column_by_name(ROW_ADDRESS).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let addresses = addresses.ok_or_else(|| decode::lacks(ROW_ADDRESS))?;
    for (record, address) in decode::decode_records(&rows)?.into_iter().zip(addresses.values()) {
        by_fragment.entry(address >> 32).or_default().push(record);
    }
    Ok(by_fragment)
}

/// The column in which Lance returns where a row is: its fragment in the upper 32 bits.
const ROW_ADDRESS: &str = "_rowaddr";

/// The records of a version, ordered by document id.
pub(super) async fn read_records(dataset: &Dataset) -> Result<Vec<StoredRecord>, StoreError> {
    let mut scan = dataset.scan();
    scan.filter_expr(col(schema::RECORD).is_not_null()).project(&[schema::DOCUMENT_ID, schema::RECORD])?;
    Ok(sorted(decode::decode_records(&scan.try_into_batch().await?)?))
}

fn sorted(mut records: Vec<StoredRecord>) -> Vec<StoredRecord> {
    records.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    records
}
