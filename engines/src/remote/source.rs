//! Connects engines to one server.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mentor_actors::domain::EngineError;
use mentor_actors::ports::{Factory, GenerationEngine};

use super::breaker::BreakerWatch;
use super::config::{RemoteConfig, RemoteInfo};
use super::engine::RemoteEngine;

/// Where engines of one server come from.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    config: RemoteConfig,
    info: Arc<OnceLock<RemoteInfo>>,
    breaker: BreakerWatch,
}

impl RemoteSource {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(config: RemoteConfig) -> Self {
        Self { config, info: Arc::default(), breaker: BreakerWatch::default() }
    }

    /// What the first engine found at the server; `None` before it was built.
    #[must_use]
    pub fn info(&self) -> Option<RemoteInfo> {
        self.info.get().cloned()
    }

    /// Why the server is not asked now, if so: its breaker is open.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.breaker.problem(Instant::now()).map(|problem| format!("the remote server {problem}"))
    }

    /// Builds an engine on the thread that will own it.
    ///
    /// # Errors
    /// As [`RemoteEngine::connect`].
    pub fn build(&self) -> Result<RemoteEngine, EngineError> {
        let engine = RemoteEngine::connect_watched(&self.config, self.breaker.clone())?;
        self.info.get_or_init(|| engine.info());
        Ok(engine)
    }

    /// The same as a factory of the port.
    #[must_use]
    pub fn factory(&self) -> Factory<Box<dyn GenerationEngine>> {
        let source = self.clone();
        Arc::new(move || Ok(Box::new(source.build()?) as Box<dyn GenerationEngine>))
    }
}
