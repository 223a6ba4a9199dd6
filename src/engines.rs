//! From the configuration to running engines and actors: the only place that names engines and actors together.

mod arithmetic;
mod reranking;
mod values;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use anyhow::{Context as _, bail};
use mentor_actors::admission::{Admission, Bounds};
use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::cancel::CancelToken;
use mentor_actors::conversations::{ConversationSettings, ConversationsActor};
use mentor_actors::domain::{EngineError, Found};
use mentor_actors::embedding::{BoxedEmbedder, EmbeddingPoolActor, EmbeddingWorkers, StartingEmbeddingWorkers};
use mentor_actors::fake_engine::{FakeEngine, FakeSettings};
use mentor_actors::generation::{BoxedEngine, GenerationWorker, GeneratorActor, StartingGenerationWorker};
use mentor_actors::health::Pulse;
use mentor_actors::memory_store::MemoryStore;
use mentor_actors::ports::{Extractor, Factory, Retriever, Sampling, SearchQuery};
use mentor_actors::reranking::Reranking;
use mentor_actors::retrieval::{RetrieverActor, search};
use mentor_actors::storage::{BoxedStore, Storage};
use mentor_actors::supervision::Watchdog;
use mentor_actors::telemetry::{Silent, Telemetry};
use mentor_actors::turn::{TurnServices, TurnSettings};
use mentor_actors::workers::{RestartBudget, WorkerHealth, WorkerPool};
use mentor_engines::chunk::{CHUNKER_VERSION, ChunkOptions, SentenceChunker};
use mentor_engines::extract::FileExtractor;
use mentor_engines::extract::reader::{DocumentReader, ReaderLimits};
use mentor_engines::extract::recognition::{RecognitionLimits, TextRecognition};
use mentor_engines::lance::{LanceCorpus, LanceRetriever, ReaderOptions, Replacement, StoreIdentity};
use mentor_engines::llama::{GpuLayers, LlamaConfig, LlamaDecoder, LlamaInfo, LlamaSource, SamplingPreferences};
use mentor_engines::onnx::{EmbedderInfo, OnnxConfig, OnnxEmbedder, OnnxTokenCounter};
use mentor_engines::remote::{RemoteConfig, RemoteInfo, RemoteSource, ServerAddress};
use mentor_engines::sqlite::{RESTORED, SqliteConversations};

use crate::config::{AS_MANY_AS_FIT, Config, OrAuto};
use crate::documents::StoredDocuments;
use crate::http::{EmbeddingDoor, ModelNames, Problem};
use crate::ingest::{IngestParts, readers};
use crate::models::ModelsDir;
pub use reranking::LoadedReranker;
use reranking::StartingReranker;

/// Batches that may wait for the embedding workers during an ingest: enough that they never wait for the next one.
const INGEST_QUEUE: usize = 16;

/// What an embedder is loaded from.
struct EmbedderFiles {
    folder: PathBuf,
    runtime: PathBuf,
}

