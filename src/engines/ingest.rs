//! What an ingest works with: in a process of its own, or as a job of a running server.

use std::sync::Arc;

use mentor_actors::cancel::CancelToken;
use mentor_actors::ports::Extractor;
use mentor_actors::telemetry::Telemetry;
use mentor_engines::chunk::{ChunkOptions, SentenceChunker};
use mentor_engines::onnx::{EmbedderInfo, OnnxTokenCounter};

use super::cores;
use super::embedding::{Embedding, SharedEmbedder, embedder_folder, for_embedding};
use super::extraction::extractor;
use crate::config::Config;
use crate::ingest::{IngestParts, readers};

/// Chunks that a job of a running server hands to the embedder at once: a question that comes meanwhile waits for them, which is
/// about a tenth of a second on two cores.
const CHUNKS_BETWEEN_QUESTIONS: usize = 4;

/// Everything that an ingest needs.
pub struct IngestEngines {
    /// Embeds chunks.
    pub embedding: Embedding,
    /// Reads files.
    pub extractor: Arc<dyn Extractor>,
    /// How many it reads at once.
    pub readers: usize,
    /// Cuts text.
    pub chunker: Arc<SentenceChunker>,
}

/// Builds the engines of an ingest.
///
/// # Errors
/// A model file that is missing or damaged, with the command that mends it.
pub fn for_ingest(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<IngestEngines> {
    let embedding = for_embedding(config, telemetry)?;
    let chunker = Arc::new(chunker(config, embedding.counter.clone(), &embedding.info));
    let extractor = Arc::new(extractor(config, CancelToken::default())?);
    Ok(IngestEngines { embedding, extractor, readers: readers(cores()), chunker })
}

/// What an ingest in a running server works with; `cancel` ends the reading of a file.
///
/// # Errors
/// A tokenizer that is missing or damaged; text recognition that is configured and not installed.
pub fn for_job(config: &Config, embedder: &SharedEmbedder, cancel: &CancelToken) -> anyhow::Result<IngestParts> {
    let counter = OnnxTokenCounter::load(&embedder_folder(config)?)?;
    Ok(IngestParts {
        extractor: Arc::new(extractor(config, cancel.clone())?),
        // The other cores are for questions.
        readers: 1,
        chunker: Arc::new(chunker(config, counter, &embedder.info)),
        embedding: embedder.workers.clone(),
        workers: embedder.count,
        chunks_a_job: CHUNKS_BETWEEN_QUESTIONS,
        clock: Arc::default(),
    })
}

fn chunker(config: &Config, counter: OnnxTokenCounter, info: &EmbedderInfo) -> SentenceChunker {
    let options = ChunkOptions {
        target_tokens: config.chunk_tokens,
        limit_tokens: info.max_tokens,
        overlap_tokens: config.chunk_overlap_tokens,
    };
    SentenceChunker::new(Arc::new(counter), options)
}
