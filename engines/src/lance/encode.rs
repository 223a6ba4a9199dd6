//! Documents and chunks as arrow rows.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder, StringBuilder, UInt32Builder};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{FieldRef, SchemaRef};
use mentor_actors::domain::{ChunkId, DocumentHash, DocumentId, DocumentRecord, EmbeddedChunk, EngineError};

use super::decode::{file_name, lacks};
use super::error::StoreError;
use super::record::{self, StoredRecord};
use super::schema::{DOCUMENT_ID, FILE_NAME};

/// The rows of a document: its record, then its chunks in order.
///
/// # Errors
/// [`EngineError::Failed`] when a vector is not a finite one of the store's dimension, or the record counts other
/// chunks; [`EngineError::TooLarge`] when a place is beyond 4,294,967,295 characters.
pub(super) fn encode(
    schema: &SchemaRef,
    dimension: usize,
    stored: &StoredRecord,
    chunks: &[EmbeddedChunk],
) -> Result<RecordBatch, EngineError> {
    let record = &stored.record;
    if record.chunks as usize != chunks.len() {
        let message =
            format!("the record of {} counts {} chunks, but there are {}", record.id, record.chunks, chunks.len());
        return Err(EngineError::Failed(message));
    }
    let mut rows = RowBuilder::new(dimension);
    rows.record(stored);
    for (number, chunk) in chunks.iter().enumerate() {
        rows.chunk(record, number, chunk)?;
    }
    RecordBatch::try_new(Arc::clone(schema), rows.finish())
        .map_err(|error| StoreError::from(error).into_failed("take the document's rows"))
}

/// The row of a record alone.
pub(super) fn encode_record(
    schema: &SchemaRef,
    dimension: usize,
    record: &StoredRecord,
) -> Result<RecordBatch, StoreError> {
    let mut rows = RowBuilder::new(dimension);
    rows.record(record);
    Ok(RecordBatch::try_new(Arc::clone(schema), rows.finish())?)
}

/// Chunk rows as they stand in the store, given to another document.
///
/// # Errors
/// [`StoreError::Damaged`] when `rows` are not those of the schema.
pub(super) fn give_to(schema: &SchemaRef, rows: &RecordBatch, id: &DocumentId) -> Result<RecordBatch, StoreError> {
    let repeated = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows.num_rows()])) };
    let column = |field: &FieldRef| match field.name().as_str() {
        DOCUMENT_ID => Ok(repeated(&id.0)),
        FILE_NAME => Ok(repeated(file_name(id))),
        name => rows.column_by_name(name).cloned().ok_or_else(|| lacks(name)),
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

struct RowBuilder {
    dimension: usize,
    document_id: StringBuilder,
    record: StringBuilder,
    chunk_id: StringBuilder,
    file_name: StringBuilder,
    kind: StringBuilder,
    page: UInt32Builder,
    section: StringBuilder,
    start: UInt32Builder,
    end: UInt32Builder,
    text: StringBuilder,
    vector: FixedSizeListBuilder<Float32Builder>,
}

impl RowBuilder {
    fn new(dimension: usize) -> Self {
        let length = i32::try_from(dimension).expect("the schema was made with the same dimension");
        Self {
            dimension,
            document_id: StringBuilder::new(),
            record: StringBuilder::new(),
            chunk_id: StringBuilder::new(),
            file_name: StringBuilder::new(),
            kind: StringBuilder::new(),
            page: UInt32Builder::new(),
            section: StringBuilder::new(),
            start: UInt32Builder::new(),
            end: UInt32Builder::new(),
            text: StringBuilder::new(),
            vector: FixedSizeListBuilder::new(Float32Builder::new(), length),
        }
    }

    fn record(&mut self, stored: &StoredRecord) {
        self.document_id.append_value(&stored.record.id.0);
        self.record.append_value(record::to_json(stored));
        for builder in [&mut self.chunk_id, &mut self.file_name, &mut self.kind, &mut self.section, &mut self.text] {
            builder.append_null();
        }
        for builder in [&mut self.page, &mut self.start, &mut self.end] {
            builder.append_null();
        }
        self.vector.values().append_nulls(self.dimension);
        self.vector.append(false);
    }

    fn chunk(&mut self, record: &DocumentRecord, number: usize, chunk: &EmbeddedChunk) -> Result<(), EngineError> {
        let (chunk, vector) = chunk;
        check_vector(vector, self.dimension)
            .map_err(|reason| EngineError::Failed(format!("chunk {number} of {}: {reason}", record.id)))?;
        self.document_id.append_value(&record.id.0);
        self.record.append_null();
        self.chunk_id.append_value(chunk_id(&record.hash, number).0);
        self.file_name.append_value(file_name(&record.id));
        self.kind.append_value(record.kind.media_type());
        self.page.append_option(chunk.page);
        self.section.append_option(chunk.section.as_deref());
        self.start.append_value(place(chunk.span.start, &record.id)?);
        self.end.append_value(place(chunk.span.end, &record.id)?);
        self.text.append_value(&chunk.text);
        self.vector.values().append_slice(vector);
        self.vector.append(true);
        Ok(())
    }

    /// The columns in the schema's order.
    fn finish(mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.document_id.finish()),
            Arc::new(self.record.finish()),
            Arc::new(self.chunk_id.finish()),
            Arc::new(self.file_name.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.page.finish()),
            Arc::new(self.section.finish()),
            Arc::new(self.start.finish()),
            Arc::new(self.end.finish()),
            Arc::new(self.text.finish()),
            Arc::new(self.vector.finish()),
        ]
    }
}

