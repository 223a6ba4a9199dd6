//! Continuous batching: every conversation in one batch, nothing computed twice.
//!
//! [`BatchEngine`] is a [`crate::ports::GenerationEngine`] on any [`crate::ports::Decoder`].
//!
//! | file | what it is for |
//! |---|---|
//! | `engine` | carries out what the scheduler plans, and turns tokens into events |
//! | `scheduler` | who is in the next batch, and who gives way (pure) |
//! | `plan` | what the scheduler says is to be done (pure) |
//! | `reuse` | how much of an evaluated prompt a new one may keep (pure) |
//! | `states` | evaluated tokens that left the decoder and may come back (pure) |
//! | `draft` | guesses at what an answer says next (pure) |
//! | `cost` | what a row of a batch costs, to know when guessing pays (pure) |
//! | `answer` | a running answer: tokens become text, and end (pure) |
//! | `text` | whole characters, and nothing of a stop sequence (pure) |
//! | `repetition` | notices that an answer goes round in circles (pure) |

mod answer;
mod cost;
mod draft;
mod engine;
pub mod plan;
mod repetition;
mod reuse;
pub mod scheduler;
mod states;
mod text;

pub use engine::{BatchEngine, BatchSettings};
pub use repetition::LoopDetector;
pub(crate) use text::{Filtered, StopFilter};
