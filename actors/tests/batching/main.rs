//! Continuous batching on a decoder that checks everything it is given. Its "model" says what depends on every token before,
//! so that a token in the wrong place, too many or too few, changes the answer.

mod answers;
mod decoder;
mod order;
mod random_steps;
mod reuse;
mod room;
mod support;
