//! PDF files, read in a child process that can do no harm.
//!
//! The parsers behind this (pdf-extract, lopdf) panic, overflow the stack, loop and allocate without bound on hostile
//! or merely odd files. So they run in a process of their own, the program itself started with a hidden subcommand,
//! behind walls ([`sandbox`]); a page that kills the child is reported, and another child goes on behind it.
//!
//! ```text
//! parent                                         child
//! PdfExtractor ── starts ─ file as stdin ──────► run_pdf_child
//!   Progress   ◄──────────── a line a page ────    Book: operators, fonts → stage (pdf-extract) → lines → paragraphs
//!   hyphens: divided words, with all pages known
//!   sections: the outline's titles, found in the text
//! ```

mod book;
mod characters;
mod child;
mod fonts;
mod hyphens;
mod lines;
mod operators;
mod outline;
mod paragraphs;
mod parent;
mod progress;
mod protocol;
mod sandbox;
mod sections;
mod stage;
mod standard_encoding;
mod unicode_map;

pub use child::run_pdf_child;
pub use parent::{PdfExtractor, PdfLimits};
