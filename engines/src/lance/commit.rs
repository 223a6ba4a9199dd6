//! A document's replacement as one Lance transaction.
//!
//! Preparing writes files that no version refers to; committing makes them visible, all at once.

use std::sync::Arc;

use arrow_array::RecordBatch;
use lance::Dataset;
use lance::dataset::transaction::{Operation, Transaction, UpdateMode};
use lance::dataset::{CommitBuilder, DeleteBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::deps::datafusion::prelude::{col, lit};
use lance::table::format::Fragment;
use mentor_actors::domain::DocumentId;

use super::error::StoreError;
use super::schema::DOCUMENT_ID;

/// Writes the rows of a document. With `replaces`, committing deletes that document's former rows as well.
pub(super) async fn prepare_put(
    dataset: Arc<Dataset>,
    rows: RecordBatch,
    replaces: Option<DocumentId>,
) -> Result<Transaction, StoreError> {
    let fragments = write_rows(&dataset, rows).await?;
    let operation = match replaces {
        None => Operation::Append { fragments },
        Some(id) => replacement(fragments, delete_rows(&dataset, &id).await?),
    };
    Ok(Transaction::new(dataset.version_id(), operation, None))
}

/// Marks the rows of a document as deleted.
pub(super) async fn prepare_remove(dataset: Arc<Dataset>, id: DocumentId) -> Result<Transaction, StoreError> {
    let Deletion { updated_fragments, deleted_fragment_ids } = delete_rows(&dataset, &id).await?;
    let predicate = format!("{DOCUMENT_ID} = {:?}", id.0);
    let operation = Operation::Delete { updated_fragments, deleted_fragment_ids, predicate };
    Ok(Transaction::new(dataset.version_id(), operation, None))
}

/// Makes a prepared transaction the dataset's next version.
pub(super) async fn commit(dataset: Arc<Dataset>, transaction: Transaction) -> Result<Dataset, StoreError> {
    Ok(CommitBuilder::new(dataset).execute(transaction).await?)
}

/// Which fragments lose rows, and which all of them.
struct Deletion {
    updated_fragments: Vec<Fragment>,
    deleted_fragment_ids: Vec<u64>,
}

async fn write_rows(dataset: &Arc<Dataset>, rows: RecordBatch) -> Result<Vec<Fragment>, StoreError> {
    let params = WriteParams { mode: WriteMode::Append, ..WriteParams::default() };
    let insert = InsertBuilder::new(Arc::clone(dataset));
    match insert.with_params(&params).execute_uncommitted(vec![rows]).await?.operation {
        Operation::Append { fragments } => Ok(fragments),
        other => Err(unexpected("append", &other)),
    }
}

async fn delete_rows(dataset: &Arc<Dataset>, id: &DocumentId) -> Result<Deletion, StoreError> {
    let of_document = col(DOCUMENT_ID).eq(lit(id.0.as_str()));
    let delete = DeleteBuilder::from_expr(Arc::clone(dataset), of_document);
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
