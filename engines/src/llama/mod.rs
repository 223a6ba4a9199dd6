//! Generation with llama.cpp: the port `GenerationEngine` on any GGUF model.
//!
//! | file | what it is for |
//! |---|---|
//! | `config` | what to load and how, and what was loaded |
//! | `cpu` | which instructions this build needs |
//! | `load` | a model file becomes a model, or one clear line |
//! | `log` | llama.cpp's own log becomes `tracing` events |
//! | `source` | loads the model once, builds engines on it |
//! | `engine` | the port: slots, one batch a step |
//! | `slot` | what a slot holds |
//! | `context` | llama.cpp's context and batch, with everything bounded that would end the process |
//! | `plan` | which slot feeds how many tokens into a batch (pure) |
//! | `reuse` | how much of an evaluated prompt a new one may keep (pure) |
//! | `template` | the model's chat template with the messages' places marked (pure) |
//! | `prompt` | messages become tokens, and their text never a control token |
//! | `answer` | a running answer: tokens become text, and end |
//! | `repetition` | notices that an answer goes round in circles (pure) |
//! | `sampler` | the port's sampling settings as a llama.cpp sampler chain |
//! | `weights` | which type of weights is best on this machine (pure) |
//! | `quantise` | a model file is written anew with another type of weights |
//! | `measure` | what a model makes of a fixed text, and how fast it is |
//! | `choose` | candidates are made and measured, and the best is kept |
//!
//! llama.cpp ends the process when it is called wrongly (a batch too long, a sequence it does not have, scores that were
//! not asked for), and so it does when a GPU fails. What can be checked is checked here first.

mod answer;
mod choose;
mod config;
mod context;
mod cpu;
mod engine;
mod load;
mod log;
mod measure;
mod plan;
mod prompt;
mod quantise;
mod repetition;
mod reuse;
mod sampler;
mod slot;
mod source;
mod template;
#[cfg(test)]
mod test_gguf;
mod weights;

pub use choose::{Choice, ChooseEvent, ChooseRequest, choose_weights};
pub use config::{Device, GpuLayers, LlamaConfig, LlamaInfo};
pub use cpu::missing_cpu_features;
pub use engine::LlamaEngine;
pub use quantise::{WeightsInfo, inspect_weights, requantise};
pub use source::LlamaSource;
pub use weights::{Candidate, Speed, WeightType, is_fast_on_cpu};
