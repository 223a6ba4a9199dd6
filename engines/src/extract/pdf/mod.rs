//! PDF files, page by page; in the child process of [`super::reader`], but for what needs all pages.
//!
//! ```text
//! Book: operators, fonts → stage (pdf-extract) → lines → paragraphs      one page
//! hyphens: divided words, as the rest of the book writes them            all pages, in the parent
//! sections: the outline's titles, found in the text                      all pages, in the parent
//! ```

mod book;
mod characters;
mod fonts;
pub(super) mod hyphens;
mod lines;
mod operators;
mod outline;
pub(super) mod paragraphs;
pub(super) mod sections;
mod stage;
mod standard_encoding;
mod unicode_map;
mod unpack;

pub(super) use book::Book;
