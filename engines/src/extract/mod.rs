//! Text out of files, behind the [`Extractor`](mentor_actors::ports::Extractor) port.
//!
//! [`FileExtractor`] looks at a file's name and size. Plain text and Markdown keep the file's text as it is; everything else is read
//! in a process of its own ([`reader`]) and becomes light Markdown, so that one chunker finds the headings of all, or, in a PDF,
//! pages with their sections beside them.

mod encoding;
mod file;
pub mod markdown;
pub mod plain;

#[cfg(feature = "documents")]
mod archive;
#[cfg(feature = "documents")]
mod epub;
#[cfg(feature = "documents")]
mod html;
#[cfg(feature = "documents")]
mod light_markdown;
#[cfg(feature = "documents")]
mod notebook;
#[cfg(feature = "documents")]
mod office;
#[cfg(feature = "documents")]
mod pdf;
#[cfg(feature = "documents")]
pub mod reader;
#[cfg(feature = "documents")]
pub mod recognition;
#[cfg(feature = "documents")]
mod xml;

pub use file::FileExtractor;
