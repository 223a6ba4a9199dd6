//! Connects engines to one server.

use std::sync::{Arc, OnceLock};

use mentor_actors::domain::EngineError;
use mentor_actors::ports::{Factory, GenerationEngine};

use super::config::{RemoteConfig, RemoteInfo};
use super::engine::RemoteEngine;

/// Where engines of one server come from.
#[derive(Debug, Clone)]
pub struct RemoteSource {
    config: RemoteConfig,
    info: Arc<OnceLock<RemoteInfo>>,
}

impl RemoteSource {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(config: RemoteConfig) -> Self {
        Self { config, info: Arc::default() }
    }

    /// What the first engine found at the server; `None` before it was built.
    #[must_use]
    pub fn info(&self) -> Option<RemoteInfo> {
        self.info.get().cloned()
    }

    /// Builds an engine on the thread that will own it.
    ///
    /// # Errors
    /// As [`RemoteEngine::connect`].
    pub fn build(&self) -> Result<RemoteEngine, EngineError> {
        let engine = RemoteEngine::connect(&self.config)?;
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
