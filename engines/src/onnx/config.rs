//! What the caller chooses, and what it gets to know about the result.

use std::fmt;
use std::path::PathBuf;

use super::pooling::Pooling;
use super::rewrite::Arithmetic;

pub use mentor_actors::domain::Device;

/// Where the model does run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutionProvider {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl ExecutionProvider {
    /// The word in statistics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

impl fmt::Display for ExecutionProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which model to load, and how to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxConfig {
    /// Folder in the sentence-transformers layout: `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json`; read
    /// where present: `config.json`, `sentence_bert_config.json`, `tokenizer_config.json`, `modules.json`,
    /// `1_Pooling/config.json`.
    pub folder: PathBuf,
    /// Another model file than the folder's; relative to the folder.
    pub model_file: Option<PathBuf>,
    /// Another tokenizer file than the folder's; relative to the folder.
    pub tokenizer_file: Option<PathBuf>,
    /// The ONNX Runtime shared library, version 1.24 or later. One per process: the first one loaded stays.
    pub runtime_library: PathBuf,
    /// Where to run.
    pub device: Device,
    /// Threads one run uses. Embedders times threads should be the number of cores.
    pub intra_threads: usize,
    /// Longest text in tokens, special tokens included, instead of what the model's files say.
    pub max_tokens: Option<usize>,
    /// How to multiply on a CPU; a GPU computes in floats.
    pub arithmetic: Arithmetic,
    /// How to run; the defaults are the measured ones.
    pub tuning: SessionTuning,
}

impl OnnxConfig {
    /// A model folder and a runtime library, on one thread of whatever device there is.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, runtime_library: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            model_file: None,
            tokenizer_file: None,
            runtime_library: runtime_library.into(),
            device: Device::default(),
            intra_threads: 1,
            max_tokens: None,
            arithmetic: Arithmetic::default(),
            tuning: SessionTuning::default(),
        }
    }
}

/// Options of a session that change its speed and memory, not its results.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionTuning {
    /// Whether idle threads of the session keep their core for a moment. Faster when nothing else runs; it takes time
    /// from a generator that shares the cores.
    pub spinning: bool,
    /// Whether the buffers of a run are planned as one block for each shape seen. The plans are kept, and texts make
    /// ever new shapes: this is for models with one shape.
    pub memory_pattern: bool,
    /// Whether the graph runs as it was exported, where it would be rewritten for the CPU.
    pub as_exported: bool,
    /// Padded tokens in one run of the model; `None` takes what suits the device.
    pub batch_tokens: Option<usize>,
    /// Further session configuration entries, by ONNX Runtime's own names, such as `session.set_denormal_as_zero`.
    pub entries: Vec<(String, String)>,
}

/// What was loaded. The store takes model id, dimension and pooling as the identity of its vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedderInfo {
    /// Name of the model's folder, a dash, and the first 12 hexadecimal digits of the model file's SHA-256.
    pub model_id: String,
    /// The first 12 hexadecimal digits of the tokenizer file's SHA-256.
    pub tokenizer: String,
    /// Length of a vector.
    pub dimension: usize,
    /// Longest text it reads, in tokens, special tokens included.
    pub max_tokens: usize,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Where it runs.
    pub execution_provider: ExecutionProvider,
}
