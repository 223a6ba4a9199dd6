//! How good retrieval and answers are: questions with known places, asked of the store, counted.
//!
//! | module | what it decides |
//! |---|---|
//! | [`questions`] | the file of questions, and what stands before a follow-up |
//! | [`judge`] | which of the passages found for a question answer it |
//! | [`figures`] | recall, MRR, nDCG, refusals, latencies over all questions |
//! | [`compare`] | whether a second configuration differs by more than chance |
//! | [`answers`] | what generated answers are worth: citations, support, points |
//! | [`report`], [`html`] | how it is shown: a table, JSON, a page with a plot |
//!
//! All of it is pure; `commands/eval.rs` does the asking.

pub mod answers;
pub mod compare;
pub mod figures;
pub mod html;
pub mod judge;
pub mod questions;
pub mod report;

/// How far down the passages are looked at.
pub const DEPTH: usize = 10;
