//! The generator: what is configured, where it computes, and what it says of itself.

mod settings;

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use mentor_actors::batching::{BatchEngine, BatchSettings};
use mentor_actors::fake_engine::{FakeEngine, FakeSettings};
use mentor_actors::generation::{BoxedEngine, GenerationWorker, StartingGenerationWorker};
use mentor_actors::ports::Factory;
use mentor_actors::telemetry::Telemetry;
use mentor_actors::workers::{RestartBudget, WorkerPool};
use mentor_engines::llama::{LlamaDecoder, LlamaInfo, LlamaSource, SamplingPreferences};
use mentor_engines::remote::{RemoteInfo, RemoteSource};

use self::settings::{batch_settings, llama_config, remote_config};
use crate::config::Config;
use crate::http::Problem;

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

/// What computes where nothing does: see [`for_load`](super::for_load).
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
pub(super) enum GeneratorSource {
    Llama(LlamaSource),
    Remote(RemoteSource),
    Fake(FakeSettings),
}

impl GeneratorSource {
    /// What the configuration names.
    ///
    /// # Errors
    /// A model that is missing, with the command that mends it; an address that is none.
    pub(super) fn from_config(config: &Config) -> anyhow::Result<Self> {
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

/// A factory of engines that batch all conversations on one decoder.
fn batched(source: &LlamaSource, settings: BatchSettings, telemetry: &Arc<dyn Telemetry>) -> Factory<BoxedEngine> {
    let (source, telemetry) = (source.clone(), telemetry.clone());
    Arc::new(move || Ok(Box::new(BatchEngine::new(source.build()?, settings, telemetry.clone()))))
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

/// A generator whose model loads.
pub(super) struct StartingGenerator<'a> {
    starting: StartingGenerationWorker,
    source: &'a GeneratorSource,
}

/// Begins to load the generator.
///
/// # Errors
/// When the system refuses a thread.
pub(super) fn start<'a>(
    source: &'a GeneratorSource,
    config: &Config,
    telemetry: &Arc<dyn Telemetry>,
) -> anyhow::Result<StartingGenerator<'a>> {
    let factory = source.factory(config, telemetry);
    let starting = GenerationWorker::start(&factory, config.max_turns, RestartBudget::default(), telemetry)?;
    Ok(StartingGenerator { starting, source })
}

impl StartingGenerator<'_> {
    /// Waits for the model.
    ///
    /// # Errors
    /// Its load failure; prompts and answers that are configured longer than it reads.
    pub(super) fn ready(self, config: &Config) -> anyhow::Result<Generator> {
        let Self { starting, source } = self;
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
}

/// The configured generator behind its queue, without anything else.
///
/// # Errors
/// As [`BareGenerator`].
pub fn for_generation(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Generator> {
    let source = GeneratorSource::from_config(config)?;
    start(&source, config, telemetry)?.ready(config)
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