fn none_if_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn embedder_files(config: &Config) -> anyhow::Result<EmbedderFiles> {
    let models = ModelsDir::new(&config.models_dir);
    Ok(EmbedderFiles {
        folder: models.resolve_embedder(none_if_empty(&config.embedder))?,
        runtime: models.resolve_runtime(config.device)?,
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Embedding workers and their threads each, from the configuration; `default_workers` where it does not say.
fn embed_layout(config: &Config, default_workers: usize) -> (usize, usize) {
    let workers = if config.embed_workers == 0 { default_workers } else { config.embed_workers };
    let threads = if config.embed_threads == 0 { cores().div_ceil(workers) } else { config.embed_threads };
    (workers, threads)
}

/// What an embedder says of itself once it is built, and its counter of tokens.
#[derive(Clone)]
struct LoadedEmbedder {
    info: EmbedderInfo,
    counter: OnnxTokenCounter,
}

fn start_embedding(
    config: &Config,
    files: &EmbedderFiles,
    default_workers: usize,
    queue: usize,
    telemetry: &Arc<dyn Telemetry>,
) -> anyhow::Result<(StartingEmbeddingWorkers, Arc<OnceLock<LoadedEmbedder>>, usize)> {
    let (workers, threads) = embed_layout(config, default_workers);
    let mut embedder = OnnxConfig::new(&files.folder, &files.runtime);
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
    let starting = EmbeddingWorkers::start(&factory, workers, queue, RestartBudget::default(), telemetry)?;
    Ok((starting, loaded, workers))
}

/// What a store made with this embedder knows of it.
#[must_use]
pub fn identity(info: &EmbedderInfo) -> StoreIdentity {
    StoreIdentity {
        embedder: info.model_id.clone(),
        dimension: info.dimension,
        pooling: info.pooling.to_string(),
        max_tokens: info.max_tokens,
        chunker_version: CHUNKER_VERSION,
        tokenizer: Some(info.tokenizer.clone()),
    }
}

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
    /// Lets the threads end, and waits for them.
    pub fn stop(self) {
        self.workers.close();
        self.pool.join();
    }
}

fn finish_embedding(
    starting: StartingEmbeddingWorkers,
    loaded: &OnceLock<LoadedEmbedder>,
    count: usize,
) -> anyhow::Result<Embedding> {
    let (workers, _, pool) = starting.ready()?;
    let LoadedEmbedder { info, counter } = loaded.get().cloned().context("the embedder did not say what it is")?;
    Ok(Embedding { workers, count, info, counter, pool })
}

/// An embedder at work on bulk text, with the counter of its tokens.
///
/// # Errors
/// A model file that is missing or damaged, with the command that mends it.
pub fn for_embedding(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<(Embedding, OnnxTokenCounter)> {
    let files = embedder_files(config)?;
    // A worker a core with one thread each embeds 1.3 times as fast as one worker with a thread a core (measured on two).
    let (starting, loaded, count) = start_embedding(config, &files, cores(), INGEST_QUEUE, telemetry)?;
    let embedding = finish_embedding(starting, &loaded, count)?;
    let counter = embedding.counter.clone();
    Ok((embedding, counter))
}

/// What a store made with the configured embedder would know of it.
///
/// # Errors
/// A model file that is missing or damaged, with the command that mends it.
pub fn embedder_identity(config: &Config) -> anyhow::Result<StoreIdentity> {
    let telemetry: Arc<dyn Telemetry> = Arc::new(Silent);
    let (starting, loaded, count) = start_embedding(config, &embedder_files(config)?, 1, 1, &telemetry)?;
    let embedding = finish_embedding(starting, &loaded, count)?;
    let identity = identity(&embedding.info);
    embedding.stop();
    Ok(identity)
}

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
    let (embedding, counter) = for_embedding(config, telemetry)?;
    let chunker = Arc::new(chunker(config, counter, &embedding.info));
    let extractor = Arc::new(extractor(config, CancelToken::default())?);
    Ok(IngestEngines { embedding, extractor, readers: readers(cores()), chunker })
}

/// Chunks that a job of a running server hands to the embedder at once: a question that comes meanwhile waits for them, which is
/// about a tenth of a second on two cores.
const CHUNKS_BETWEEN_QUESTIONS: usize = 4;

/// The embedder of a running server, for work that its questions overtake.
#[derive(Clone)]
pub struct SharedEmbedder {
    workers: EmbeddingWorkers,
    count: usize,
    /// What it is.
    pub info: EmbedderInfo,
}

impl Embedding {
    /// The same workers, for bulk work beside questions.
    #[must_use]
    pub fn share(&self) -> SharedEmbedder {
        SharedEmbedder { workers: self.workers.clone(), count: self.count, info: self.info.clone() }
    }
}

/// What an ingest in a running server works with; `cancel` ends the reading of a file.
///
/// # Errors
/// A tokenizer that is missing or damaged; text recognition that is configured and not installed.
pub fn for_job(config: &Config, embedder: &SharedEmbedder, cancel: &CancelToken) -> anyhow::Result<IngestParts> {
    let counter = OnnxTokenCounter::load(&embedder_files(config)?.folder)?;
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

/// First argument that makes the program read one document, in a process of its own, instead of a command.
pub const READ_DOCUMENT: &str = "read-document";

/// Longest time that text recognition may take for a page; a dense one takes about ten seconds on a slow core.
const RECOGNITION_TIME: Duration = Duration::from_secs(60);
/// Longest time that it may take for a file: more than a thousand pages on a slow core.
const RECOGNITION_FILE_TIME: Duration = Duration::from_secs(4 * 3_600);

fn extractor(config: &Config, cancel: CancelToken) -> anyhow::Result<FileExtractor> {
    let program = std::env::current_exe().context("cannot find the program's own file")?;
    let memory_bytes = config.extract_memory_mb << 20;
    let page_time = Duration::from_secs(config.extract_page_s);
    let limits = ReaderLimits { memory_bytes, page_time, max_pages: config.max_pages, ..ReaderLimits::default() };
    let of_recognition =
        RecognitionLimits { page_time: RECOGNITION_TIME, file_time: RECOGNITION_FILE_TIME, memory_bytes };
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        TextRecognition::find(&path, &config.ocr_languages, of_recognition).map_err(anyhow::Error::msg)
    };
    let recognition = config.ocr.then(find).transpose()?;
    let reader = DocumentReader { program, arguments: vec![READ_DOCUMENT.into()], limits, recognition, cancel };
    Ok(FileExtractor::new(config.max_file_mb << 20).with_reader(reader))
}

/// Opens the store for writing.
///
/// # Errors
/// When another process writes to it, or it was made with another embedder.
pub fn open_corpus(config: &Config, info: &EmbedderInfo) -> Result<LanceCorpus, EngineError> {
    Ok(configured(LanceCorpus::open(&config.data_dir, &identity(info))?, config))
}

/// Opens the store that a replacement builds.
///
/// # Errors
/// When the folder cannot be used.
pub fn open_replacement(
    config: &Config,
    replacement: &Replacement,
    identity: &StoreIdentity,
) -> Result<LanceCorpus, EngineError> {
    Ok(configured(LanceCorpus::open(replacement.building(), identity)?, config))
}

/// The right to replace the store. Conversations that a killed restore left in it are taken in first: they would go with it.
///
/// # Errors
/// When another process writes to the store, or those conversations are damaged or in use.
pub fn begin_replacement(config: &Config) -> anyhow::Result<Replacement> {
    let replacement = Replacement::begin(&config.data_dir)?;
    if config.data_dir.join(RESTORED).exists() {
        drop(SqliteConversations::open(&config.data_dir).context("a restore that was killed must be ended first")?);
    }
    Ok(replacement)
}

/// Opens the store for upkeep, whatever its embedder.
///
/// # Errors
/// When another process writes to it, or there is none.
pub fn open_stored_corpus(config: &Config) -> Result<LanceCorpus, EngineError> {
    Ok(configured(LanceCorpus::open_stored(&config.data_dir)?, config))
}

/// A store that is kept up as the configuration wants it.
fn configured(corpus: LanceCorpus, config: &Config) -> LanceCorpus {
    corpus.keeping(config.keep_versions).indexed_from(config.index_from)
}

fn open_store(config: &Config, info: &EmbedderInfo) -> Result<Arc<dyn Retriever>, EngineError> {
    Ok(Arc::new(LanceRetriever::open(&config.data_dir, &identity(info), reader_options(config))?))
}

/// What a reader of the store may hold in memory.
#[must_use]
pub fn reader_options(config: &Config) -> ReaderOptions {
    ReaderOptions {
        index_cache_bytes: config.index_cache_mb << 20,
        metadata_cache_bytes: config.metadata_cache_mb << 20,
        max_resident_rows: config.resident_passages,
    }
}

/// What is searched for before anybody asks. Words of every course, so that lists of its terms are read.
const WARMING_QUESTION: &str = "What is an example of this, and how does it work?";
/// A start is not held up longer for it.
const WARMING_LIMIT: Duration = Duration::from_secs(10);

/// The retrieval half of the program: embedding and store, without a generator.
pub struct Retrieval {
    /// Embeds questions.
    pub embedding: Embedding,
    /// Holds passages.
    pub store: Arc<dyn Retriever>,
    /// Looks at what was found a second time, where one is configured.
    pub reranker: Option<LoadedReranker>,
}

impl Retrieval {
    /// An actor in front of the store, and of the reranker where there is one.
    #[must_use]
    pub fn retriever(&self, config: &Config, telemetry: &Arc<dyn Telemetry>, pulse: Arc<Pulse>) -> RetrieverActor {
        let (running, waiting) = (config.search_parallel, config.search_queue);
        RetrieverActor::new(self.store.clone(), running, waiting, telemetry.clone(), pulse).reranked(self.reranking())
    }

    /// What that actor does for a search, without it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn search(&self, query: SearchQuery) -> Result<Found, EngineError> {
        search(&self.store, self.reranking().as_ref(), &query).await
    }

    fn reranking(&self) -> Option<Reranking> {
        self.reranker.as_ref().map(|loaded| loaded.reranking.clone())
    }

    /// Embeds a question and searches for it, so that the first one that is asked finds everything in memory. Nothing depends
    /// on it: a store or an embedder with a fault of its own says so elsewhere.
    pub async fn warm_up(&self, config: &Config) {
        let warming = async {
            let embedding = embed_one(&self.embedding, WARMING_QUESTION).await?;
            let text = WARMING_QUESTION.to_owned();
            let (top_k, context_chars) = (config.top_k, context_chars(config));
            self.store.search(SearchQuery { text, embedding, top_k, context_chars, documents: Vec::new() }).await
        };
        match tokio::time::timeout(WARMING_LIMIT, warming).await {
            Ok(Ok(_)) => tracing::info!("embedder and store are warm"),
            Ok(Err(error)) => tracing::warn!(%error, "the first search will be slow"),
            Err(_) => tracing::warn!("the first search will be slow: a trial took more than {WARMING_LIMIT:?}"),
        }
    }

    /// Lets its threads end, and waits for them.
    pub fn stop(self) {
        self.embedding.stop();
        if let Some(reranker) = self.reranker {
            reranker.stop();
        }
    }
}

/// Builds embedder and store.
///
/// # Errors
/// A model file that is missing or damaged; a store of another embedder.
pub fn for_retrieval(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Retrieval> {
    let files = embedder_files(config)?;
    let (starting, loaded, count) = start_embedding(config, &files, 1, config.embed_queue, telemetry)?;
    let reranker = reranking::start(config, telemetry)?;
    let embedding = finish_embedding(starting, &loaded, count)?;
    let reranker = reranker.map(StartingReranker::ready).transpose()?;
    let store = open_store(config, &embedding.info)?;
    Ok(Retrieval { embedding, store, reranker })
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

/// What a generator says of itself, wherever it computes. Its text form is one line for people.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratorInfo {
    /// The model's name.
    pub name: String,
    /// What computes: `cpu`, `cuda`, `remote`, or [`FAKE_BACKEND`].
    pub backend: String,
    /// How the model wants its tokens chosen. A server keeps that to itself.
    pub sampling: SamplingPreferences,
    description: String,
}

impl fmt::Display for GeneratorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl From<LlamaInfo> for GeneratorInfo {
    fn from(info: LlamaInfo) -> Self {
        Self { description: info.to_string(), name: info.name, backend: info.backend, sampling: info.sampling }
    }
}

impl From<RemoteInfo> for GeneratorInfo {
    fn from(info: RemoteInfo) -> Self {
        let (description, sampling) = (info.to_string(), SamplingPreferences::default());
        Self { description, name: info.model, backend: "remote".to_owned(), sampling }
    }
}

/// What computes where nothing does: see [`for_load`].
pub const FAKE_BACKEND: &str = "fake-generator";

impl From<FakeSettings> for GeneratorInfo {
    fn from(fake: FakeSettings) -> Self {
        let description = format!(
            "FAKE: no model, {} words a second in each of {} answers, for load tests",
            fake.tokens_per_second, fake.slots
        );
        let name = "FAKE GENERATOR (no model)".to_owned();
        Self { name, backend: FAKE_BACKEND.to_owned(), sampling: SamplingPreferences::default(), description }
    }
}

/// Where the generator's engines come from.
enum GeneratorSource {
    Llama(LlamaSource),
    Remote(RemoteSource),
    Fake(FakeSettings),
}

impl GeneratorSource {
    fn from_config(config: &Config) -> anyhow::Result<Self> {
        Ok(match config.llm_server() {
            Some(address) => Self::Remote(RemoteSource::new(remote_config(config, address?))),
            None => Self::Llama(LlamaSource::new(llama_config(config)?)),
        })
    }

    fn factory(&self, config: &Config, telemetry: &Arc<dyn Telemetry>) -> Factory<BoxedEngine> {
        match self {
            Self::Llama(source) => batched(source, batch_settings(config), telemetry),
            Self::Remote(source) => source.factory(),
            Self::Fake(settings) => {
                let settings = *settings;
                Arc::new(move || Ok(Box::new(FakeEngine::new(settings)?)))
            }
        }
    }

    fn problem(&self) -> Option<Problem> {
        let Self::Remote(source) = self else { return None };
        let source = source.clone();
        Some(Arc::new(move || source.problem()))
    }

    /// `None` before the first engine was built.
    fn info(&self) -> Option<GeneratorInfo> {
        match self {
            Self::Llama(source) => source.info().map(Into::into),
            Self::Remote(source) => source.info().map(Into::into),
            Self::Fake(settings) => Some((*settings).into()),
        }
    }
}

/// The running generator, with what it says of itself.
pub struct Generator {
    /// Its queue.
    pub worker: GenerationWorker,
    /// What it is.
    pub info: GeneratorInfo,
    /// What of it is outside of this process.
    pub problem: Option<Problem>,
    pool: WorkerPool,
}

impl Generator {
    /// Lets its thread end, and waits for it.
    pub fn stop(self) {
        self.worker.close();
        self.pool.join();
    }
}

/// The configured generator without actors and queues. Its model is loaded once.
pub struct BareGenerator {
    source: GeneratorSource,
    config: Config,
}

impl BareGenerator {
    /// Nothing is loaded yet.
    ///
    /// # Errors
    /// A model that is missing, with the command that mends it.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { source: GeneratorSource::from_config(config)?, config: config.clone() })
    }

    /// The engine.
    ///
    /// # Errors
    /// A model that cannot be loaded; a server that does not answer.
    pub fn engine(&self, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<BoxedEngine> {
        Ok(self.source.factory(&self.config, telemetry)()?)
    }

    /// What the engine stands on, where it computes here.
    ///
    /// # Errors
    /// As `engine`.
    pub fn decoder(&self) -> anyhow::Result<Option<LlamaDecoder>> {
        match &self.source {
            GeneratorSource::Llama(source) => Ok(Some(source.build()?)),
            GeneratorSource::Remote(_) | GeneratorSource::Fake(_) => Ok(None),
        }
    }

    /// What it is; empty before the first engine was made.
    #[must_use]
    pub fn name(&self) -> String {
        self.source.info().map_or_else(String::new, |info| info.to_string())
    }
}

/// The configured generator behind its queue, without anything else.
///
/// # Errors
/// As [`BareGenerator`].
pub fn for_generation(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Generator> {
    let source = GeneratorSource::from_config(config)?;
    finish_generator(config, start_generator(&source, config, telemetry)?, &source)
}

/// Everything that answers questions.
pub struct Tutor {
    /// Embedding and store.
    pub retrieval: Retrieval,
    /// The generator.
    pub generator: Generator,
}

/// Builds embedder, store and generator; the models load at the same time.
///
/// # Errors
/// A model file that is missing or damaged; a store of another embedder; a model that does not fit the configuration.
pub fn for_answers(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Tutor> {
    answers_from(&GeneratorSource::from_config(config)?, config, telemetry)
}

/// Builds embedder and store, and in the generator's place one that writes so many words a second in each of the configured
/// slots: everything but the model is loaded as it would be.
///
/// # Errors
/// As [`for_answers`], without what is about models; a rate that makes no sense.
pub fn for_load(config: &Config, tokens_per_second: f64, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Tutor> {
    let (slots, context_tokens) = (config.slots, config.context_tokens);
    answers_from(&GeneratorSource::Fake(FakeSettings { slots, context_tokens, tokens_per_second }), config, telemetry)
}

fn answers_from(source: &GeneratorSource, config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Tutor> {
    let starting_generator = start_generator(source, config, telemetry)?;
    let retrieval = for_retrieval(config, telemetry)?;
    let generator = finish_generator(config, starting_generator, source)?;
    Ok(Tutor { retrieval, generator })
}

fn start_generator(
    source: &GeneratorSource,
    config: &Config,
    telemetry: &Arc<dyn Telemetry>,
) -> anyhow::Result<StartingGenerationWorker> {
    let factory = source.factory(config, telemetry);
    Ok(GenerationWorker::start(&factory, config.max_turns, RestartBudget::default(), telemetry)?)
}

fn llama_config(config: &Config) -> anyhow::Result<LlamaConfig> {
    let models = ModelsDir::new(&config.models_dir);
    let mut llama = LlamaConfig::new(models.resolve_llm(none_if_empty(&config.llm), config.generator_device())?);
    llama.context_tokens = config.context_tokens;
    llama.slots = config.slots;
    llama.cells = config.kv_cells;
    llama.batch_tokens = config.batch_tokens.given();
    llama.split_mode = config.split_mode.into();
    llama.flash_attention = config.flash_attention.into();
    llama.kv_type_k = config.kv_type_k.into();
    llama.kv_type_v = config.kv_type_v.into();
    llama.device = config.device.into();
    llama.gpu_layers = match config.gpu_layers {
        AS_MANY_AS_FIT => GpuLayers::Auto,
        0 => GpuLayers::None,
        layers => GpuLayers::Count(u32::try_from(layers).with_context(|| format!("gpu_layers = {layers}"))?),
    };
    if config.threads > 0 {
        llama.threads = config.threads;
    }
    Ok(llama)
}

fn remote_config(config: &Config, address: ServerAddress) -> RemoteConfig {
    RemoteConfig {
        model: none_if_empty(&config.llm_model).map(ToOwned::to_owned),
        api_key: config.llm_api_key.clone(),
        parallel: config.llm_parallel,
        context_tokens: config.context_tokens,
        connect_timeout: Duration::from_secs(config.llm_connect_s),
        first_token_timeout: Duration::from_secs(config.llm_first_token_s),
        idle_timeout: Duration::from_secs(config.llm_idle_s),
        ..RemoteConfig::new(address)
    }
}

/// A factory of engines that batch all conversations on one decoder.
fn batched(source: &LlamaSource, settings: BatchSettings, telemetry: &Arc<dyn Telemetry>) -> Factory<BoxedEngine> {
    let (source, telemetry) = (source.clone(), telemetry.clone());
    Arc::new(move || Ok(Box::new(BatchEngine::new(source.build()?, settings, telemetry.clone()))))
}

fn batch_settings(config: &Config) -> BatchSettings {
    BatchSettings { state_bytes: config.state_cache_mb << 20, draft_tokens: config.draft_tokens }
}

fn finish_generator(
    config: &Config,
    starting: StartingGenerationWorker,
    source: &GeneratorSource,
) -> anyhow::Result<Generator> {
    let (worker, shape, pool) = starting.ready()?;
    let info = source.info().context("the generator did not say what it is")?;
    if config.prompt_tokens + config.max_tokens > shape.context_tokens {
        bail!(
            "{} reads {} tokens: prompt_tokens ({}) and max_tokens ({}) must fit in them",
            info.name,
            shape.context_tokens,
            config.prompt_tokens,
            config.max_tokens
        );
    }
    Ok(Generator { worker, info, problem: source.problem(), pool })
}

/// The thread that keeps conversations.
pub struct ConversationKeeper {
    /// The way to it.
    pub storage: Storage,
    /// `None` when it could not open its store.
    pool: Option<WorkerPool>,
}

impl ConversationKeeper {
    /// Keeps conversations in the data folder. A store that cannot be opened is a problem of readiness, not of the start.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn in_data_dir(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Self> {
        let data_dir = config.data_dir.clone();
        let factory: Factory<BoxedStore> = Arc::new(move || Ok(Box::new(SqliteConversations::open(&data_dir)?)));
        Self::start(&factory, telemetry)
    }

    /// Keeps conversations for as long as this process lives.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn in_memory(telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Self> {
        let store = MemoryStore::default();
        let factory: Factory<BoxedStore> = Arc::new(move || Ok(Box::new(store.clone())));
        Self::start(&factory, telemetry)
    }

    fn start(factory: &Factory<BoxedStore>, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Self> {
        let (storage, pool) = Storage::start(factory, RestartBudget::default(), telemetry)?;
        Ok(Self { storage, pool })
    }

    /// Lets the thread end after what it is doing, and waits for it.
    pub fn stop(self) {
        self.storage.close();
        if let Some(pool) = self.pool {
            pool.join();
        }
    }
}

/// The actors of a tutor. Must be started inside an actix system.
pub struct Actors {
    /// Finds conversations.
    pub conversations: Addr<ConversationsActor>,
    /// Lets turns in, those of conversations and others; closed when the server stops.
    pub admission: Admission,
    /// What turns ask.
    pub services: TurnServices,
    /// Of each actor that there is one of.
    pub health: Vec<Arc<WorkerHealth>>,
}

impl Tutor {
    /// Starts the actors in front of the engines.
    #[must_use]
    pub fn start_actors(&self, config: &Config, storage: &Storage, telemetry: &Arc<dyn Telemetry>) -> Actors {
        let Retrieval { embedding, store, .. } = &self.retrieval;
        let watchdogs @ [embedding_pool, retriever, generator, directory] =
            &["embedding-pool", "retriever", "generator", "directory"].map(|name| Watchdog::of_one(name, telemetry));
        let search = self.retrieval.retriever(config, telemetry, retriever.health().pulse());
        let services = TurnServices {
            embedding: embedding_pool.start(EmbeddingPoolActor::new(embedding.workers.clone())),
            retriever: retriever.start(search),
            generator: generator.start(GeneratorActor::new(self.generator.worker.clone())),
            telemetry: telemetry.clone(),
            settings: Arc::new(turn_settings(config, &self.generator.info.sampling)),
            documents: Arc::new(StoredDocuments::new(store.clone())),
            cut_off: CancelToken::default(),
        };
        let admission = Admission::new(bounds(config), self.generator.worker.outlook(), telemetry.clone());
        let settings = conversation_settings(config);
        let conversations = ConversationsActor::new(services.clone(), admission.clone(), storage.clone(), settings);
        let health = watchdogs.iter().map(Watchdog::health).collect();
        Actors { conversations: directory.start(conversations), services, admission, health }
    }

    /// What the program says of its models.
    #[must_use]
    pub fn names(&self) -> ModelNames {
        let (embedder, generator) = (&self.retrieval.embedding.info, &self.generator.info);
        ModelNames {
            generator: generator.name.clone(),
            embedder: embedder.model_id.clone(),
            execution_provider: embedder.execution_provider.to_string(),
            generation_backend: generator.backend.to_string(),
        }
    }

    /// What a client that wants vectors is told and held to.
    #[must_use]
    pub fn embedding_door(&self) -> EmbeddingDoor {
        let Embedding { info, counter, .. } = &self.retrieval.embedding;
        EmbeddingDoor::new(Arc::new(counter.clone()), info.dimension, info.max_tokens)
    }

    /// The workers' health.
    #[must_use]
    pub fn health(&self) -> Vec<Arc<WorkerHealth>> {
        let reranker = self.retrieval.reranker.as_ref().map(|loaded| loaded.reranking.health());
        let others = [self.retrieval.embedding.workers.health(), self.generator.worker.health()];
        others.into_iter().chain(reranker).collect()
    }

    /// Lets all threads end, and waits for them.
    pub fn stop(self) {
        self.generator.stop();
        self.retrieval.stop();
    }
}

/// How much text of passages fits a prompt, in characters.
#[must_use]
pub fn context_chars(config: &Config) -> usize {
    /// Characters of a token of the generator's: a little fewer than on average, for what does not fit is left out whole.
    const TOKEN_CHARS: usize = 3;
    /// Tokens of the prompt that are no passage: instructions, question, names of files.
    const OTHER_TOKENS: usize = 120;
    config.prompt_tokens.saturating_sub(OTHER_TOKENS) * TOKEN_CHARS
}

/// What may be in the program at once.
fn bounds(config: &Config) -> Bounds {
    let prompt_tokens = match config.max_queued_tokens {
        0 => config.max_turns.saturating_mul(config.prompt_tokens),
        tokens => tokens,
    };
    Bounds { turns: config.max_turns, prompt_tokens, client_percent: config.client_share_percent }
}

fn conversation_settings(config: &Config) -> ConversationSettings {
    const DAY: u64 = 24 * 3_600;
    let days = config.keep_conversations_days;
    ConversationSettings {
        limit: config.max_conversations,
        idle_after: Duration::from_secs(config.conversation_idle_s),
        keep: (days > 0).then(|| Duration::from_secs(days.saturating_mul(DAY))),
    }
}

/// What the configuration and the model decide about turns.
#[must_use]
pub fn turn_settings(config: &Config, preferences: &SamplingPreferences) -> TurnSettings {
    TurnSettings {
        top_k: config.top_k,
        context_chars: context_chars(config),
        min_score: config.min_score,
        system_prompt: config.system_prompt.clone(),
        prompt_tokens: config.prompt_tokens,
        max_tokens: config.max_tokens,
        sampling: sampling(config, preferences),
        history_turns: config.history_turns,
        time_limit: Duration::from_secs(config.turn_time_limit_s),
    }
}

/// How tokens are chosen where a question does not say: as configured, else as the model's file recommends, else as is best for
/// small models that answer from passages.
#[must_use]
pub fn sampling(config: &Config, preferences: &SamplingPreferences) -> Sampling {
    let choose = |given: OrAuto<f32>, own: Option<f32>, ours| given.given().or(own).unwrap_or(ours);
    let count = |given: OrAuto<usize>, own: Option<i32>, ours| {
        given.given().map_or(own.unwrap_or(ours), |given| i32::try_from(given).unwrap_or(i32::MAX))
    };
    Sampling {
        temperature: choose(config.temperature, preferences.temperature, 0.0),
        top_p: choose(config.top_p, preferences.top_p, 0.9),
        top_k: count(config.sampling_top_k, preferences.top_k, 40),
        min_p: choose(config.min_p, preferences.min_p, 0.05),
        repeat_penalty: choose(config.repeat_penalty, preferences.repeat_penalty, 1.1),
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repeat_last_tokens: count(config.repeat_last_tokens, preferences.repeat_last_tokens, 128),
        dry_multiplier: config.dry_multiplier,
        seed: config.seed,
        logit_bias: Vec::new(),
        grammar: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_says_of_the_store_is_what_was_measured_for_it() {
        assert_eq!(Config::default().index_from, mentor_engines::lance::INDEX_FROM);
        assert_eq!(reader_options(&Config::default()), ReaderOptions::default());
        let config = Config { index_cache_mb: 1, metadata_cache_mb: 2, resident_passages: 3, ..Config::default() };
        let expected =
            ReaderOptions { index_cache_bytes: 1 << 20, metadata_cache_bytes: 2 << 20, max_resident_rows: 3 };
        assert_eq!(reader_options(&config), expected);
    }

    #[test]
    fn sampling_is_what_was_configured_then_what_the_model_says_then_ours() {
        let config = Config { top_p: OrAuto::Is(0.5), ..Config::default() };
        let preferences = SamplingPreferences {
            temperature: Some(0.6),
            top_p: Some(0.95),
            top_k: Some(20),
            ..SamplingPreferences::default()
        };
        let chosen = sampling(&config, &preferences);
        assert_eq!((chosen.top_p, chosen.temperature, chosen.top_k), (0.5, 0.6, 20));
        assert_eq!((chosen.min_p, chosen.repeat_penalty, chosen.repeat_last_tokens), (0.05, 1.1, 128));
        let greedy = sampling(&Config { temperature: OrAuto::Is(0.0), ..config }, &preferences);
        assert_eq!(greedy.temperature, 0.0, "an explicit 0 beats the model");
        let (sampling_top_k, repeat_last_tokens) = (OrAuto::Is(0), OrAuto::Is(64));
        let given = sampling(&Config { sampling_top_k, repeat_last_tokens, ..Config::default() }, &preferences);
        assert_eq!((given.top_k, given.repeat_last_tokens), (0, 64));
    }
}
