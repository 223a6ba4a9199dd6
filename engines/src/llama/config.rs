//! What to load and how, and what was loaded.

use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;

pub use mentor_actors::domain::Device;

use super::preferences::SamplingPreferences;

/// How many of the model's layers are kept on the GPU. Without a GPU it means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuLayers {
    /// As many as fit, with their part of the context.
    #[default]
    Auto,
    /// None: weights stay in main memory.
    None,
    /// This many, counted from the last, the output being one; where they do not fit, nothing is loaded.
    Count(u32),
}

/// How evaluated tokens are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// Four bytes a number.
    F32,
    /// Two bytes a number.
    F16,
    /// About one byte a number.
    Q8_0,
}

impl KvType {
    /// Whether several numbers share a scale.
    pub(super) fn is_quantised(self) -> bool {
        self == Self::Q8_0
    }
}

/// How a model is spread over several GPUs. With one or none it means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SplitMode {
    /// As llama.cpp does by itself: by layers.
    #[default]
    Auto,
    /// Only the first GPU is used.
    None,
    /// Every GPU has some of the layers, with their part of the context.
    Layer,
    /// Every GPU has some rows of each layer.
    Row,
}

/// Whether attention is computed in one go, without its matrix in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlashAttention {
    /// Where the model and the device can.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never. Values must then be stored as they are.
    Off,
}

/// How to run a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LlamaConfig {
    /// The GGUF file.
    pub model: PathBuf,
    /// Tokens of one conversation, prompt and answer together; cut to what the model was trained on.
    pub context_tokens: usize,
    /// Generations at once, 1 to 256. Memory for the context grows with them.
    pub slots: usize,
    /// Tokens of all generations together; 0 for as many as all of them can have. Fewer are a pool that all share, which
    /// costs time on a CPU.
    pub cells: usize,
    /// Longest batch of one step. More is faster on long prompts; less reacts faster to a cancelled turn. `None` for 320 on a
    /// CPU and 512 on a GPU, which takes less time for them.
    pub batch_tokens: Option<usize>,
    /// Threads that compute.
    pub threads: usize,
    /// Layers on the GPU.
    pub gpu_layers: GpuLayers,
    /// How they are spread over several GPUs.
    pub split_mode: SplitMode,
    /// How attention is computed.
    pub flash_attention: FlashAttention,
    /// How keys are stored.
    pub kv_type_k: KvType,
    /// How values are stored. On a CPU, keys and values of `Q8_0` make answers independent of what else is in the batch, and
    /// prompts slower to read (docs/adr/0011).
    pub kv_type_v: KvType,
    /// Where to compute.
    pub device: Device,
}

impl LlamaConfig {
    /// One slot of 2048 tokens, a thread for every core.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            context_tokens: 2048,
            slots: 1,
            cells: 0,
            batch_tokens: None,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            gpu_layers: GpuLayers::default(),
            split_mode: SplitMode::default(),
            flash_attention: FlashAttention::default(),
            kv_type_k: KvType::F16,
            kv_type_v: KvType::F16,
            device: Device::default(),
        }
    }
}

/// What was loaded. Its text form is one line for people.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaInfo {
    /// The model's own name, or its file's.
    pub name: String,
    /// How many weights it has.
    pub parameters: u64,
    /// What its tensors occupy.
    pub bytes: u64,
    /// Longest text it was trained on, in tokens.
    pub context_tokens: usize,
    /// Type of most of its weights, as in `Q4_1`.
    pub quantisation: String,
    /// What computes: `cpu`, `cuda`, or `cuda, 20 of 33 layers`.
    pub backend: String,
    /// How the model wants its tokens chosen.
    pub sampling: SamplingPreferences,
}

impl fmt::Display for LlamaInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (millions, mebibytes) = (self.parameters / 1_000_000, self.bytes >> 20);
        write!(f, "{} ({millions} M parameters, {}, {mebibytes} MiB", self.name, self.quantisation)?;
        write!(f, ", trained on {} tokens, on {})", self.context_tokens, self.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loaded_model_is_described_in_one_line() {
        let info = LlamaInfo {
            name: "Tiny".into(),
            parameters: 134_515_008,
            bytes: 96 << 20,
            context_tokens: 2048,
            quantisation: "Q4_1".into(),
            backend: "cpu".into(),
            sampling: SamplingPreferences::default(),
        };
        assert_eq!(info.to_string(), "Tiny (134 M parameters, Q4_1, 96 MiB, trained on 2048 tokens, on cpu)");
    }
}
