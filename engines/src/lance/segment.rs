//! Rows of one fragment of the dataset in memory: vectors side by side, words, and the columns passages are made of.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, BooleanArray, Float32Array, RecordBatch, StringArray};
use arrow_select::filter::filter_record_batch;
use lance::Dataset;
use lance::deps::datafusion::prelude::{Expr, col, lit};
use lance::table::format::Fragment;
use lance_linalg::distance::Dot;
use mentor_actors::domain::{DocumentId, DocumentKind};
use mentor_actors::ranking;
use mentor_index::{Bm25, Words, WordsBuilder};

use super::decode::{self, ChunkColumns};
use super::error::StoreError;
use super::hit::{Hit, Scored};
use super::top_k::{Candidate, TopK};
use super::{record, schema};

/// Score of a row that no search shall find.
const UNWANTED: f32 = f32::NEG_INFINITY;

/// Live chunk rows of a fragment.
#[derive(Debug)]
pub(super) struct Segment {
    dimension: usize,
    /// `dimension` values for each row.
    vectors: Float32Array,
    columns: ChunkColumns,
    runs: Vec<Run>,
    words: Words,
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
    /// Reads the live chunks of `fragment`: those of `documents`, or all of them.
    pub(super) async fn load(
        dataset: &Dataset,
        fragment: &Fragment,
        dimension: usize,
        documents: Option<&[&str]>,
    ) -> Result<Self, StoreError> {
        let mut columns = schema::PASSAGE_COLUMNS.to_vec();
        columns.extend([schema::RECORD, schema::VECTOR]);
        let mut scan = dataset.scan();
        scan.with_fragments(vec![fragment.clone()]).scan_in_order(true).project(&columns)?;
        if let Some(documents) = documents {
            scan.filter_expr(of(documents));
        }
        Self::of(dimension, &scan.try_into_batch().await?)
    }

    fn of(dimension: usize, rows: &RecordBatch) -> Result<Self, StoreError> {
        let record_column = decode::strings(rows, schema::RECORD)?;
        let is_chunk: BooleanArray = (0..rows.num_rows()).map(|row| Some(record_column.is_null(row))).collect();
        let chunks = filter_record_batch(rows, &is_chunk)?;
        let vectors = vectors(&chunks, dimension)?;
        let runs = runs(decode::strings(&chunks, schema::DOCUMENT_ID)?, decode::strings(&chunks, schema::KIND)?)?;
        let columns = ChunkColumns::of(&chunks)?;
        let mut words = WordsBuilder::default();
        for run in &runs {
            run.rows.clone().for_each(|row| words.row(&columns.words(row), row == run.rows.start));
        }
        Ok(Self { dimension, vectors, columns, runs, words: words.into_words() })
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    /// How relevant each row is; that of other documents than the wanted ones is [`UNWANTED`].
    pub(super) fn score(&self, query: &[f32], words: &Bm25, wanted: Option<&HashSet<DocumentId>>) -> ScoredSegment<'_> {
        let words = self.words.scores(words);
        let rows = self.vectors.len() / self.dimension;
        let words_of = |row: usize| words.get(row).copied().unwrap_or(0.0);
        let mut scores = vec![UNWANTED; rows];
        let (mut best_likeness, mut best_words) = (f32::NEG_INFINITY, 0.0_f32);
        for run in self.runs.iter().filter(|run| wanted.is_none_or(|wanted| wanted.contains(&run.document))) {
            let scores = &mut scores[run.rows.clone()];
            let values = run.rows.start * self.dimension..run.rows.end * self.dimension;
            f32::dot_batch_into(query, &self.vectors.values()[values], self.dimension, scores);
            for (row, score) in run.rows.clone().zip(scores) {
                best_likeness = best_likeness.max(*score);
                best_words = best_words.max(words_of(row));
                *score = ranking::score(*score, words_of(row));
            }
        }
        ScoredSegment { segment: self, scores, best_likeness, best_words }
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
    /// How many rows it has, wanted or not.
    pub(super) fn rows(&self) -> usize {
        self.scores.len()
    }

    /// Offers every wanted row to `best`.
    pub(super) fn offer<'s>(&'s self, best: &mut TopK<Key<'s>, (&'s Self, usize)>)
    where
        'a: 's,
    {
        for run in &self.segment.runs {
            for row in run.rows.clone() {
                let score = self.scores[row];
                if best.wants(score) {
                    let key = (self.segment.columns.chunk_id(row), run.document.0.as_str());
                    best.offer(Candidate { score, key, value: (self, row) });
                }
            }
        }
    }
}

impl Scored for ScoredSegment<'_> {
    fn hit(&self, row: usize) -> Result<Hit<'_>, StoreError> {
        let Segment { dimension, vectors, columns, runs, .. } = self.segment;
        let run = &runs[runs.partition_point(|run| run.rows.end <= row)];
        Ok(Hit {
            from: self,
            row,
            run: run.rows.clone(),
            score: self.scores[row],
            vector: vectors.values()[row * dimension..(row + 1) * dimension].to_vec(),
            passage: columns.passage(row, &run.document, run.kind),
        })
    }
}

/// The chunks of some documents. An expression, not SQL text: names need no quoting.
fn of(documents: &[&str]) -> Expr {
    let ids = documents.iter().map(|id| lit(*id)).collect();
    col(schema::RECORD).is_null().and(col(schema::DOCUMENT_ID).in_list(ids, false))
}

/// The vectors of chunk rows, side by side.
pub(super) fn vectors(chunks: &RecordBatch, dimension: usize) -> Result<Float32Array, StoreError> {
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