/// Refuses a vector that cannot be compared with those of the store, with the reason.
pub(super) fn check_vector(vector: &[f32], dimension: usize) -> Result<(), String> {
    if vector.len() != dimension {
        return Err(format!("its vector has {} dimensions, the store {dimension}", vector.len()));
    }
    match vector.iter().find(|value| !value.is_finite()) {
        Some(value) => Err(format!("its vector holds {value}")),
        None => Ok(()),
    }
}

/// First 16 digits of the document's hash, a dash, and the chunk's number within it, from 0.
fn chunk_id(hash: &DocumentHash, number: usize) -> ChunkId {
    ChunkId(format!("{}-{number}", &hash.to_string()[..16]))
}

fn place(characters: usize, id: &DocumentId) -> Result<u32, EngineError> {
    u32::try_from(characters).map_err(|_| EngineError::TooLarge(format!("{id} has a page of {characters} characters")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreIdentity;
    use crate::lance::decode::{ChunkColumns, decode_records};
    use crate::lance::schema::schema;
    use mentor_actors::domain::{CharSpan, Chunk, DocumentFailure, DocumentKind};

    fn identity() -> StoreIdentity {
        StoreIdentity {
            embedder: "test".into(),
            dimension: 2,
            pooling: "mean".into(),
            max_tokens: 256,
            chunker_version: 1,
            tokenizer: None,
        }
    }

    fn record(chunks: u32) -> DocumentRecord {
        DocumentRecord {
            id: DocumentId("week 1/it's “all” \\ here.pdf".into()),
            hash: DocumentHash([0xab; 32]),
            kind: DocumentKind::Pdf,
            pages: 3,
            failed_pages: vec![(2, "no text".into())],
            chunks,
            copies: vec![DocumentId("again.pdf".into())],
            failure: Some(DocumentFailure { hash: DocumentHash([0xcd; 32]), reason: "it is encrypted".into() }),
            bytes: Some(1_234),
            stored_at_s: Some(1_777_777_777),
        }
    }

    fn chunk(vector: Vec<f32>) -> EmbeddedChunk {
        let span = CharSpan { start: 5, end: 9 };
        (Chunk { page: Some(1), section: None, span, text: "text".into(), tokens: 3 }, vector)
    }

    #[test]
    fn a_document_survives_the_way_through_rows() {
        let record = record(1);
        let chunks = [chunk(vec![0.6, 0.8])];
        let stored = StoredRecord::of(&record, &chunks);
        let batch = encode(&schema(&identity()), 2, &stored, &chunks).unwrap();
        assert_eq!(decode_records(&batch).unwrap(), vec![stored]);
        let passage = ChunkColumns::of(&batch).unwrap().passage(1, &record.id, record.kind);
        assert_eq!(passage.chunk_id, ChunkId("abababababababab-0".into()));
        assert_eq!(passage.file_name, "it's “all” \\ here.pdf");
        assert_eq!((passage.page, passage.section), (Some(1), None));
        assert_eq!((passage.span, passage.text.as_str()), (CharSpan { start: 5, end: 9 }, "text"));
    }

    #[test]
    fn vectors_that_cannot_be_compared_are_refused() {
        let schema = schema(&identity());
        for bad in [vec![1.0], vec![f32::NAN, 0.0], vec![]] {
            let chunks = [chunk(bad)];
            let error = encode(&schema, 2, &StoredRecord::of(&record(1), &chunks), &chunks).unwrap_err();
            assert!(error.to_string().starts_with("chunk 0 of week 1/"), "{error}");
        }
    }

    #[test]
    fn a_record_that_counts_other_chunks_is_refused() {
        assert!(encode(&schema(&identity()), 2, &StoredRecord::of(&record(2), &[]), &[]).is_err());
    }
}
