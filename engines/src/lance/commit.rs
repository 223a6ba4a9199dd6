//! Changes of the store as Lance transactions: a document put, replaced, renamed or removed, each all at once.
//!
//! Preparing writes files that no version refers to; committing makes them visible. Each transaction carries a line that
//! says what it does, for the history.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lance::Dataset;
use lance::dataset::transaction::{Operation, Transaction, UpdateMode};
use lance::dataset::{CommitBuilder, DeleteBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::deps::datafusion::prelude::{Expr, col, lit};
use lance::table::format::Fragment;
use mentor_actors::domain::DocumentId;

use super::encode;
use super::error::StoreError;
use super::record::StoredRecord;
use super::schema::{DOCUMENT_ID, RECORD};

/// The transaction property that says in words what it does.
pub(super) const CHANGE: &str = "mentor.change";

/// Writes the rows of a document. With `replaces`, committing deletes that document's former rows as well.
pub(super) async fn prepare_put(
    dataset: Arc<Dataset>,
    rows: RecordBatch,
    id: DocumentId,
    replaces: bool,
) -> Result<Transaction, StoreError> {
    let fragments = write_rows(&dataset, vec![rows]).await?;
    let (operation, change) = match replaces {
        false => (Operation::Append { fragments }, format!("added {id}")),
        true => (replacement(fragments, delete_rows(&dataset, of(&id)).await?), format!("replaced {id}")),
    };
    Ok(transaction(&dataset, operation, change))
}

/// Writes a record in the place of the document's former one.
pub(super) async fn prepare_update(
    dataset: Arc<Dataset>,
    record_row: RecordBatch,
    id: DocumentId,
) -> Result<Transaction, StoreError> {
    let fragments = write_rows(&dataset, vec![record_row]).await?;
    let former = delete_rows(&dataset, of(&id).and(col(RECORD).is_not_null())).await?;
    Ok(transaction(&dataset, replacement(fragments, former), format!("noted {id}")))
}

/// Writes the chunks of `from` once more as those of `record`. Committing deletes the former rows of both.
pub(super) async fn prepare_rename(
    dataset: Arc<Dataset>,
    schema: SchemaRef,
    dimension: usize,
    from: DocumentId,
    stored: StoredRecord,
) -> Result<Transaction, StoreError> {
    let record = &stored.record;
    let mut scan = dataset.scan();
    scan.filter_expr(of(&from).and(col(RECORD).is_null())).scan_in_order(true);
    let chunks = encode::give_to(&schema, &scan.try_into_batch().await?, &record.id)?;
    if chunks.num_rows() != record.chunks as usize {
        let message = format!("{from} has {} chunks, not the {} of its record", chunks.num_rows(), record.chunks);
        return Err(StoreError::Damaged(message));
    }
    let rows = vec![encode::encode_record(&schema, dimension, &stored)?, chunks];
    let fragments = write_rows(&dataset, rows).await?;
    let former = delete_rows(&dataset, of(&from).or(of(&record.id))).await?;
    let change = format!("renamed {from} to {}", record.id);
    Ok(transaction(&dataset, replacement(fragments, former), change))
}

/// Marks the rows of a document as deleted.
pub(super) async fn prepare_remove(dataset: Arc<Dataset>, id: DocumentId) -> Result<Transaction, StoreError> {
    let Deletion { updated_fragments, deleted_fragment_ids } = delete_rows(&dataset, of(&id)).await?;
    let predicate = format!("{DOCUMENT_ID} = {:?}", id.0);
    let operation = Operation::Delete { updated_fragments, deleted_fragment_ids, predicate };
    Ok(transaction(&dataset, operation, format!("removed {id}")))
}

/// Makes a prepared transaction the dataset's next version.
pub(super) async fn commit(dataset: Arc<Dataset>, transaction: Transaction) -> Result<Dataset, StoreError> {
    Ok(CommitBuilder::new(dataset).execute(transaction).await?)
}

fn transaction(dataset: &Dataset, operation: Operation, change: String) -> Transaction {
    let mut transaction = Transaction::new(dataset.version_id(), operation, None);
    transaction.transaction_properties = Some(Arc::new(HashMap::from([(CHANGE.to_owned(), change)])));
    transaction
}

/// The rows of a document. An expression, not SQL text: names need no quoting.
fn of(id: &DocumentId) -> Expr {
    col(DOCUMENT_ID).eq(lit(id.0.as_str()))
}

/// Which fragments lose rows, and which all of them.
struct Deletion {
    updated_fragments: Vec<Fragment>,
    deleted_fragment_ids: Vec<u64>,
}

async fn write_rows(dataset: &Arc<Dataset>, rows: Vec<RecordBatch>) -> Result<Vec<Fragment>, StoreError> {
    let params = WriteParams { mode: WriteMode::Append, ..WriteParams::default() };
    let insert = InsertBuilder::new(Arc::clone(dataset));
    match insert.with_params(&params).execute_uncommitted(rows).await?.operation {
        Operation::Append { fragments } => Ok(fragments),
        other => Err(unexpected("append", &other)),
    }
}

async fn delete_rows(dataset: &Arc<Dataset>, rows: Expr) -> Result<Deletion, StoreError> {
    let delete = DeleteBuilder::from_expr(Arc::clone(dataset), rows);
    match delete.execute_uncommitted().await?.transaction.operation {
        Operation::Delete { updated_fragments, deleted_fragment_ids, .. } => {
            Ok(Deletion { updated_fragments, deleted_fragment_ids })
        }
        other => Err(unexpected("delete", &other)),
    }
}

/// Old rows out and new rows in, as Lance's own updates of whole rows do it.
fn replacement(new_fragments: Vec<Fragment>, deletion: Deletion) -> Operation {
    Operation::Update {
        removed_fragment_ids: deletion.deleted_fragment_ids,
        updated_fragments: deletion.updated_fragments,
        new_fragments,
        fields_modified: Vec::new(),
        compacted_sstables: Vec::new(),
        fields_for_preserving_frag_bitmap: Vec::new(),
        update_mode: Some(UpdateMode::RewriteRows),
        inserted_rows_filter: None,
        updated_fragment_offsets: None,
    }
}

fn unexpected(asked: &str, got: &Operation) -> StoreError {
    StoreError::Damaged(format!("lance prepared {got} where {asked} was asked for"))
}
