//! Documents and passages out of arrow rows.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, RecordBatch, StringArray, UInt32Array};
use mentor_actors::domain::{CharSpan, Chunk, ChunkId, DocumentId, DocumentKind, Passage};

use super::error::StoreError;
use super::record::{self, StoredRecord};
use super::schema::{CHAR_END, CHAR_START, CHUNK_ID, DOCUMENT_ID, PAGE, RECORD, SECTION, TEXT};

/// The records among the rows of `batch`, which needs the columns `document_id` and `record`.
pub(super) fn decode_records(batch: &RecordBatch) -> Result<Vec<StoredRecord>, StoreError> {
    let (ids, records) = (strings(batch, DOCUMENT_ID)?, strings(batch, RECORD)?);
    let present = (0..batch.num_rows()).filter(|&row| records.is_valid(row));
    present.map(|row| record::from_json(ids.value(row), records.value(row))).collect()
}

/// The columns of chunk rows from which passages are made, but for the document's own.
#[derive(Debug)]
pub(super) struct ChunkColumns {
    chunk_id: StringArray,
    page: UInt32Array,
    section: StringArray,
    start: UInt32Array,
    end: UInt32Array,
    text: StringArray,
}

impl ChunkColumns {
    /// Shares the columns of `batch`.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, StoreError> {
        Ok(Self {
            chunk_id: strings(batch, CHUNK_ID)?.clone(),
            page: numbers(batch, PAGE)?.clone(),
            section: strings(batch, SECTION)?.clone(),
            start: numbers(batch, CHAR_START)?.clone(),
            end: numbers(batch, CHAR_END)?.clone(),
            text: strings(batch, TEXT)?.clone(),
        })
    }

    /// What is searched by its words: heading and text.
    pub(super) fn words(&self, row: usize) -> [&str; 2] {
        let section = if self.section.is_valid(row) { self.section.value(row) } else { "" };
        [section, self.text.value(row)]
    }

    pub(super) fn chunk_id(&self, row: usize) -> &str {
        self.chunk_id.value(row)
    }

    /// The chunk at `row`; its `tokens` are 0: how many they are depends on the embedder.
    pub(super) fn chunk(&self, row: usize) -> Chunk {
        Chunk {
            page: self.page.is_valid(row).then(|| self.page.value(row)),
            section: self.section.is_valid(row).then(|| self.section.value(row).into()),
            span: CharSpan { start: self.start.value(row) as usize, end: self.end.value(row) as usize },
            text: self.text.value(row).into(),
            tokens: 0,
        }
    }

    /// The passage at `row`, which belongs to `document`.
    pub(super) fn passage(&self, row: usize, document: &DocumentId, kind: DocumentKind) -> Passage {
        let Chunk { page, section, span, text, .. } = self.chunk(row);
        Passage {
            chunk_id: ChunkId(self.chunk_id.value(row).into()),
            document_id: document.clone(),
            file_name: file_name(document).into(),
            kind,
            page,
            section,
            span,
            text,
        }
    }
}

/// The last part of a document's path.
pub(super) fn file_name(id: &DocumentId) -> &str {
    id.0.rsplit('/').next().unwrap_or(&id.0)
}

/// The text column `name` of `batch`.
pub(super) fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, StoreError> {
    batch.column_by_name(name).and_then(|column| column.as_string_opt()).ok_or_else(|| lacks(name))
}

fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a UInt32Array, StoreError> {
    batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt32Type>()).ok_or_else(|| lacks(name))
}

/// The error of a dataset whose column `name` is missing or of another type.
pub(super) fn lacks(name: &str) -> StoreError {
    StoreError::Damaged(format!("its column {name} is missing or of another type"))
}
