//! The embedder and the reranker: sentence-transformers models in ONNX format, run by ONNX Runtime.
//!
//! | file | what it is |
//! |---|---|
//! | `config` | what the caller chooses, and what the store and the statistics learn about the result |
//! | `folder` | what the model's own files say: where they are, how to pool, how long a text may be |
//! | `tokens` | text to token ids, and the counter the chunker uses |
//! | `batch` | which texts go through the model together; pure |
//! | `pooling` | token vectors to one unit vector; pure |
//! | `runtime` | the shared library, loaded once per process |
//! | `rewrite` | the graph in fewer operators, and in eight bits; pure |
//! | `session` | opening the graph on a device |
//! | `buffers` | the inputs of a run |
//! | `graph` | which inputs and outputs it has; pure |
//! | `model` | running it |
//! | `embedder` | all of it behind the port |
//! | `reranker` | the same for models that read question and passage together |
//! | `late_interaction` | the embedder as a reranker, by its tokens |
//!
//! One [`OnnxEmbedder`] belongs to one thread. Several workers load several of them; the library is shared.

mod batch;
mod buffers;
mod config;
mod embedder;
mod folder;
mod graph;
mod late_interaction;
mod model;
mod pooling;
mod reranker;
mod rewrite;
mod runtime;
mod session;
mod tokens;

pub use config::{Device, EmbedderInfo, ExecutionProvider, OnnxConfig, SessionTuning};
pub use embedder::OnnxEmbedder;
pub use late_interaction::LateInteraction;
pub use pooling::Pooling;
pub use reranker::{OnnxReranker, RerankerInfo};
pub use rewrite::Arithmetic;
pub use tokens::OnnxTokenCounter;
