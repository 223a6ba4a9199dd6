//! What a key may do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of thing that requests do. None includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask, search, and everything about one's own conversations.
    Ask,
    /// Add documents, and see how far they are.
    Ingest,
    /// Remove documents.
    Admin,
    /// Read metrics and the health of every part.
    Metrics,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Ingest => "ingest",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
