//! The whole program with the real engines and the real small models: ingest, serve, ask, kill, and every bad input.
//!
//! The models come from `MENTOR_MODELS_DIR`, or from `models/` in the repository; without them these tests say so and pass.

mod bad_input;
mod benches;
mod books;
mod convert;
mod documents;
mod durable;
mod eval;
mod keys;
mod killed;
mod openai;
mod operations;
mod panics;
mod socket;
mod support;
mod survival;
mod sync;
mod tutor;
