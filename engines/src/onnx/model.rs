//! Running the graph: rows of token ids in, unit vectors out.

use std::fs;

use mentor_actors::domain::{Embedding, EngineError};
use ort::environment::Environment;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};

use super::buffers::{Buffers, Row};
use super::config::{ExecutionProvider, OnnxConfig};
use super::folder::ModelFolder;
use super::graph::{self, Input, Output};
use super::pooling::Pooling;
use super::rewrite::rewrite;
use super::runtime::no_panic;
use super::session::{open, open_rewritten, unusable};

/// Larger files are run as they are: rewriting holds several copies of one in memory.
const MAX_REWRITTEN_BYTES: u64 = 512 << 20;

/// A loaded graph. Its buffers are kept between runs.
pub(super) struct Model {
    session: Session,
    /// Selects the one output that is read, so that no other is computed.
    options: RunOptions<HasSelectedOutputs>,
    inputs: Vec<Input>,
    output: Output,
    pooling: Pooling,
    buffers: Buffers,
}

impl Model {
    /// Loads the graph on one execution provider and runs `probe`, a row of token ids, to see that it works there.
    /// Returns the length of its vectors, too.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the file is no such model, or the provider cannot be had.
    pub(super) fn load(
        environment: &Environment,
        config: &OnnxConfig,
        folder: &ModelFolder,
        provider: ExecutionProvider,
        probe: &[u32],
    ) -> Result<(Self, usize), EngineError> {
        if provider == ExecutionProvider::Cpu
            && !config.tuning.as_exported
            && let Some(model) = Self::load_rewritten(environment, config, folder, probe)
        {
            return Ok(model);
        }
        let session = open(environment, config, &folder.model, provider)?;
        Self::probed(session, folder, probe).map_err(|problem| unusable(&folder.model, &problem))
    }

    /// `None` where the file as it is has to serve, which then says what is wrong with it, if anything is.
    fn load_rewritten(
        environment: &Environment,
        config: &OnnxConfig,
        folder: &ModelFolder,
        probe: &[u32],
    ) -> Option<(Self, usize)> {
        let size = fs::metadata(&folder.model).ok()?.len();
        if size > MAX_REWRITTEN_BYTES {
            return None;
        }
        let file = fs::read(&folder.model).ok()?;
        // Operators of a damaged graph may lack inputs that they must have.
        let graph = no_panic(|| Ok(rewrite(&file, config.arithmetic))).ok().flatten()?;
        let opened = open_rewritten(environment, config, &graph);
        let loaded = opened.and_then(|session| Self::probed(session, folder, probe));
        loaded.inspect_err(|problem| tracing::warn!(problem, "the embedding model runs as it was exported")).ok()
    }

    fn probed(session: Session, folder: &ModelFolder, probe: &[u32]) -> Result<(Self, usize), String> {
        no_panic(|| {
            let mut model = Self::new(session, folder)?;
            let vectors = model.run(&[probe], 0).map_err(|e| e.to_string())?;
            Ok((model, vectors[0].len()))
        })
    }

    fn new(session: Session, folder: &ModelFolder) -> Result<Self, String> {
        let inputs = graph::inputs(&graph::declared(session.inputs()))?;
        let output = graph::output(&graph::declared(session.outputs()))?;
        let pooling = graph::pooling(&output, folder.settings.pooling, folder.settings.extra_module.as_deref())?;
        let selected = OutputSelector::no_default().with(&output.name);
        let options = RunOptions::new().map_err(|e| e.to_string())?.with_outputs(selected);
        Ok(Self { session, options, inputs, output, pooling, buffers: Buffers::default() })
    }

    /// How its vectors come about.
    pub(super) fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// One unit vector for each row of token ids, in order. Rows are padded to the longest; none may be empty.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the runtime refuses the batch, or a result has no direction.
    pub(super) fn run(&mut self, rows: &[&[u32]], pad_id: u32) -> Result<Vec<Embedding>, EngineError> {
        let pooling = self.pooling;
        self.run_and_read(rows, pad_id, |layout, data, row, length| layout.pool(data, row, length, pooling))
    }

