//! Generation with llama.cpp: the port `Decoder` on any GGUF model.
//!
//! | file | what it is for |
//! |---|---|
//! | `config` | what to load and how, and what was loaded |
//! | `cpu` | which instructions this build needs |
//! | `load` | a model file becomes a model, or one clear line |
//! | `header` | metadata and tensors of a file that is not loaded |
//! | `layout` | what a model and its context take, layer by layer (pure) |
//! | `memory` | whether there is memory for it, and how much of it goes to a GPU |
//! | `log` | llama.cpp's own log becomes `tracing` events |
//! | `source` | loads the model once, builds decoders on it |
//! | `decoder` | the port: batches are evaluated, tokens chosen |
//! | `context` | llama.cpp's context and batch, with everything bounded that would end the process |
//! | `template` | the model's chat template with the messages' places marked (pure) |
//! | `preferences` | what the model says of how to choose its tokens (pure) |
//! | `prompt` | messages become tokens, and their text never a control token |
//! | `sampler` | the port's sampling settings as a llama.cpp sampler chain |
//! | `weights` | which type of weights is best on this machine (pure) |
//! | `quantise` | a model file is written anew with another type of weights |
//! | `measure` | what a model makes of a fixed text, and how fast it is |
//! | `choose` | candidates are made and measured, and the best is kept |
//!
//! llama.cpp ends the process when it is called wrongly (a batch too long, a sequence it does not have, scores that were
//! not asked for), and so it does when a GPU fails. What can be checked is checked here first.

mod choose;
mod config;
mod context;
mod cpu;
mod decoder;
mod header;
mod layout;
mod load;
mod log;
mod measure;
mod memory;
mod preferences;
mod prompt;
mod quantise;
mod sampler;
mod source;
mod template;
#[cfg(test)]
mod test_gguf;
mod weights;

pub use choose::{Choice, ChooseEvent, ChooseRequest, choose_weights};
pub use config::{Device, FlashAttention, GpuLayers, KvType, LlamaConfig, LlamaInfo, SplitMode};
pub use cpu::missing_cpu_features;
pub use decoder::LlamaDecoder;
pub use preferences::SamplingPreferences;
pub use quantise::{WeightsInfo, inspect_weights, requantise};
pub use source::LlamaSource;
pub use weights::{Candidate, Speed, WeightType, is_fast_on_cpu};
