//! The reranker behind the port: a cross-encoder in ONNX format, as sentence-transformers and Optimum export them.
//!
//! It runs as it was exported. Its one logit for a pair becomes a score by the logistic function, which is what such models are
//! trained with (binary cross-entropy; Nogueira and Cho 2019, "Passage Re-ranking with BERT"); of two logits the second is taken
//! against the first.

use std::fmt;

use mentor_actors::domain::{EngineError, ScoredPassage};
use mentor_actors::ports::Reranker;
use ort::environment::Environment;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};

use super::batch::{self, BatchPolicy};
use super::buffers::{Buffers, Row};
use super::config::{ExecutionProvider, OnnxConfig};
use super::folder::ModelFolder;
use super::graph::{self, Input};
use super::runtime::{self, no_panic};
use super::session::{on_device, open, unusable};
use super::tokens::{self, Pair, PairEncoder};

/// What was loaded. Its text form is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerankerInfo {
    /// Name of the model's folder, a dash, and the first 12 hexadecimal digits of the model file's SHA-256.
    pub model_id: String,
    /// Longest question and passage together, in tokens, special tokens included.
    pub max_tokens: usize,
    /// Where it runs.
    pub execution_provider: ExecutionProvider,
}

impl fmt::Display for RerankerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.model_id, self.execution_provider)
    }
}

/// A cross-encoder in ONNX format. One run at a time; it lives on one worker thread.
pub struct OnnxReranker {
    model: PairModel,
    encoder: PairEncoder,
    info: RerankerInfo,
}

impl OnnxReranker {
    /// Loads the library (once per process), the tokenizer and the model, and scores a pair to see that they work.
    ///
    /// # Errors
    /// [`EngineError::Load`], one line that names the file and what to do, when any of them is missing, damaged or of
    /// the wrong kind, or when CUDA was asked for and cannot be had.
    pub fn load(config: &OnnxConfig) -> Result<Self, EngineError> {
        let folder = ModelFolder::open(config)?;
        let max_tokens = folder.settings.max_tokens;
        let encoder = PairEncoder::new(tokens::load(&folder.tokenizer)?, max_tokens)?;
        let environment = runtime::environment(&config.runtime_library)?;
        let probe = encoder.encode("course", "course")?;
        let (model, execution_provider) = on_device(config.device, "reranker", |provider| {
            Ok((PairModel::load(&environment, config, &folder, provider, &probe)?, provider))
        })?;
        let info = RerankerInfo { model_id: folder.model_id()?, max_tokens, execution_provider };
        tracing::info!(model = info.model_id, max_tokens, device = %execution_provider, "reranking model loaded");
        Ok(Self { model, encoder, info })
    }

    /// What was loaded, and where it runs.
    #[must_use]
    pub fn info(&self) -> &RerankerInfo {
        &self.info
    }

    /// Tokens of one run, after the embedder's reasons: what a core works on should stay in its cache, and a GPU wants large runs.
    /// Not measured with a reranker.
    fn policy(&self) -> BatchPolicy {
        match self.info.execution_provider {
            ExecutionProvider::Cpu => BatchPolicy { tokens: 1024, slack: 16 },
            ExecutionProvider::Cuda => BatchPolicy { tokens: 16_384, slack: 64 },
        }
    }
}

impl Reranker for OnnxReranker {
    fn score(&mut self, question: &str, passages: &[ScoredPassage]) -> Result<Vec<f32>, EngineError> {
        let pair = |scored: &ScoredPassage| self.encoder.encode(question, &scored.passage.text);
        let pairs: Vec<Pair> = passages.iter().map(pair).collect::<Result<_, _>>()?;
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.ids.len()).collect();
        let mut scores = vec![0.0; passages.len()];
        for run in batch::plan(&lengths, self.policy()) {
            let rows: Vec<&Pair> = run.iter().map(|&passage| &pairs[passage]).collect();
            for (passage, score) in run.into_iter().zip(self.model.run(&rows, self.encoder.pad_id)?) {
                scores[passage] = score;
            }
        }
        Ok(scores)
    }
}