    /// The vectors of each row's tokens, of length 1, for a model that says them; zeros where one has no direction.
    ///
    /// # Errors
    /// The same.
    pub(super) fn run_by_tokens(&mut self, rows: &[&[u32]], pad_id: u32) -> Result<Vec<Vec<Embedding>>, EngineError> {
        self.run_and_read(rows, pad_id, |layout, data, row, length| {
            Ok(layout.text(data, row, length).chunks_exact(layout.dimension).map(unit).collect())
        })
    }

    fn run_and_read<T>(
        &mut self,
        rows: &[&[u32]],
        pad_id: u32,
        read: impl Fn(&Layout, &[f32], usize, usize) -> Result<T, EngineError>,
    ) -> Result<Vec<T>, EngineError> {
        let one_text_each: Vec<Row> = rows.iter().map(|ids| Row { ids, types: &[] }).collect();
        let longest = self.buffers.fill(&one_text_each, pad_id);
        let inputs = self.buffers.tensors(&self.inputs).map_err(failed)?;
        let outputs = self.session.run_with_options(inputs, &self.options).map_err(failed)?;
        let (shape, data) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        let layout = Layout::of(shape, rows.len(), longest, self.output.per_token)?;
        rows.iter().enumerate().map(|(i, row)| read(&layout, data, i, row.len())).collect()
    }
}

fn unit(vector: &[f32]) -> Embedding {
    Pooling::InGraph.pool(vector, vector.len()).unwrap_or_else(|| vec![0.0; vector.len()])
}

fn failed(error: ort::Error) -> EngineError {
    let line = error.message().lines().next().unwrap_or_default();
    EngineError::Failed(format!("the embedding model failed: {line}"))
}

/// How the output of a run lies in memory.
struct Layout {
    /// Vectors of one text.
    vectors: usize,
    dimension: usize,
}

impl Layout {
    fn of(shape: &[i64], rows: usize, longest: usize, per_token: bool) -> Result<Self, EngineError> {
        let sizes: Vec<usize> = shape.iter().map_while(|&size| usize::try_from(size).ok()).collect();
        let vectors = if per_token { longest } else { 1 };
        match *sizes.as_slice() {
            [batch, tokens, dimension] if per_token && batch == rows && tokens == longest && dimension > 0 => {
                Ok(Self { vectors, dimension })
            }
            [batch, dimension] if !per_token && batch == rows && dimension > 0 => Ok(Self { vectors, dimension }),
            _ => Err(EngineError::Failed(format!(
                "the embedding model returned the shape {shape:?} for {rows} texts of {longest} tokens"
            ))),
        }
    }

    /// The vectors of text `row`, which has `length` tokens before its padding.
    fn text<'d>(&self, data: &'d [f32], row: usize, length: usize) -> &'d [f32] {
        let start = row * self.vectors * self.dimension;
        &data[start..start + length.min(self.vectors) * self.dimension]
    }

    /// The vector of text `row`, which has `length` tokens before its padding.
    fn pool(&self, data: &[f32], row: usize, length: usize, pooling: Pooling) -> Result<Embedding, EngineError> {
        pooling.pool(self.text(data, row, length), self.dimension).ok_or_else(|| {
            EngineError::Failed("the embedding model returned a vector without direction for a text".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_pooled_from_its_own_tokens_only() {
        let layout = Layout::of(&[2, 2, 2], 2, 2, true).unwrap();
        let data = [1.0, 0.0, 1.0, 0.0, 0.0, 2.0, 9.0, 9.0];
        assert_eq!(layout.pool(&data, 0, 2, Pooling::Mean).unwrap(), [1.0, 0.0]);
        assert_eq!(layout.pool(&data, 1, 1, Pooling::Mean).unwrap(), [0.0, 1.0]);
    }

    #[test]
    fn a_vector_for_each_text_is_taken_as_it_is() {
        let layout = Layout::of(&[2, 3], 2, 50, false).unwrap();
        let data = [1.0, 0.0, 0.0, 0.0, 0.0, 2.0];
        assert_eq!(layout.pool(&data, 1, 50, Pooling::InGraph).unwrap(), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_shape_that_does_not_fit_the_batch_is_refused() {
        for shape in [&[2_i64, 2][..], &[1, 2, 3], &[2, 2, 0], &[2, -1, 3]] {
            assert!(Layout::of(shape, 2, 2, true).is_err(), "{shape:?} was accepted");
        }
    }
}
