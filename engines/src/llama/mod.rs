//! Generation with llama.cpp: the port `Decoder` on any GGUF model.
//!
//! | file | what it is for |
//! |---|---|
//! | `config` | what to load and how, and what was loaded |
//! | `cpu` | which instructions this build needs |
//! | `load` | a model file becomes a model, or one clear line |
//! | `log` | llama.cpp's own log becomes `tracing` events |
//! | `source` | loads the model once, builds decoders on it |
//! | `decoder` | the port: batches are evaluated, tokens chosen |
//! | `context` | llama.cpp's context and batch, with everything bounded that would end the process |
//! | `template` | the model's chat template with the messages' places marked (pure) |
//! | `prompt` | messages become tokens, and their text never a control token |
//! | `sampler` | the port's sampling settings as a llama.cpp sampler chain |
//!
//! llama.cpp ends the process when it is called wrongly (a batch too long, a sequence it does not have, scores that were
//! not asked for), and so it does when a GPU fails. What can be checked is checked here first.

mod config;
mod context;
mod cpu;
mod decoder;
mod load;
mod log;
mod prompt;
mod sampler;
mod source;
mod template;
#[cfg(test)]
mod test_gguf;

pub use config::{Device, GpuLayers, KvType, LlamaConfig, LlamaInfo};
pub use cpu::missing_cpu_features;
pub use decoder::LlamaDecoder;
pub use source::LlamaSource;
