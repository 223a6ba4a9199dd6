//! Embedding stored text again, for another embedder: no file is read, nothing is cut anew.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::{Chunk, DocumentRecord, EngineError};
use mentor_actors::embedding::EmbeddingWorkers;
use mentor_actors::ports::{Corpus, TokenCounter};
use tokio::sync::mpsc::Receiver;

use super::pipeline::{CHUNKS_A_JOB, DOCUMENTS_BETWEEN_STAGES, InEmbedding, Writing, submit, write};
use super::{Progress, Report};

/// Tokens that an embedder puts around a text.
const SPECIAL_TOKENS: usize = 2;

/// What text is embedded with.
pub struct EmbedAgain<'a> {
    /// The workers.
    pub embedding: &'a EmbeddingWorkers,
    /// Counts as they do.
    pub counter: &'a dyn TokenCounter,
    /// The longest text they read.
    pub max_tokens: usize,
}

/// Embeds documents as they come and puts them into a store that is empty, and tidies that up.
///
/// # Errors
/// When a passage is longer than the embedder reads, the store cannot be written, or the embedder is lost.
pub fn embed_again(
    mut documents: Receiver<Result<(DocumentRecord, Vec<Chunk>), EngineError>>,
    with: &EmbedAgain<'_>,
    corpus: &mut dyn Corpus,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let outcome = std::thread::scope(|scope| {
        let (embedding, to_write) = sync_channel(DOCUMENTS_BETWEEN_STAGES);
        let submitting = scope.spawn(|| submit_all(&mut documents, with, embedding, progress));
        // A store with fewer documents must not take the place of the one in use.
        let mut refuse = |record: &DocumentRecord, error: EngineError| Err(error).context(record.id.to_string());
        let never = CancelToken::default();
        let writing = Writing { embedding: with.embedding, progress, stop: &never, refuse: &mut refuse };
        let written = write(to_write, writing, corpus, &mut report, &mut Duration::default());
        // A panic there is a fault of ours: it goes on here, with its own message.
        written.and(submitting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    progress.finish();
    outcome?;
    report.close(&corpus.finish()?);
    Ok(report)
}

fn submit_all(
    documents: &mut Receiver<Result<(DocumentRecord, Vec<Chunk>), EngineError>>,
    with: &EmbedAgain<'_>,
    next: SyncSender<InEmbedding>,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    while let Some(document) = documents.blocking_recv() {
        let (record, mut chunks) = document?;
        for chunk in &mut chunks {
            chunk.tokens = with.counter.count(&chunk.text) + SPECIAL_TOKENS;
            if chunk.tokens > with.max_tokens {
                bail!(
                    "a passage of {} has {} tokens, and this embedder reads {}: `mentor ingest --overwrite` cuts the \
                     documents anew",
                    record.id,
                    chunk.tokens,
                    with.max_tokens
                );
            }
        }
        progress.to_embed(chunks.len());
        let batches = submit(&chunks, with.embedding, CHUNKS_A_JOB)?;
        if next.send(InEmbedding { record, chunks, batches }).is_err() {
            break; // the writer failed and says why
        }
    }
    Ok(())
}
