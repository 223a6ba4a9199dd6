//! The embedder behind the port: tokenise once, batch by length, run, restore the order.

use std::fs;
use std::sync::Arc;

use mentor_actors::domain::{Embedding, EngineError};
use mentor_actors::ports::Embedder;
use ort::environment::Environment;

use super::batch::{self, BatchPolicy};
use super::config::{EmbedderInfo, ExecutionProvider, OnnxConfig};
use super::folder::ModelFolder;
use super::model::Model;
use super::runtime;
use super::session::on_device;
use super::tokens::{self, OnnxTokenCounter, TextEncoder};

/// Operators of models that are quantised at run time. They have no CUDA kernels.
const CPU_ONLY_OPERATORS: [&[u8]; 2] = [b"MatMulInteger", b"DynamicQuantizeLinear"];

/// A sentence-transformers model in ONNX format. One run at a time; it lives on one worker thread.
pub struct OnnxEmbedder {
    model: Model,
    encoder: TextEncoder,
    counter: OnnxTokenCounter,
    policy: BatchPolicy,
    info: EmbedderInfo,
}

impl OnnxEmbedder {
    /// Loads the library (once per process), the tokenizer and the model, and embeds a word to see that they work.
    ///
    /// # Errors
    /// [`EngineError::Load`], one line that names the file and what to do, when any of them is missing, damaged or of
    /// the wrong kind, or when CUDA was asked for and cannot be had.
    pub fn load(config: &OnnxConfig) -> Result<Self, EngineError> {
        let folder = ModelFolder::open(config)?;
        let max_tokens = folder.settings.max_tokens;
        let tokenizer = tokens::load(&folder.tokenizer)?;
        let encoder = TextEncoder::new(Arc::clone(&tokenizer), max_tokens)?;
        let environment = runtime::environment(&config.runtime_library)?;
        let probe = probe(&encoder, config)?;
        let (model, dimension, execution_provider) = load_model(&environment, config, &folder, &probe)?;
        let (model_id, pooling) = (folder.model_id()?, model.pooling());
        let tokenizer_id = folder.tokenizer_id()?;
        let info =
            EmbedderInfo { model_id, tokenizer: tokenizer_id, dimension, max_tokens, pooling, execution_provider };
        tracing::info!(
            model = info.model_id, dimension, max_tokens, pooling = %info.pooling, device = %execution_provider,
            "embedding model loaded"
        );
        let policy = policy(execution_provider, config.tuning.batch_tokens);
        Ok(Self { model, encoder, counter: OnnxTokenCounter::new(tokenizer), policy, info })
    }

    /// What was loaded, and where it runs.
    #[must_use]
    pub fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    /// The vectors of each text's tokens, in order; those of special tokens are left out.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the model refuses the batch.
    pub(super) fn token_vectors<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<Vec<Vec<Embedding>>, EngineError> {
        let (before, behind) = self.encoder.special_tokens();
        let mut all = self.run(texts, Model::run_by_tokens)?;
        for tokens in &mut all {
            tokens.truncate(tokens.len() - behind.min(tokens.len()));
            tokens.drain(..before.min(tokens.len()));
        }
        Ok(all)
    }

    /// The word that each token of a text is of, see [`Self::token_vectors`].
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the tokenizer refuses the text.
    pub(super) fn words<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, EngineError> {
        self.encoder.words(text)
    }

    /// Runs the texts in groups that suit the device; the results in the order of the texts.
    fn run<'t, T>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
        run: impl Fn(&mut Model, &[&[u32]], u32) -> Result<Vec<T>, EngineError>,
    ) -> Result<Vec<T>, EngineError> {
        let encoded: Vec<Vec<u32>> = texts.map(|text| self.encoder.encode(text)).collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = encoded.iter().map(Vec::len).collect();
        let mut results = Vec::with_capacity(encoded.len());
        for group in batch::plan(&lengths, self.policy) {
            let rows: Vec<&[u32]> = group.iter().map(|&text| encoded[text].as_slice()).collect();
            results.extend(group.into_iter().zip(run(&mut self.model, &rows, self.encoder.pad_id)?));
        }
        results.sort_by_key(|(text, _)| *text);
        Ok(results.into_iter().map(|(_, result)| result).collect())
    }

    /// A counter that shares this embedder's tokenizer.
    #[must_use]
    pub fn token_counter(&self) -> OnnxTokenCounter {
        self.counter.clone()
    }
}

impl Embedder for OnnxEmbedder {
    fn dimension(&self) -> usize {
        self.info.dimension
    }

    fn max_tokens(&self) -> usize {
        self.info.max_tokens
    }

    fn embed(&mut self, texts: &[String]) -> Result<Vec<Embedding>, EngineError> {
        self.run(texts.iter().map(String::as_str), Model::run)
    }
}

/// A row to try the model with: as long as the caller asked for, since no file vouches for that length.
fn probe(encoder: &TextEncoder, config: &OnnxConfig) -> Result<Vec<u32>, EngineError> {
    encoder.encode(&"course ".repeat(config.max_tokens.unwrap_or(1)))
}

/// On a CPU, small runs without padding are the fastest per token: what a run works on should stay in the core's cache. On a GPU,
/// a run costs much and padding little.
fn policy(provider: ExecutionProvider, tokens: Option<usize>) -> BatchPolicy {
    let (usual, slack) = match provider {
        ExecutionProvider::Cpu => (512, 8),
        ExecutionProvider::Cuda => (16_384, 64),
    };
    BatchPolicy { tokens: tokens.unwrap_or(usual), slack }
}

/// The model, the length of its vectors, and where it runs.
fn load_model(
    environment: &Environment,
    config: &OnnxConfig,
    folder: &ModelFolder,
    probe: &[u32],
) -> Result<(Model, usize, ExecutionProvider), EngineError> {
    let loaded = on_device(config.device, "embedder", |provider| {
        let (model, dimension) = Model::load(environment, config, folder, provider, probe)?;
        Ok((model, dimension, provider))
    })?;
    if loaded.2 == ExecutionProvider::Cuda {
        warn_of_cpu_operators(folder);
    }
    Ok(loaded)
}

/// Operator names stand in the model file as they are.
fn warn_of_cpu_operators(folder: &ModelFolder) {
    let Ok(graph) = fs::read(&folder.model) else { return };
    let has = |operator: &[u8]| graph.windows(operator.len()).any(|window| window == operator);
    if CPU_ONLY_OPERATORS.iter().any(|operator| has(operator)) {
        tracing::warn!(model = folder.name, "this embedding model is quantised for CPUs and is slow on a GPU");
    }
}
