//! What a store, and an archive of one, knows of the embedder whose vectors it holds.

use serde::{Deserialize, Serialize};

/// Everything that decides whether two vectors, or two chunks, can stand in one store.
/// It is written into the dataset when that is created, so a copied folder keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdentity {
    /// The embedder's model.
    pub embedder: String,
    /// Length of its vectors.
    pub dimension: usize,
    /// How it makes one vector of many, for example `mean`.
    pub pooling: String,
    /// Longest chunk it reads, in its own tokens.
    pub max_tokens: usize,
    /// Version of the chunker's rules.
    pub chunker_version: u32,
    /// The beginning of the SHA-256 of its tokenizer's file. Stores made before this was noted do not know it, and are taken at
    /// their model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
}

impl StoreIdentity {
    /// Whether what one of them made can stand beside what the other made.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        let tokenizer = self.tokenizer.as_ref().and(other.tokenizer.clone());
        let known = |identity: &Self| Self {
            tokenizer: tokenizer.as_ref().and(identity.tokenizer.clone()),
            ..identity.clone()
        };
        known(self) == known(other)
    }
}
