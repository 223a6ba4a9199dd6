//! The stages of an ingest, each on its own thread, joined by bounded queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::{
    Chunk, DocumentContent, DocumentFailure, DocumentId, DocumentRecord, EmbeddedChunk, Embedding, EngineError,
};
use mentor_actors::embedding::EmbeddingWorkers;
use mentor_actors::ports::{Chunker, Corpus, Extractor};
use mentor_actors::telemetry::{Measurement, Telemetry};
use tokio::sync::oneshot;

use super::{Failure, Plan, Planned, Progress, Renamed, Report, StageSeconds, Stamp};

/// Documents that may wait between two stages. Each holds the text of one book, so the bound keeps memory small; two are
/// enough for the embedder never to wait for a book of ordinary size.
pub(super) const DOCUMENTS_BETWEEN_STAGES: usize = 2;

/// Chunks handed to an embedding worker at once when nobody else waits for it. Sorted by length, so that little is padded; the
/// embedder makes its own batches of them.
pub const CHUNKS_A_JOB: usize = 32;

/// Cores for each document that is read at the same time as others. One reader keeps the embedders of so many cores at work
/// by far: six books took 15 seconds to read and 250 of a core to embed. A GPU embeds faster, ...
const CORES_A_READER: usize = 4;
/// ... and beyond so many they are not worth their memory: each may take `extract_memory_mb`.
const MAX_READERS: usize = 4;

/// How many documents to read at once on a machine with so many cores: one on small ones, so that embedding has the others.
#[must_use]
pub fn readers(cores: usize) -> usize {
    (cores / CORES_A_READER).clamp(1, MAX_READERS)
}

/// What an ingest works with.
#[derive(Clone)]
pub struct IngestParts {
    /// Reads files.
    pub extractor: Arc<dyn Extractor>,
    /// How many files it reads at once.
    pub readers: usize,
    /// Cuts text.
    pub chunker: Arc<dyn Chunker>,
    /// Embeds chunks.
    pub embedding: EmbeddingWorkers,
    /// How many embedding workers there are.
    pub workers: usize,
    /// Chunks handed to one at once: a question that comes meanwhile waits for them.
    pub chunks_a_job: usize,
    /// The clock that the embedding workers' measurements go to.
    pub clock: Arc<EmbedClock>,
}

/// Adds up the time that embedding workers spend at work.
#[derive(Debug, Default)]
pub struct EmbedClock {
    micros: AtomicU64,
}

