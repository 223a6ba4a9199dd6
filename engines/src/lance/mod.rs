//! The corpus on disk: one Lance dataset, written by [`LanceCorpus`], searched by [`LanceRetriever`].
//!
//! | module | what it holds |
//! |---|---|
//! | `identity` | what the store knows of the embedder its vectors came from |
//! | `schema`, `record`, `encode`, `decode` | the columns; documents and chunks as arrow rows, and back |
//! | `store` | where the dataset is; opening, creating, forgetting a torn version |
//! | `commit` | a change of a document as one Lance transaction |
//! | `upkeep` | compaction, removal of old versions, flushing to the disk |
//! | `versions` | history, tags, going back to a version |
//! | `lock`, `writer` | one writer at a time; the port `Corpus` |
//! | `index_folder`, `coverage`, `indexing`, `payload` | the search index: where it is, what it has of a version, when and how it is made |
//! | `segment`, `sealed` | chunks in memory, chunks in the index, and how well they answer a question |
//! | `hit`, `top_k`, `selection` | the best of both as passages |
//! | `disk`, `view` | a version of the dataset, searched at hand or on disk |
//! | `beside` | a new store that takes the place of the one in use |
//! | `administration`, `survey`, `doctor` | what operators do to a store and want to know of it, without its embedder |
//! | `reader` | the port `Retriever`: serves one view, loads the next behind it |
//! | `error`, `runtime` | one line for people out of any failure; the threads Lance runs on |
//!
//! # What is stored
//! `corpus.lance` in the data folder. A document is one *record row* (its hash, kind, pages, failures, as JSON in
//! `record`) and a row for each chunk (place, text, vector). The store's [`StoreIdentity`] is in the schema's metadata.
//!
//! # Why a document is never half there
//! A document's record and chunks are in the same dataset, so replacing it is ONE Lance commit that adds the new rows and
//! deletes the old. A process killed before the commit leaves files that no version refers to (the next
//! `finish` removes them); after it, the whole new document. There is nothing to repair at open.
//!
//! # Why it survives power loss
//! Lance makes a version visible by renaming its manifest, and flushes nothing. `put` flushes the file system between
//! writing the rows and renaming, so whatever version is found after a power cut has all its rows. The newest manifest
//! itself may be found empty (renamed, not yet written): the writer forgets such a version at open, it was never
//! acknowledged. `finish` flushes the last one, and flushes again before it removes what older versions need.
//!
//! # Searching
//! A small store is held in memory, about `4 × dimension + 700` bytes a chunk, and every question is compared with all of it.
//! A large one has a search index (crate `mentor-index`) in `corpus.lance/_search`, made at the end of an ingest: it is mapped
//! into memory, and holds passages as well, so that a search of it never reads the dataset. Documents that came or changed
//! since are held in memory beside it. A document is known by its content, not by its place: compaction, renaming and going back
//! to another version leave the index as good as it was. Whatever a writer does to the files, a search is not disturbed.
//!
//! An index is never needed: where it is missing or damaged, up to [`ReaderOptions::max_resident_rows`] chunks are held in
//! memory as if there were none, and beyond that Lance itself searches the vectors on disk, slowly and without words.

mod administration;
mod beside;
mod commit;
mod coverage;
mod decode;
mod disk;
mod doctor;
mod encode;
mod error;
mod hit;
mod identity;
mod index_folder;
mod indexing;
mod lock;
mod payload;
mod reader;
mod record;
mod runtime;
mod schema;
mod sealed;
mod segment;
mod selection;
mod store;
mod survey;
mod top_k;
mod upkeep;
mod versions;
mod view;
mod writer;

pub use crate::StoreIdentity;
pub use beside::Replacement;
pub use doctor::{Finding, Severity, examine};
pub use indexing::INDEX_FROM;
pub use reader::{LanceRetriever, MAX_TOP_K, ReaderOptions};
pub use survey::{StoreSnapshot, StoreSurvey};
pub use versions::StoreVersion;
pub use writer::LanceCorpus;
