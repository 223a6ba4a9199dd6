//! When a store gets a search index, and how it is made of the dataset's rows.

use std::collections::HashMap;
use std::thread;

use futures_util::StreamExt as _;
use lance::Dataset;
use lance::deps::datafusion::prelude::col;

use super::coverage::Coverage;
use super::decode::{self, ChunkColumns};
use super::error::StoreError;
use super::index_folder::IndexFolder;
use super::record::StoredRecord;
use super::{payload, schema, segment};

/// Stores with fewer chunks are searched by comparing all, which are 36 MB then.
pub const INDEX_FROM: usize = 16_384;
/// So many chunks may stand beside the index in any case, ...
const FEW: usize = 1_024;
/// ... and one in so many of all chunks: comparing these costs little beside searching the index.
const SHARE: usize = 128;
/// While an ingest goes on, an index is made whenever so many times [`INDEX_FROM`] new chunks have come: readers hold them in
/// memory until then, and may hold 500,000.
pub(super) const INGESTED: usize = 25;
/// Rows read at a time.
const BATCH_ROWS: usize = 4_096;

/// Whether the end of an ingest should make an index, of which there is one already where `has_index` says so. Small stores
/// need none from `index_from` chunks on.
pub(super) fn is_due(coverage: &Coverage, chunks: usize, index_from: usize) -> bool {
    chunks >= index_from && coverage.rest + coverage.gone > FEW.max(chunks / SHARE).min(index_from)
}

/// Makes an index of all chunks of a version, and names it: readers find it there.
pub(super) async fn build(
    dataset: &Dataset,
    records: &[StoredRecord],
    dimension: usize,
    folder: &IndexFolder,
) -> Result<(), StoreError> {
    let contents: HashMap<&str, &StoredRecord> =
        records.iter().map(|stored| (stored.record.id.0.as_str(), stored)).collect();
    let mut builder = folder.begin(dimension)?;
    let mut columns = schema::PASSAGE_COLUMNS.to_vec();
    columns.push(schema::VECTOR);
    let mut scan = dataset.scan();
    scan.filter_expr(col(schema::RECORD).is_null()).scan_in_order(true);
    scan.batch_size(BATCH_ROWS).project(&columns)?;
    let mut batches = scan.try_into_stream().await?;
    let mut current = String::new();
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let (ids, columns) = (decode::strings(&batch, schema::DOCUMENT_ID)?, ChunkColumns::of(&batch)?);
        let vectors = segment::vectors(&batch, dimension)?;
        for (row, vector) in vectors.values().chunks_exact(dimension).enumerate() {
            let id = ids.value(row);
            let unknown = || StoreError::Damaged(format!("the chunks of {id} have no record"));
            let stored = contents.get(id).ok_or_else(unknown)?;
            if current != id {
                builder.document(&stored.content);
                current = id.to_owned();
            }
            let passage = columns.passage(row, &stored.record.id, stored.record.kind);
            builder.row(vector, &columns.words(row), &payload::encode(&passage))?;
        }
    }
    let number = folder.next()?;
    let (path, threads) = (folder.path(number), thread::available_parallelism().map_or(1, usize::from));
    let finished = tokio::task::spawn_blocking(move || builder.finish(&path, threads)).await;
    finished.map_err(|_| StoreError::Panicked)??;
    Ok(folder.remove_all_but(Some(number))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(rest: usize, gone: usize) -> Coverage {
        Coverage { documents: Vec::new(), covered: Vec::new(), rest, gone }
    }

    #[test]
    fn an_index_is_made_for_large_stores_and_again_when_much_has_changed() {
        assert!(!is_due(&coverage(INDEX_FROM - 1, 0), INDEX_FROM - 1, INDEX_FROM));
        assert!(is_due(&coverage(INDEX_FROM, 0), INDEX_FROM, INDEX_FROM));
        assert!(!is_due(&coverage(7_000, 0), 1_000_000, INDEX_FROM));
        assert!(is_due(&coverage(4_000, 4_000), 1_000_000, INDEX_FROM));
        assert!(!is_due(&coverage(0, 0), 1_000_000, INDEX_FROM));
        assert!(is_due(&coverage(3, 0), 3, 2), "a small limit, as tests have it, is one for changes too");
    }
}
