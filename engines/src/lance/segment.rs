//! One fragment of the dataset in memory: vectors side by side, and the columns passages are made of.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, BooleanArray, Float32Array, RecordBatch, StringArray};
use arrow_select::filter::filter_record_batch;
use lance::Dataset;
use lance::table::format::Fragment;
use lance_linalg::distance::Dot;
use mentor_actors::domain::{DocumentId, DocumentKind, DocumentRecord, Passage};

use super::decode::{self, ChunkColumns};
use super::error::StoreError;
use super::top_k::{Candidate, TopK};
use super::{record, schema};

/// The live rows of a fragment. A fragment never changes: a later version with the same one keeps the segment.
#[derive(Debug)]
pub(super) struct Segment {
    fragment: Fragment,
    dimension: usize,
    /// `dimension` values for each row.
    vectors: Float32Array,
    columns: ChunkColumns,
    runs: Vec<Run>,
    records: Vec<DocumentRecord>,
}

/// Neighbouring rows of one document.
#[derive(Debug)]
struct Run {
    document: DocumentId,
    kind: DocumentKind,
    rows: Range<usize>,
}

/// Where a hit is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit<'a> {
    segment: &'a Segment,
    run: &'a Run,
    row: usize,
}

/// Ties go by chunk id; copies of one file have the same chunk ids, and then by document.
pub(super) type Key<'a> = (&'a str, &'a str);

impl Segment {
    /// Reads the live rows of `fragment`.
    pub(super) async fn load(dataset: &Dataset, fragment: &Fragment, dimension: usize) -> Result<Self, StoreError> {
        let mut columns = schema::PASSAGE_COLUMNS.to_vec();
        columns.extend([schema::RECORD, schema::VECTOR]);
        let mut scan = dataset.scan();
        scan.with_fragments(vec![fragment.clone()]).scan_in_order(true).project(&columns)?;
        Self::of(fragment.clone(), dimension, &scan.try_into_batch().await?)
    }

    fn of(fragment: Fragment, dimension: usize, rows: &RecordBatch) -> Result<Self, StoreError> {
        let records = decode::decode_records(rows)?;
        let record_column = decode::strings(rows, schema::RECORD)?;
        let is_chunk: BooleanArray = (0..rows.num_rows()).map(|row| Some(record_column.is_null(row))).collect();
        let chunks = filter_record_batch(rows, &is_chunk)?;
        let vectors = vectors(&chunks, dimension)?;
        let runs = runs(decode::strings(&chunks, schema::DOCUMENT_ID)?, decode::strings(&chunks, schema::KIND)?)?;
        Ok(Self { fragment, dimension, vectors, columns: ChunkColumns::of(&chunks)?, runs, records })
    }

    pub(super) fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    pub(super) fn records(&self) -> &[DocumentRecord] {
        &self.records
    }

    /// Offers every row to `best`, or only those of `wanted` documents.
    pub(super) fn scan<'a>(
        &'a self,
        query: &[f32],
        wanted: Option<&HashSet<DocumentId>>,
        best: &mut TopK<Key<'a>, Hit<'a>>,
    ) {
        let mut scores = Vec::new();
        for run in self.runs.iter().filter(|run| wanted.is_none_or(|wanted| wanted.contains(&run.document))) {
            let values = run.rows.start * self.dimension..run.rows.end * self.dimension;
            scores.resize(run.rows.len(), 0.0);
            f32::dot_batch_into(query, &self.vectors.values()[values], self.dimension, &mut scores);
            for (row, &score) in run.rows.clone().zip(&scores) {
                if best.wants(score) {
                    let key = (self.columns.chunk_id(row), run.document.0.as_str());
                    best.offer(Candidate { score, key, value: Hit { segment: self, run, row } });
                }
            }
        }
    }
}

impl Hit<'_> {
    pub(super) fn passage(&self) -> Passage {
        self.segment.columns.passage(self.row, &self.run.document, self.run.kind)
    }
}

/// The vectors of chunk rows, side by side.
fn vectors(chunks: &RecordBatch, dimension: usize) -> Result<Float32Array, StoreError> {
    let column = chunks.column_by_name(schema::VECTOR).and_then(|column| column.as_fixed_size_list_opt());
    let column = column.ok_or_else(|| decode::lacks(schema::VECTOR))?;
    let values = column.values().as_primitive_opt::<Float32Type>().ok_or_else(|| decode::lacks(schema::VECTOR))?;
    let first = column.offset() * dimension;
    if column.value_length() as usize != dimension || column.null_count() > 0 || values.null_count() > 0 {
        return Err(decode::lacks(schema::VECTOR));
    }
    Ok(values.slice(first, column.len() * dimension))
}

fn runs(ids: &StringArray, kinds: &StringArray) -> Result<Vec<Run>, StoreError> {
    let mut runs: Vec<Run> = Vec::new();
    for row in 0..ids.len() {
        match runs.last_mut() {
            Some(run) if run.document.0 == ids.value(row) => run.rows.end = row + 1,
            _ => runs.push(Run {
                document: DocumentId(ids.value(row).into()),
                kind: record::parse_kind(kinds.value(row))?,
                rows: row..row + 1,
            }),
        }
    }
    Ok(runs)
}
