//! Bringing a folder of course materials into the store: discover → extract → chunk → embed → commit.
//!
//! The stages overlap and are joined by bounded queues; the embedder is meant to be the slowest and never to wait. What is
//! unchanged since the last run (by content hash) is not touched, what has another name is renamed, what is gone from the
//! folder is removed.

mod again;
mod discover;
mod hashes;
mod pipeline;
mod plan;
mod progress;
mod report;
mod stamp;
mod watch;

pub use again::{EmbedAgain, embed_again};
pub use discover::{Folder, Found, discover, discover_if_any, find};
pub use hashes::Hashes;
pub use pipeline::{CHUNKS_A_JOB, EmbedClock, IngestParts, PendingBatch, Stop, readers, run, submit};
pub use plan::{Plan, Planned, Renamed, plan};
pub use progress::{Bars, Progress};
pub use report::{Copied, Failure, Report, StageSeconds};
pub use stamp::Stamp;
pub use watch::Watch;