impl EmbedClock {
    fn busy(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

impl Telemetry for EmbedClock {
    fn record(&self, measurement: Measurement) {
        if let Measurement::Embedded { took, .. } = measurement {
            self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// A document between two stages.
struct Extracted<'a> {
    planned: &'a Planned,
    content: DocumentContent,
}

/// A document that failed as a whole.
struct Failed<'a> {
    planned: &'a Planned,
    reason: String,
    /// Whether it is of no use to try again as long as the file stays as it is.
    is_lasting: bool,
}

impl<'a> Failed<'a> {
    fn new(planned: &'a Planned, error: &EngineError) -> Self {
        // Who is busy may be free next time.
        Self { planned, reason: error.to_string(), is_lasting: !matches!(error, EngineError::Busy(_)) }
    }
}

/// A document whose vectors are being made.
pub(super) struct InEmbedding {
    pub(super) record: DocumentRecord,
    pub(super) chunks: Vec<Chunk>,
    pub(super) batches: Vec<PendingBatch>,
}

/// Which chunks were handed over together, and where their vectors will come from.
pub struct PendingBatch {
    members: Vec<usize>,
    vectors: oneshot::Receiver<Result<Vec<Embedding>, EngineError>>,
}

impl PendingBatch {
    /// Each vector with the place of its chunk, once they are made.
    ///
    /// # Errors
    /// What the embedder failed with.
    pub fn wait(self) -> Result<impl ExactSizeIterator<Item = (usize, Embedding)>, EngineError> {
        let vectors = self.vectors.blocking_recv().unwrap_or(Err(EngineError::WorkerLost("embed")))?;
        if vectors.len() != self.members.len() {
            return Err(EngineError::Failed(
                "the embedder gave another number of vectors than it was given texts".into(),
            ));
        }
        Ok(self.members.into_iter().zip(vectors))
    }
}

/// How an ingest is told to end early. What is not stored then is left to the next run.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// No further document is read; those that are read already are still stored.
    pub reading: CancelToken,
    /// Nothing further is stored either.
    pub storing: CancelToken,
}

impl Stop {
    /// Whether documents were, or may have been, left.
    fn is_wanted(&self) -> bool {
        self.reading.is_cancelled() || self.storing.is_cancelled()
    }
}

/// Carries the plan out: renames, then what is to be ingested, then what is gone, unless `stop` ends it early.
///
/// # Errors
/// When the store cannot be written or the embedder is lost; a document that fails by itself is in the report.
pub fn run(
    plan: &Plan,
    parts: &IngestParts,
    corpus: &mut dyn Corpus,
    progress: &dyn Progress,
    stop: &Stop,
) -> anyhow::Result<Report> {
    let start = Instant::now();
    let mut report = Report::of(plan);
    let busy_before = parts.clock.busy();
    for Renamed { from, record } in plan.moves() {
        corpus.rename(&from, &record).with_context(|| format!("cannot rename {from} to {}", record.id))?;
    }
    for record in &plan.noted {
        corpus.update(record).with_context(|| format!("cannot note {}", record.id))?;
    }
    let (mut failed, mut refused) = (Vec::new(), Vec::new());
    let (mut extract_time, mut chunk_time) = (Duration::ZERO, Duration::ZERO);
    let mut write_time = Duration::ZERO;
    let outcome = std::thread::scope(|scope| {
        let (extracted, to_chunk) = sync_channel(DOCUMENTS_BETWEEN_STAGES);
        let (embedding, to_write) = sync_channel(DOCUMENTS_BETWEEN_STAGES);
        let extracting = scope.spawn(|| extract(plan, parts, extracted, progress, stop));
        let chunking = scope.spawn(|| chunk(to_chunk, parts, embedding, progress));
        let mut refuse = |record: &DocumentRecord, error: EngineError| {
            progress.failed(&record.id, &error.to_string());
            refused.push((record.id.clone(), error));
            Ok(())
        };
        let writing = Writing { embedding: &parts.embedding, progress, stop: &stop.storing, refuse: &mut refuse };
        let written = write(to_write, writing, corpus, &mut report, &mut write_time);
        // A panic in a stage is a fault of ours: it goes on here, with its own message.
        (failed, extract_time) = extracting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let chunked = chunking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.and(chunked.map(|time| chunk_time = time))
    });
    progress.finish();
    let finishing = Instant::now();
    let of = |(id, error): &(DocumentId, EngineError)| Some(Failed::new(plan.planned(id)?, error));
    failed.extend(refused.iter().filter_map(of));
    // Also when the ingest cannot go on: what failed is known.
    let remembered = failed.iter().try_for_each(|failed| remember(failed, corpus));
    outcome?;
    remembered?;
    report.passing = failed.iter().filter(|failed| !failed.is_lasting).count();
    report.failures.extend(failed.into_iter().map(|failed| Failure {
        document: failed.planned.found.id.0.clone(),
        page: None,
        reason: failed.reason,
    }));
    if !stop.is_wanted() {
        for id in &plan.gone {
            corpus.remove(id).with_context(|| format!("cannot remove {id}"))?;
            progress.removed(id);
            report.removed += 1;
        }
    }
    let stats = corpus.finish().context("cannot finish the ingest")?;
    write_time += finishing.elapsed();
    report.seconds = start.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // a handful of workers
    let embed = (parts.clock.busy() - busy_before).as_secs_f64() / parts.workers as f64;
    report.stages = StageSeconds {
        extract: extract_time.as_secs_f64(),
        chunk: chunk_time.as_secs_f64(),
        embed,
        write: write_time.as_secs_f64(),
    };
    report.close(&stats);
    Ok(report)
}

/// Notes what failed in the document's record, beside what is stored of it.
fn remember(failed: &Failed<'_>, corpus: &mut dyn Corpus) -> anyhow::Result<()> {
    if !failed.is_lasting {
        return Ok(());
    }
    let Planned { found, copies, former } = failed.planned;
    let failure = Some(DocumentFailure { hash: found.hash, reason: failed.reason.clone() });
    let bytes = Some(found.stamp.bytes);
    let noted = match former.as_ref().filter(|record| record.was_read()) {
        Some(former) => corpus.update(&DocumentRecord { failure, copies: copies.clone(), ..former.clone() }),
        None => {
            let record = DocumentRecord::failed(found.id.clone(), found.hash, found.kind, failed.reason.clone());
            corpus.put(&DocumentRecord { copies: copies.clone(), bytes, ..record }, &[])
        }
    };
    noted.with_context(|| format!("cannot note that {} failed", found.id))
}

pub(super) fn page_failures(record: &DocumentRecord) -> impl Iterator<Item = Failure> + '_ {
    record.failed_pages.iter().map(|(page, reason)| Failure {
        document: record.id.0.clone(),
        page: Some(*page),
        reason: reason.clone(),
    })
}

/// Reads the documents, some at a time; gives the failures and the time that reading took, divided by the readers.
fn extract<'a>(
    plan: &'a Plan,
    parts: &IngestParts,
    next: SyncSender<Extracted<'a>>,
    progress: &dyn Progress,
    stop: &Stop,
) -> (Vec<Failed<'a>>, Duration) {
    let (documents, taken) = (plan.to_ingest(), AtomicUsize::new(0));
    let readers = parts.readers.clamp(1, documents.len().max(1));
    let take = || documents.get(taken.fetch_add(1, Ordering::Relaxed)).copied();
    let (mut failures, mut time) = (Vec::new(), Duration::ZERO);
    std::thread::scope(|scope| {
        let read = |next| read_one_by_one(take, &*parts.extractor, next, progress, stop);
        let others: Vec<_> = (1..readers)
            .map(|_| {
                let next = next.clone();
                scope.spawn(move || read(next))
            })
            .collect();
        let own = read(next);
        // A panic there is a fault of ours: it goes on here, with its own message.
        let others = others.into_iter().map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        for (failed, took) in std::iter::once(own).chain(others) {
            failures.extend(failed);
            time += took;
        }
    });
    (failures, time / u32::try_from(readers).unwrap_or(1))
}

