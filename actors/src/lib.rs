//! Mentor's domain and actors: everything that is true without a socket and without a model.
//!
//! A question's way through the modules:
//!
//! | step | module |
//! |---|---|
//! | a conversation takes the question, one at a time | [`conversations`], [`conversation`], [`admission`] |
//! | or it comes with its history, and nothing is kept | [`stateless`] |
//! | it is read by itself, and as a follow-up | [`query`], [`finder`] |
//! | it is embedded by a pool of worker threads | [`embedding`], [`workers`], [`queue`] |
//! | the store is searched | [`retrieval`], [`ranking`], [`reranking`] |
//! | it waits for the generator, in a fair order | [`turn_queue`], [`workload`] |
//! | prompt, generation | [`prompt`], [`generation`] |
//! | each sentence finds its source | [`attribution`] |
//! | events wait, numbered, for readers | [`turn_log`] |
//! | all of it is kept, and read again after a sleep or a restart | [`keeper`], [`storage`], [`memory_store`] |
//! | a panic costs one turn, and what was lost is there again | [`workers`], [`supervision`], [`health`], [`fault`] |
//!
//! Engines stand behind the traits of [`ports`]; [`turn`] is where the steps follow each other. [`fake_engine`] stands in for a
//! model where everything else is to be loaded.

#![warn(clippy::unwrap_used)]

pub mod admission;
pub mod attribution;
pub mod batching;
pub mod cancel;
pub mod conversation;
pub mod conversations;
pub mod deadline;
pub mod domain;
pub mod embedding;
pub mod fake_engine;
pub mod fault;
pub mod finder;
pub mod generation;
pub mod health;
mod keeper;
pub mod memory_store;
pub mod ports;
pub mod prompt;
pub mod query;
pub mod queue;
pub mod ranking;
pub mod reranking;
pub mod retrieval;
pub mod stateless;
pub mod storage;
pub mod supervision;
pub mod telemetry;
pub mod turn;
pub mod turn_log;
pub mod turn_queue;
pub mod workers;
pub mod workload;
