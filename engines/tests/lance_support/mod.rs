//! Documents with made-up vectors for the tests of the store.
#![allow(dead_code, reason = "each test program uses its part")]

use mentor_actors::domain::{
    CharSpan, Chunk, DocumentHash, DocumentId, DocumentKind, DocumentRecord, EmbeddedChunk, Embedding,
};
use mentor_actors::ports::SearchQuery;
use std::path::Path;

use mentor_actors::ports::Corpus;
use mentor_engines::lance::{LanceCorpus, Replacement, StoreIdentity};

/// An identity with vectors of this length.
pub fn identity(dimension: usize) -> StoreIdentity {
    StoreIdentity {
        embedder: "made-up".into(),
        dimension,
        pooling: "mean".into(),
        max_tokens: 256,
        chunker_version: 1,
        tokenizer: None,
    }
}

/// Numbers that look random and are the same every time.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// xorshift64*.
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From -1 to 1.
    fn next(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.bits() >> 32) % end
    }

    /// A vector of length 1.
    pub fn unit(&mut self, dimension: usize) -> Embedding {
        let vector: Vec<f32> = (0..dimension).map(|_| self.next()).collect();
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.into_iter().map(|value| value / norm).collect()
    }
}

/// A document with these vectors, and as many chunks.
pub fn document(id: &str, seed: u64, vectors: Vec<Embedding>) -> (DocumentRecord, Vec<EmbeddedChunk>) {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&seed.to_be_bytes());
    let record = DocumentRecord {
        id: DocumentId(id.into()),
        hash: DocumentHash(hash),
        kind: DocumentKind::Pdf,
        pages: vectors.len() as u32 + 1,
        failed_pages: vec![(vectors.len() as u32 + 1, "the page is a picture".into())],
        chunks: vectors.len() as u32,
        copies: Vec::new(),
        failure: None,
        bytes: None,
        stored_at_s: None,
    };
    let chunks = vectors.into_iter().enumerate().map(|(number, vector)| (chunk(id, seed, number), vector)).collect();
    (record, chunks)
}

/// A document with random vectors.
pub fn random_document(id: &str, seed: u64, chunks: usize, dimension: usize) -> (DocumentRecord, Vec<EmbeddedChunk>) {
    let mut random = Random::new(seed);
    document(id, seed, (0..chunks).map(|_| random.unit(dimension)).collect())
}

/// Words that stand nowhere else: a search folds what says the same.
fn own_words(id: &str, seed: u64, number: usize) -> String {
    let name: String = id.chars().filter(|c| c.is_alphanumeric()).collect();
    ["a", "b", "c", "d"].map(|letter| format!("{name}x{seed}x{number}{letter} ")).concat()
}

fn chunk(id: &str, seed: u64, number: usize) -> Chunk {
    Chunk {
        page: Some(number as u32 + 1),
        section: Some("Joins".into()),
        span: CharSpan { start: 10 * number, end: 10 * number + 500 },
        text: format!(
            "{id}, chunk {number}: {}{}",
            "a join combines the rows of two tables. ".repeat(12),
            own_words(id, seed, number)
        ),
        tokens: 120,
    }
}

/// Puts a store with these documents in the place of the one there is, whatever that is.
pub fn replace(data_dir: &Path, identity: &StoreIdentity, documents: &[(DocumentRecord, Vec<EmbeddedChunk>)]) {
    let replacement = Replacement::begin(data_dir).unwrap();
    let mut corpus = LanceCorpus::open(replacement.building(), identity).unwrap();
    for (record, chunks) in documents {
        corpus.put(record, chunks).unwrap();
    }
    corpus.finish().unwrap();
    drop(corpus);
    replacement.swap().unwrap();
}

/// A search in all documents.
pub fn query(embedding: Embedding, top_k: usize) -> SearchQuery {
    SearchQuery { text: String::new(), embedding, top_k, context_chars: 0, documents: Vec::new() }
}

/// A search in these documents.
pub fn query_in(embedding: Embedding, top_k: usize, documents: &[&str]) -> SearchQuery {
    let documents = documents.iter().map(|&id| DocumentId(id.into())).collect();
    SearchQuery { documents, ..query(embedding, top_k) }
}
