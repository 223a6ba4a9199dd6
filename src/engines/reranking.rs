//! The reranker, where the configuration names one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use mentor_actors::ports::Factory;
use mentor_actors::reranking::{BoxedReranker, RerankSettings, Reranking, StartingReranking};
use mentor_actors::telemetry::Telemetry;
use mentor_actors::workers::{RestartBudget, WorkerPool};
use mentor_engines::onnx::{OnnxConfig, OnnxReranker, RerankerInfo};

use super::cores;
use crate::config::Config;
use crate::models::ModelsDir;

/// Questions that may wait for the reranker; behind more, the patience below would be over before anything is read.
const QUEUE: usize = 8;

/// Longest that a question waits for a better order of its passages.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running reranker, with what it says of itself.
pub struct LoadedReranker {
    /// Its queue.
    pub reranking: Reranking,
    /// What it loaded.
    pub info: RerankerInfo,
    pool: WorkerPool,
}

impl LoadedReranker {
    /// Lets its thread end, and waits for it.
    pub fn stop(self) {
        self.reranking.close();
        self.pool.join();
    }
}

/// A reranker whose model loads.
pub(super) struct StartingReranker {
    starting: StartingReranking,
    info: Arc<OnceLock<RerankerInfo>>,
}

/// Begins to load the configured reranker; `None` where none is.
///
/// # Errors
/// A folder that holds no such model.
pub(super) fn start(config: &Config, telemetry: &Arc<dyn Telemetry>) -> anyhow::Result<Option<StartingReranker>> {
    if config.reranker.is_empty() {
        return Ok(None);
    }
    let models = ModelsDir::new(&config.models_dir);
    let mut model = OnnxConfig::new(models.resolve_reranker(&config.reranker)?, models.resolve_runtime(config.device)?);
    model.device = config.device.into();
    model.intra_threads = cores();
    let info = Arc::new(OnceLock::new());
    let factory: Factory<BoxedReranker> = {
        let info = info.clone();
        Arc::new(move || {
            let built = OnnxReranker::load(&model)?;
            info.get_or_init(|| built.info().clone());
            Ok(Box::new(built))
        })
    };
    let settings = RerankSettings { passages: config.rerank_passages, queue: QUEUE, patience: PATIENCE };
    let starting = Reranking::start(&factory, settings, RestartBudget::default(), telemetry)?;
    Ok(Some(StartingReranker { starting, info }))
}

impl StartingReranker {
    /// Waits for the model.
    ///
    /// # Errors
    /// Its load failure.
    pub(super) fn ready(self) -> anyhow::Result<LoadedReranker> {
        let (reranking, pool) = self.starting.ready()?;
        let info = self.info.get().cloned().context("the reranker did not say what it is")?;
        Ok(LoadedReranker { reranking, info, pool })
    }
}
