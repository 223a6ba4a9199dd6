//! Bringing a folder of course materials into the store: discover → extract → chunk → embed → commit.
//!
//! The stages overlap and are joined by bounded queues; the embedder is meant to be the slowest and never to wait. What is
//! unchanged since the last run (by content hash) is not touched, what is gone from the folder is removed.

mod discover;
mod pipeline;
mod plan;
mod progress;
mod report;

pub use discover::{Found, discover};
pub use pipeline::{EmbedClock, IngestParts, run};
pub use plan::{Plan, plan};
pub use progress::Progress;
pub use report::{Failure, Report, StageSeconds};