/// Reads one document after the other, as long as there are any.
fn read_one_by_one<'a>(
    take: impl Fn() -> Option<&'a Planned>,
    extractor: &dyn Extractor,
    next: SyncSender<Extracted<'a>>,
    progress: &dyn Progress,
    stop: &Stop,
) -> (Vec<Failed<'a>>, Duration) {
    let (mut failures, mut time) = (Vec::new(), Duration::ZERO);
    while !stop.is_wanted()
        && let Some(planned) = take()
    {
        let found = &planned.found;
        let start = Instant::now();
        let result = extractor.extract(&found.path);
        // What was read must be what was hashed.
        let is_same = Stamp::of(&found.path).is_ok_and(|stamp| stamp == found.stamp);
        time += start.elapsed();
        progress.extracted(&found.id, found.stamp.bytes);
        if stop.storing.is_cancelled() {
            break; // reading may have ended for that alone
        }
        let result = if is_same { result } else { Err(changed()) };
        let failed = match result.map(|content| next.send(Extracted { planned, content })) {
            Ok(Ok(())) => continue,
            Ok(Err(_)) => break, // a later stage failed and says why
            Err(error) => Failed::new(planned, &error),
        };
        progress.failed(&found.id, &failed.reason);
        failures.push(failed);
    }
    (failures, time)
}

fn changed() -> EngineError {
    EngineError::Busy("it changed while it was read; the next run takes it".into())
}

/// Cuts each document and hands its chunks to the embedding workers; gives the time that cutting took.
fn chunk(
    documents: Receiver<Extracted<'_>>,
    parts: &IngestParts,
    next: SyncSender<InEmbedding>,
    progress: &dyn Progress,
) -> anyhow::Result<Duration> {
    let mut time = Duration::ZERO;
    for Extracted { planned, content } in documents {
        let start = Instant::now();
        let chunks = parts.chunker.chunk(&content);
        time += start.elapsed();
        progress.to_embed(chunks.len());
        let record = record(planned, &content, chunks.len());
        let batches = submit(&chunks, &parts.embedding, parts.chunks_a_job)
            .with_context(|| format!("cannot embed {}", record.id))?;
        if next.send(InEmbedding { record, chunks, batches }).is_err() {
            break; // the writer failed and says why
        }
    }
    Ok(time)
}

fn record(planned: &Planned, content: &DocumentContent, chunks: usize) -> DocumentRecord {
    let failed = content.pages.iter().filter_map(|page| Some((page.page.unwrap_or(1), page.text.clone().err()?)));
    DocumentRecord {
        id: planned.found.id.clone(),
        hash: planned.found.hash,
        kind: content.kind,
        pages: u32::try_from(content.pages.len()).unwrap_or(u32::MAX),
        failed_pages: failed.collect(),
        chunks: u32::try_from(chunks).unwrap_or(u32::MAX),
        copies: planned.copies.clone(),
        failure: None,
        bytes: Some(planned.found.stamp.bytes),
        stored_at_s: SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()),
    }
}