/// A loaded graph: rows of two texts in, a score for each out.
struct PairModel {
    session: Session,
    /// Selects the one output that is read.
    options: RunOptions<HasSelectedOutputs>,
    inputs: Vec<Input>,
    buffers: Buffers,
}

impl PairModel {
    /// # Errors
    /// [`EngineError::Load`] when the file is no such model, or the provider cannot be had.
    fn load(
        environment: &Environment,
        config: &OnnxConfig,
        folder: &ModelFolder,
        provider: ExecutionProvider,
        probe: &Pair,
    ) -> Result<Self, EngineError> {
        let session = open(environment, config, &folder.model, provider)?;
        let probed = no_panic(|| {
            let mut model = Self::new(session)?;
            model.run(&[probe], 0).map_err(|e| e.to_string())?;
            Ok(model)
        });
        probed.map_err(|problem| unusable(&folder.model, &problem))
    }

    fn new(session: Session) -> Result<Self, String> {
        let inputs = graph::inputs(&graph::declared(session.inputs()))?;
        let output = graph::logits(&graph::declared(session.outputs()))?;
        let selected = OutputSelector::no_default().with(&output);
        let options = RunOptions::new().map_err(|e| e.to_string())?.with_outputs(selected);
        Ok(Self { session, options, inputs, buffers: Buffers::default() })
    }

    /// A score from 0 to 1 for each row, in order.
    fn run(&mut self, pairs: &[&Pair], pad_id: u32) -> Result<Vec<f32>, EngineError> {
        let rows: Vec<Row> = pairs.iter().map(|pair| Row { ids: &pair.ids, types: &pair.types }).collect();
        self.buffers.fill(&rows, pad_id);
        let inputs = self.buffers.tensors(&self.inputs).map_err(failed)?;
        let outputs = self.session.run_with_options(inputs, &self.options).map_err(failed)?;
        let (shape, logits) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        scores(shape, logits, rows.len())
    }
}

fn failed(error: ort::Error) -> EngineError {
    let line = error.message().lines().next().unwrap_or_default();
    EngineError::Failed(format!("the reranking model failed: {line}"))
}

/// The scores of `rows` pairs from logits of the shape `[rows, 1]`, `[rows]`, or `[rows, 2]`.
fn scores(shape: &[i64], logits: &[f32], rows: usize) -> Result<Vec<f32>, EngineError> {
    let logistic = |logit: f32| 1.0 / (1.0 + (-logit).exp());
    let scores: Vec<f32> = match logits.len().checked_div(rows) {
        Some(1) => logits.iter().copied().map(logistic).collect(),
        Some(2) if shape.last() == Some(&2) => logits.chunks_exact(2).map(|pair| logistic(pair[1] - pair[0])).collect(),
        _ => {
            let problem =
                format!("the reranking model returned the shape {shape:?} for {rows} pairs, not a score for each");
            return Err(EngineError::Failed(problem));
        }
    };
    if scores.len() == rows && scores.iter().all(|score| score.is_finite()) {
        Ok(scores)
    } else {
        Err(EngineError::Failed("the reranking model returned a score that is no number".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logit_or_two_of_them_become_a_score() {
        assert_eq!(scores(&[2, 1], &[0.0, 100.0], 2), Ok(vec![0.5, 1.0]));
        assert_eq!(scores(&[1], &[-100.0], 1).unwrap()[0].round(), 0.0);
        assert_eq!(scores(&[1, 2], &[3.0, 3.0], 1), Ok(vec![0.5]));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(scores(&[1, 384], &[0.0; 384], 1).is_err());
        assert!(scores(&[2, 1], &[0.0], 2).is_err());
        assert!(scores(&[1, 1], &[f32::NAN], 1).is_err());
    }
}
