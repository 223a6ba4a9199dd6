//! Loads the model once and builds decoders on it.

use std::sync::{Arc, Mutex, PoisonError};

use mentor_actors::domain::EngineError;

use super::config::{LlamaConfig, LlamaInfo};
use super::decoder::LlamaDecoder;
use super::load::{LoadedModel, load_model};

/// Where decoders of one model come from.
///
/// The model is loaded when the first decoder is built and kept until the process ends: one that is rebuilt after a
/// crash costs a new context, not a second copy of the weights.
#[derive(Clone)]
pub struct LlamaSource {
    config: LlamaConfig,
    // The lock is held while a context is made too: making two at once on one model is unsound.
    loaded: Arc<Mutex<Option<&'static LoadedModel>>>,
}

impl LlamaSource {
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(config: LlamaConfig) -> Self {
        Self { config, loaded: Arc::default() }
    }

    /// What was loaded; `None` before the first decoder was built.
    #[must_use]
    pub fn info(&self) -> Option<LlamaInfo> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).map(|loaded| loaded.info.clone())
    }

    /// Builds a decoder on the thread that will own it.
    ///
    /// # Errors
    /// [`EngineError::Load`] with one line: the file is missing, damaged or of the wrong kind, the processor or the device
    /// is not there, the memory does not suffice.
    pub fn build(&self) -> Result<LlamaDecoder, EngineError> {
        let mut slot = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match *slot {
            Some(loaded) => loaded,
            None => {
                // Leaked once for each source, so that decoders can borrow it for as long as they like.
                let loaded: &'static LoadedModel = Box::leak(Box::new(load_model(&self.config)?));
                *slot.insert(loaded)
            }
        };
        LlamaDecoder::new(loaded, &loaded.config)
    }
}
