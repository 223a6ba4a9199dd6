//! The adapters behind Mentor's ports. Each engine's types are named in its own module and nowhere else.

#![warn(clippy::unwrap_used)]

pub mod chunk;
pub mod extract;
#[cfg(any(feature = "llama", feature = "remote"))]
mod grammar;
#[cfg(feature = "remote")]
pub mod json_schema;
#[cfg(feature = "lance")]
pub mod lance;
#[cfg(feature = "llama")]
pub mod llama;
/// How much main memory is left.
#[cfg(feature = "llama")]
pub mod main_memory;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "remote")]
mod secret;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "documents", feature = "lance"))]
mod store_identity;

#[cfg(feature = "remote")]
pub use secret::Secret;
#[cfg(any(feature = "documents", feature = "lance"))]
pub use store_identity::StoreIdentity;
