//! An index of passages by their vectors and their words: a folder that is written once, then mapped into memory and searched.
//!
//! It knows rows, numbered from 0, of documents whose rows stand side by side. What a row means is the caller's: an opaque
//! payload comes back with it.
//!
//! | module | what it holds |
//! |---|---|
//! | `builder`, `writing` | makes an index: takes rows one at a time, and names the folder when all of it is on the disk |
//! | `index` | opens one and searches it |
//! | `manifest` | what a folder holds, with lengths and checksums |
//! | `codes`, `dot` | vectors as whole numbers of 16 bits in two halves, and their products |
//! | `clusters` | the lists that like vectors are kept in, found by k-means |
//! | `words`, `terms` | which terms stand in which rows: BM25 |
//! | `best` | the best few of many |
//! | `mapped` | files as slices of numbers |
//!
//! # How a search finds the nearest
//! Vectors are kept in lists of like ones. A search looks into the lists whose centres are nearest, compares the upper halves
//! of the numbers there, and the best of these exactly. So it reads a few megabytes, however many rows there are.
//!
//! # Where the memory is
//! Vectors and payloads are read from their files, which the system keeps in its cache as long as it has room. What leads to them,
//! and the words, are mapped: about 80 bytes a row.

mod best;
mod builder;
mod clusters;
mod codes;
mod dot;
mod index;
mod manifest;
mod mapped;
mod terms;
mod words;
mod writing;

pub use builder::IndexBuilder;
pub use codes::{add, product};
pub use index::{IndexedDocument, Near, SearchIndex, Wanted};
pub use manifest::IndexError;
pub use terms::{Analyser, words};
pub use words::{Bm25, Words, WordsBuilder};