/// Hands chunks of like length to the workers together, waiting for room in their queue.
///
/// # Errors
/// [`EngineError::WorkerLost`] when the workers are gone.
pub fn submit(
    chunks: &[Chunk],
    workers: &EmbeddingWorkers,
    chunks_a_job: usize,
) -> Result<Vec<PendingBatch>, EngineError> {
    let mut order: Vec<usize> = (0..chunks.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(chunks[*index].tokens));
    order.chunks(chunks_a_job).map(|members| submit_batch(chunks, members.to_vec(), workers)).collect()
}

fn submit_batch(
    chunks: &[Chunk],
    members: Vec<usize>,
    workers: &EmbeddingWorkers,
) -> Result<PendingBatch, EngineError> {
    let texts = members.iter().map(|index| chunks[*index].text.clone()).collect();
    Ok(PendingBatch { vectors: workers.submit_bulk(texts)?, members })
}

/// What the last stage works with.
pub(super) struct Writing<'a> {
    pub(super) embedding: &'a EmbeddingWorkers,
    pub(super) progress: &'a dyn Progress,
    /// Nothing is stored from then on.
    pub(super) stop: &'a CancelToken,
    /// Hears of documents with a text that the embedder does not take; its own error ends the work.
    pub(super) refuse: &'a mut dyn FnMut(&DocumentRecord, EngineError) -> anyhow::Result<()>,
}

/// Waits for each document's vectors and commits it. A document that cannot be embedded holds up no other.
pub(super) fn write(
    documents: Receiver<InEmbedding>,
    writing: Writing<'_>,
    corpus: &mut dyn Corpus,
    report: &mut Report,
    time: &mut Duration,
) -> anyhow::Result<()> {
    for InEmbedding { record, chunks, batches } in documents {
        let tokens = chunks.iter().map(|chunk| chunk.tokens as u64).sum::<u64>();
        let embedded = match writing.collect(chunks, batches) {
            Ok(Some(embedded)) => embedded,
            Ok(None) => break,
            // Embedders may go before who stopped the work waits no longer for it.
            Err(_) if writing.stop.is_cancelled() => break,
            Err(error @ EngineError::WorkerLost(_)) => {
                return Err(error).with_context(|| format!("cannot embed {}", record.id));
            }
            Err(error) => {
                (writing.refuse)(&record, error)?;
                continue;
            }
        };
        report.tokens += tokens;
        let start = Instant::now();
        corpus.put(&record, &embedded).with_context(|| format!("cannot store {}", record.id))?;
        *time += start.elapsed();
        report.ingested += 1;
        report.pages += u64::from(record.pages);
        report.chunks += embedded.len() as u64;
        report.failures.extend(page_failures(&record));
        writing.progress.written(&record);
    }
    Ok(())
}

impl Writing<'_> {
    /// Puts every vector back beside its chunk; `None` once `stop` is cancelled, and the embedder then skips what it still has.
    fn collect(
        &self,
        chunks: Vec<Chunk>,
        batches: Vec<PendingBatch>,
    ) -> Result<Option<Vec<EmbeddedChunk>>, EngineError> {
        let mut vectors: Vec<Option<Embedding>> = vec![None; chunks.len()];
        for batch in batches {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let made = self.wait(batch, &chunks)?;
            self.progress.embedded(made.len());
            for (index, vector) in made {
                vectors[index] = Some(vector);
            }
        }
        let missing = || EngineError::Failed("a passage was given to no batch".into());
        let embedded = chunks.into_iter().zip(vectors).map(|(chunk, vector)| Ok((chunk, vector.ok_or_else(missing)?)));
        embedded.collect::<Result<_, _>>().map(Some)
    }

    /// Waits for a batch. One that a worker was lost with is tried once more: it need not have been the text's fault.
    fn wait(
        &self,
        batch: PendingBatch,
        chunks: &[Chunk],
    ) -> Result<impl ExactSizeIterator<Item = (usize, Embedding)> + use<>, EngineError> {
        let members = batch.members.clone();
        match batch.wait() {
            Err(EngineError::WorkerLost(_)) => {
                let again = submit_batch(chunks, members, self.embedding)?;
                again.wait().map_err(|error| self.of_second_try(error))
            }
            waited => waited,
        }
        .map_err(in_words)
    }

    /// Workers that are there, and were lost twice with the same text, are not what is wrong.
    fn of_second_try(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::WorkerLost(_) if !self.embedding.health().is_down() => {
                EngineError::Failed("a passage of it stops the embedder each time".into())
            }
            error => error,
        }
    }
}

/// Why a document has no vectors.
fn in_words(error: EngineError) -> EngineError {
    match error {
        EngineError::WorkerLost(_) => error,
        error => EngineError::Failed(format!("it cannot be embedded: {error}")),
    }
}

#[cfg(test)]
mod tests;
