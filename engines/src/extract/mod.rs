//! Text out of files, behind the [`Extractor`](mentor_actors::ports::Extractor) port.
//!
//! [`FileExtractor`] looks at a file's name and size and hands it to the format's own extractor. Plain text and Markdown
//! keep the file's text as it is; HTML becomes light Markdown, so that one chunker finds the headings of both; PDF files
//! are read in a process of their own.

mod encoding;
mod file;
pub mod html;
pub mod markdown;
#[cfg(feature = "pdf")]
pub mod pdf;
pub mod plain;

pub use file::FileExtractor;
