//! Reading documents in a child process that can do no harm.
//!
//! Parsers panic, overflow the stack, loop and allocate without bound on hostile or merely odd files. So everything but plain text
//! is read in a process of its own, the program itself started with a hidden subcommand, behind walls ([`sandbox`]); a page that
//! kills the child is reported, and another child goes on behind it.
//!
//! ```text
//! parent                                              child
//! DocumentReader ── starts ─ file as stdin ─────────► run_document_reader
//!   Progress     ◄──────────── a line a page ───────    Pages: a PDF file, slides, chapters, or one text
//!   OCR: pages without text, if asked for
//! ```

mod child;
mod pages;
mod parent;
mod patience;
mod progress;
mod protocol;
pub(super) mod sandbox;

pub(super) use child::quiet;
#[cfg(fuzzing)]
pub use child::read_unwalled;
pub use child::run_document_reader;
pub(super) use pages::{NoText, Pages};
pub use parent::{DocumentReader, ReaderLimits};
pub(super) use protocol::Bookmark;
