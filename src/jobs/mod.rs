//! Ingest as jobs of a running server: one at a time, in the order they came, on a thread of their own.
//!
//! ```text
//! handler ── reserve ─► Place ── files ── submit ─► queue ─► Worker ── run ─► Runner (FolderIngest)
//!    ▲                                                          │
//!    └────────────── Job: state, outcomes, numbered events ◄────┘
//! ```
//!
//! A place in the queue comes before the files: nothing is put into the folder that no job would take up. Jobs live in memory;
//! what they did is in the store, and what a lost one did not do the next one does.

mod folder_ingest;
mod job;
mod log;
mod progress;
mod queue;

pub use folder_ingest::FolderIngest;
pub use job::{Counts, DocumentResult, Job, Order, Outcome, Snapshot, Stage, Stages, State};
pub use log::Event;
pub use queue::{Jobs, Place, Runner, Worker};
