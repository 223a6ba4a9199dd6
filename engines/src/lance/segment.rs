//! One fragment of the dataset in memory: vectors side by side, words, and the columns passages are made of.

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
use mentor_actors::ranking;

use super::decode::{self, ChunkColumns, Place};
use super::error::StoreError;
use super::postings::{Bm25, Postings};
use super::terms::Analyser;
use super::top_k::{Candidate, TopK};
use super::{record, schema};

/// Score of a row that no search shall find.
const UNWANTED: f32 = f32::NEG_INFINITY;

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
    postings: Postings,
}

/// Neighbouring rows of one document.
#[derive(Debug)]
struct Run {
    document: DocumentId,
    kind: DocumentKind,
    rows: Range<usize>,
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
        let columns = ChunkColumns::of(&chunks)?;
        let begins = |row| runs[runs.partition_point(|run| run.rows.end <= row)].rows.start == row;
        let rows = (0..chunks.num_rows()).map(|row| (columns.words(row), begins(row)));
        let postings = Postings::of(&Analyser::new(), rows);
        Ok(Self { fragment, dimension, vectors, columns, runs, records, postings })
    }

    pub(super) fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    pub(super) fn records(&self) -> &[DocumentRecord] {
        &self.records
    }

    pub(super) fn postings(&self) -> &Postings {
        &self.postings
    }

    /// How relevant each row is; that of other documents than the wanted ones is [`UNWANTED`].
    pub(super) fn score(&self, query: &[f32], words: &Bm25, wanted: Option<&HashSet<DocumentId>>) -> ScoredSegment<'_> {
        let words = self.postings.scores(words);
        let mut scores = vec![UNWANTED; words.len()];
        let (mut best_likeness, mut best_words) = (f32::NEG_INFINITY, 0.0_f32);
        for run in self.runs.iter().filter(|run| wanted.is_none_or(|wanted| wanted.contains(&run.document))) {
            let scores = &mut scores[run.rows.clone()];
            let values = run.rows.start * self.dimension..run.rows.end * self.dimension;
            f32::dot_batch_into(query, &self.vectors.values()[values], self.dimension, scores);
            for (score, &words) in scores.iter_mut().zip(&words[run.rows.clone()]) {
                best_likeness = best_likeness.max(*score);
                best_words = best_words.max(words);
                *score = ranking::score(*score, words);
            }
        }
        ScoredSegment { segment: self, scores, best_likeness, best_words }
    }

    fn vector(&self, row: usize) -> &[f32] {
        &self.vectors.values()[row * self.dimension..(row + 1) * self.dimension]
    }
}

/// A segment as one question sees it.
#[derive(Debug)]
pub(super) struct ScoredSegment<'a> {
    segment: &'a Segment,
    /// Of each row.
    scores: Vec<f32>,
    /// The highest likeness of a wanted row.
    pub(super) best_likeness: f32,
    /// The highest part of the question's words in one.
    pub(super) best_words: f32,
}

impl<'a> ScoredSegment<'a> {
    /// Offers every wanted row to `best`.
    pub(super) fn offer<'s>(&'s self, best: &mut TopK<Key<'a>, ChunkRow<'s>>)
    where
        'a: 's,
    {
        for run in &self.segment.runs {
            for row in run.rows.clone() {
                let score = self.scores[row];
                if best.wants(score) {
                    let key = (self.segment.columns.chunk_id(row), run.document.0.as_str());
                    best.offer(Candidate { score, key, value: ChunkRow { scored: self, run, row } });
                }
            }
        }
    }
}

/// A chunk of a scored segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkRow<'s> {
    scored: &'s ScoredSegment<'s>,
    run: &'s Run,
    row: usize,
}

impl<'s> ChunkRow<'s> {
    pub(super) fn score(&self) -> f32 {
        self.scored.scores[self.row]
    }

    /// The chunk `by` places on in the same document.
    pub(super) fn neighbour(&self, by: isize) -> Option<Self> {
        let row = self.row.checked_add_signed(by).filter(|row| self.run.rows.contains(row))?;
        Some(Self { row, ..*self })
    }

    /// How many places behind `other` the chunk stands in the same document, negative before it.
    pub(super) fn places_behind(&self, other: &Self) -> Option<isize> {
        std::ptr::eq(self.run, other.run).then(|| self.row.wrapping_sub(other.row) as isize)
    }

    /// Whether both are on the same page, or under the same heading where there are no pages.
    pub(super) fn shares_place(&self, other: &Self) -> bool {
        let columns = &self.scored.segment.columns;
        std::ptr::eq(self.run, other.run) && columns.place(self.row) == columns.place(other.row)
    }

    /// Whether the chunk has a page of its document.
    pub(super) fn has_page(&self) -> bool {
        matches!(self.scored.segment.columns.place(self.row), Place::Page(_))
    }

    /// Cosine of the vectors of two chunks.
    pub(super) fn likeness(&self, other: &Self) -> f32 {
        f32::dot(self.scored.segment.vector(self.row), other.scored.segment.vector(other.row))
    }

    pub(super) fn text(&self) -> &'s str {
        self.scored.segment.columns.text(self.row)
    }

    pub(super) fn passage(&self) -> Passage {
        self.scored.segment.columns.passage(self.row, &self.run.document, self.run.kind)
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
