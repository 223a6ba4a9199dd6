//! Searching a version on disk, by Lance's own scan: for stores that do not fit the memory set aside for them.

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Float32Array, RecordBatch};
use lance::Dataset;
use lance::dataset::scanner::Scanner;
use lance::deps::datafusion::prelude::{Expr, col, lit};
use lance_linalg::distance::DistanceType;
use mentor_actors::domain::{DocumentId, Found, ScoredPassage};
use mentor_actors::ports::SearchQuery;
use mentor_actors::ranking;

use super::decode::{self, ChunkColumns};
use super::error::StoreError;
use super::{record, schema};

/// The column in which Lance returns the distance.
const DISTANCE: &str = "_distance";

/// The nearest passages by their vectors alone, best first; ties by chunk id, then by document.
pub(super) async fn search(dataset: &Dataset, query: &SearchQuery) -> Result<Found, StoreError> {
    let mut hits = hits(&scanner(dataset, query)?.try_into_batch().await?)?;
    hits.sort_by(|a, b| {
        let place = |hit: &ScoredPassage| (hit.passage.chunk_id.clone(), hit.passage.document_id.clone());
        b.score.total_cmp(&a.score).then_with(|| place(a).cmp(&place(b)))
    });
    let relevance = hits.first().map_or(0.0, |best| ranking::answerable_by_likeness(best.score));
    for hit in &mut hits {
        hit.score = ranking::relevance(hit.score);
    }
    Ok(Found { passages: hits, relevance })
}

fn scanner(dataset: &Dataset, query: &SearchQuery) -> Result<Scanner, StoreError> {
    let mut columns = schema::PASSAGE_COLUMNS.to_vec();
    columns.push(DISTANCE);
    let mut scanner = dataset.scan();
    scanner
        .nearest(schema::VECTOR, &Float32Array::from(query.embedding.clone()), query.top_k)?
        .distance_metric(DistanceType::Cosine)
        .prefilter(true)
        .filter_expr(wanted(&query.documents))
        .project(&columns)?;
    Ok(scanner)
}

/// Chunk rows, of some documents or of all. An expression, not SQL text: names need no quoting.
fn wanted(documents: &[DocumentId]) -> Expr {
    let chunks = col(schema::RECORD).is_null();
    if documents.is_empty() {
        return chunks;
    }
    let ids = documents.iter().map(|id| lit(id.0.as_str())).collect();
    chunks.and(col(schema::DOCUMENT_ID).in_list(ids, false))
}

fn hits(batch: &RecordBatch) -> Result<Vec<ScoredPassage>, StoreError> {
    let columns = ChunkColumns::of(batch)?;
    let (documents, kinds) = (decode::strings(batch, schema::DOCUMENT_ID)?, decode::strings(batch, schema::KIND)?);
    let distances = batch.column_by_name(DISTANCE).and_then(|column| column.as_primitive_opt::<Float32Type>());
    let distances = distances.ok_or_else(|| decode::lacks(DISTANCE))?;
    let hit = |row| {
        let document = DocumentId(documents.value(row).into());
        let passage = columns.passage(row, &document, record::parse_kind(kinds.value(row))?);
        Ok(ScoredPassage::whole(passage, (1.0 - distances.value(row)).clamp(0.0, 1.0)))
    };
    (0..batch.num_rows()).map(hit).collect()
}
