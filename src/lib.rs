//! The program `mentor`: command line, configuration, ingest, the doors, and the wiring of engines and actors.
//!
//! | module | what lives there |
//! |---|---|
//! | [`cli`], [`config`] | what the user says |
//! | [`commands`] | one function a command |
//! | [`engines`] | from the configuration to engines and actors |
//! | [`ingest`] | from a folder to the store |
//! | [`jobs`] | the same in a running server |
//! | [`materials`] | files on their way into that folder |
//! | [`eval`] | how good retrieval and answers are |
//! | `archive` | a store in one file, and back |
//! | [`drain`] | how a server stops without losing anything |
//! | [`faults`] | panics that tests order |
//! | [`guard`] | keys, tickets, origins, limits: who may do what |
//! | [`http`] | REST, WebSocket, metrics, the page |
//! | [`models`] | fetching and checking model files |
//! | [`metrics`] | what Prometheus sees |
//! | `open_files` | how many files may be open |

#![warn(clippy::unwrap_used)]

mod archive;
pub mod bench;
mod calendar;
pub mod cli;
pub mod commands;
pub mod config;
mod disk;
pub mod documents;
pub mod drain;
pub mod engines;
pub mod eval;
pub mod faults;
pub mod guard;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod materials;
pub mod metrics;
pub mod models;
mod open_files;
