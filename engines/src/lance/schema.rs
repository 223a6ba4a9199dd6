//! The dataset's columns.
//!
//! | column | record row | chunk row |
//! |---|---|---|
//! | `document_id` | the document's id | the same |
//! | `record` | the rest of its record, as JSON | null |
//! | `chunk_id`, `file_name`, `kind`, `char_start`, `char_end`, `text`, `vector` | null | the chunk's |
//! | `page`, `section` | null | the chunk's, or null where it has none |

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::StoreIdentity;

pub(super) const DOCUMENT_ID: &str = "document_id";
pub(super) const RECORD: &str = "record";
pub(super) const CHUNK_ID: &str = "chunk_id";
pub(super) const FILE_NAME: &str = "file_name";
pub(super) const KIND: &str = "kind";
pub(super) const PAGE: &str = "page";
pub(super) const SECTION: &str = "section";
pub(super) const CHAR_START: &str = "char_start";
pub(super) const CHAR_END: &str = "char_end";
pub(super) const TEXT: &str = "text";
pub(super) const VECTOR: &str = "vector";

/// The columns a passage is made of.
pub(super) const PASSAGE_COLUMNS: [&str; 8] = [DOCUMENT_ID, CHUNK_ID, KIND, PAGE, SECTION, CHAR_START, CHAR_END, TEXT];

/// The dataset's columns, with the identity as metadata.
pub(super) fn schema(identity: &StoreIdentity) -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str| Field::new(name, DataType::UInt32, true);
    let fields = vec![
        text(DOCUMENT_ID, false),
        text(RECORD, true),
        text(CHUNK_ID, true),
        text(FILE_NAME, true),
        text(KIND, true),
        number(PAGE),
        text(SECTION, true),
        number(CHAR_START),
        number(CHAR_END),
        text(TEXT, true),
        Field::new(VECTOR, vector_type(identity.dimension), true),
    ];
    Arc::new(Schema::new_with_metadata(fields, identity.to_metadata()))
}

fn vector_type(dimension: usize) -> DataType {
    let length = i32::try_from(dimension).expect("no embedder has two thousand million dimensions");
    DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), length)
}
