//! Mentor's domain and actors: everything that is true without a socket and without a model.
pub mod domain;
pub mod ports;
