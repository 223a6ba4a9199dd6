//! The embedder: its workers, what they say of themselves, and what each part of the program asks of them.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use mentor_actors::domain::EngineError;
use mentor_actors::embedding::{BoxedEmbedder, EmbeddingWorkers, StartingEmbeddingWorkers};
use mentor_actors::ports::Factory;
use mentor_actors::telemetry::{Silent, Telemetry};
use mentor_actors::workers::{RestartBudget, WorkerPool};
use mentor_engines::lance::StoreIdentity;
use mentor_engines::onnx::{EmbedderInfo, OnnxConfig, OnnxEmbedder, OnnxTokenCounter};

use super::store::identity;
use super::{cores, none_if_empty};
use crate::config::Config;
use crate::models::ModelsDir;

/// Batches that may wait for the embedding workers during an ingest: enough that they never wait for the next one.
const INGEST_QUEUE: usize = 16;

/// Running embedding workers, with what they say of themselves.
pub struct Embedding {
    /// The workers' queue.
    pub workers: EmbeddingWorkers,
    /// How many there are.
    pub count: usize,
    /// What they loaded.
    pub info: EmbedderInfo,
    /// Counts tokens as they do.
    pub counter: OnnxTokenCounter,
    pool: WorkerPool,
}

impl Embedding {
    /// The same workers, for bulk work beside questions.
    #[must_use]
    pub fn share(&self) -> SharedEmbedder {
        SharedEmbedder { workers: self.workers.clone(), count: self.count, info: self.info.clone() }
    }

    /// Lets the threads end, and waits for them.
    pub fn stop(self) {
        self.workers.close();
        self.pool.join();
    }
}

/// The embedder of a running server, for work that its questions overtake.
#[derive(Clone)]
pub struct SharedEmbedder {
    pub(super) workers: EmbeddingWorkers,
    pub(super) count: usize,
    /// What it is.
    pub info: EmbedderInfo,
}

/// What an embedder says of itself once it is built, and its counter of tokens.
#[derive(Clone)]
struct LoadedEmbedder {
    info: EmbedderInfo,
    counter: OnnxTokenCounter,
}

/// An embedder whose model loads.
pub(super) struct StartingEmbedding {
    starting: StartingEmbeddingWorkers,
    loaded: Arc<OnceLock<LoadedEmbedder>>,
    count: usize,
}

/// Begins to load the configured embedder, `default_workers` times where the configuration does not say; `queue` batches may wait
/// for it.
///
/// # Errors
/// A model file that is missing, with the command that mends it; arithmetic that this processor lacks.
pub(super) fn start(
    config: &Config,
    default_workers: usize,
    queue: usize,
    telemetry: &Arc<dyn Telemetry>,
) -> anyhow::Result<StartingEmbedding> {
    let (count, threads) = embed_layout(config, default_workers);
    let models = ModelsDir::new(&config.models_dir);
    let mut embedder = OnnxConfig::new(embedder_folder(config)?, models.resolve_runtime(config.device)?);
    embedder.device = config.device.into();
    embedder.intra_threads = threads;
    embedder.arithmetic = config.embed_arithmetic.on_this_machine()?;
    let loaded = Arc::new(OnceLock::new());
    let factory: Factory<BoxedEmbedder> = {
        let loaded = loaded.clone();
        Arc::new(move || {
            let built = OnnxEmbedder::load(&embedder)?;
            // Every worker loads the same files, so the first description stands for all.
            loaded.get_or_init(|| LoadedEmbedder { info: built.info().clone(), counter: built.token_counter() });
            Ok(Box::new(built))
        })
    };
    let starting = EmbeddingWorkers::start(&factory, count, queue, RestartBudget::default(), telemetry)?;
    Ok(StartingEmbedding { starting, loaded, count })
}

impl StartingEmbedding {
    /// Waits for the model.
    ///
    /// # Errors
    /// Its load failure.
    pub(super) fn ready(self) -> anyhow::Result<Embedding> {
        let (workers, _, pool) = self.starting.ready()?;
        let LoadedEmbedder { info, counter } =
            self.loaded.get().cloned().context("the embedder did not say what it is")?;
        Ok(Embedding { workers, count: self.count, info, counter, pool })
    }
}

/// The folder of the embedder's files.
///
/// # Errors
/// When there is none, with the command that mends it.
pub(super) fn embedder_folder(config: &Config) -> anyhow::Result<PathBuf> {
    Ok(ModelsDir::new(&config.models_dir).resolve_embedder(none_if_empty(&config.embedder))?)
}

/// Embedding workers and their threads each, from the configuration; `default_workers` where it does not say.
fn embed_layout(config: &Config, default_workers: usize) -> (usize, usize) {
    let workers = if config.embed_workers == 0 { default_workers } else { config.embed_workers };
    let threads = if config.embed_threads == 0 { cores().div_ceil(workers) } else { config.embed_threads };
    (workers, threads)
}

/// An embedder at work on bulk text.
///
/// # Errors
/// A model file that is missing or damaged, with the command that mends it.
pub fn for_embedding(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Embedding> {
    // A worker a core with one thread each embeds 1.3 times as fast as one worker with a thread a core (measured on two).
    start(config, cores(), INGEST_QUEUE, telemetry)?.ready()
}

/// What a store made with the configured embedder would know of it.
///
/// # Errors
/// A model file that is missing or damaged, with the command that mends it.
pub fn embedder_identity(config: &Config) -> anyhow::Result<StoreIdentity> {
    let telemetry: Arc<dyn Telemetry> = Arc::new(Silent);
    let embedding = start(config, 1, 1, &telemetry)?.ready()?;
    let identity = identity(&embedding.info);
    embedding.stop();
    Ok(identity)
}

/// Embeds one text with the pool's own workers.
///
/// # Errors
/// When the embedder fails.
pub async fn embed_one(embedding: &Embedding, text: &str) -> Result<Vec<f32>, EngineError> {
    let lost = || EngineError::WorkerLost("embed");
    let answer = embedding.workers.submit_bulk(vec![text.to_owned()])?;
    answer.await.map_err(|_| lost())??.pop().ok_or_else(lost)
}
