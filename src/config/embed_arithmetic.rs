//! How the embedder multiplies.

use serde::{Deserialize, Serialize};

/// How the embedder multiplies on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EmbedArithmetic {
    /// In eight bits where the processor has AMX or AVX-512 VNNI, else in floats.
    Auto,
    /// In floats.
    Float,
    /// In eight bits where the model stores its weights so.
    Int8,
}
