//! How fast the embedder is alone: the passages of a folder in the very batches that an ingest makes of them, with nothing
//! else at work. An ingest's tokens a second are compared with these.

use std::time::Instant;

use mentor_actors::domain::{Chunk, EngineError};
use mentor_actors::embedding::EmbeddingWorkers;
use mentor_actors::ports::{Chunker, Extractor};
use serde::Serialize;

use crate::ingest::{CHUNKS_A_JOB, PendingBatch, Planned, submit};

/// Units of processor time in a second, as `/proc/self/stat` counts them: the same on every Linux (`man 5 proc`, `USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

/// What was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct EmbedFigures {
    /// Passages.
    pub chunks: usize,
    /// Their tokens, special ones included, padding not.
    pub tokens: usize,
    /// From the first batch to the last.
    pub seconds: f64,
    /// Processor time of all threads.
    pub cpu_seconds: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Tokens a second of processor time: steadier than the former where others share the machine.
    pub tokens_per_cpu_second: f64,
}

/// The passages of documents, document by document. What cannot be read is left out.
pub fn passages(documents: &[&Planned], extractor: &dyn Extractor, chunker: &dyn Chunker) -> Vec<Vec<Chunk>> {
    let read = |planned: &&Planned| extractor.extract(&planned.found.path).ok();
    documents.iter().filter_map(read).map(|content| chunker.chunk(&content)).collect()
}

/// Embeds all of them once.
///
/// # Errors
/// What the embedder fails with.
pub fn measure_embed(documents: &[Vec<Chunk>], workers: &EmbeddingWorkers) -> Result<EmbedFigures, EngineError> {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut pending: Vec<PendingBatch> = Vec::new();
    for chunks in documents {
        pending.extend(submit(chunks, workers, CHUNKS_A_JOB)?);
    }
    pending.into_iter().try_for_each(|batch| batch.wait().map(drop))?;
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let chunks = documents.iter().flatten();
    let tokens = chunks.clone().map(|chunk| chunk.tokens).sum::<usize>();
    let rate = |seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    Ok(EmbedFigures {
        chunks: chunks.count(),
        tokens,
        seconds,
        cpu_seconds,
        tokens_per_second: rate(seconds),
        tokens_per_cpu_second: rate(cpu_seconds),
    })
}

/// Of this process so far; 0 where it cannot be read.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks(&stat).unwrap_or_default() as f64 / TICKS_A_SECOND
}

/// Fields 14 and 15. The name before them is in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_what_threads_and_kernel_took() {
        let stat = "42 (a) name) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("42 (mentor) S 1"), None);
        assert!(cpu_seconds() >= 0.0);
    }
}
