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
//!
//! llama.cpp ends the process when it is called wrongly (a batch too long, a sequence it does not have, scores that were
//! not asked for), and so it does when a GPU fails. What can be checked is checked here first.

mod answer;
mod config;
mod context;
mod cpu;
mod engine;
mod load;
mod log;
mod plan;
mod prompt;
mod repetition;
mod reuse;
mod sampler;
mod slot;
mod source;
mod template;
#[cfg(test)]
mod test_gguf;

pub use config::{Device, GpuLayers, LlamaConfig, LlamaInfo};
pub use cpu::missing_cpu_features;
pub use engine::LlamaEngine;
pub use source::LlamaSource;
