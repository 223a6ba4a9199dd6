//! Generation on another machine: the port `GenerationEngine` on any server that speaks OpenAI's chat completions, such as
//! vLLM, SGLang, TGI and llama-server.
//!
//! | file | what it is for |
//! |---|---|
//! | `address` | where the server is, without anything secret in it |
//! | `config` | how to reach the server and how long to wait for it, and what was found there |
//! | `models` | which model to ask for, of those the server lists (pure) |
//! | `request` | a generation as a chat completion, in the server's dialect (pure) |
//! | `sse` | bytes become server-sent events (pure) |
//! | `completion` | an event becomes a piece of an answer (pure) |
//! | `failure` | what can go wrong, what of it is worth another try (pure) |
//! | `retry` | how often to try, and how long to wait between (pure but for the waiting) |
//! | `breaker` | when to stop asking a server that is down (pure) |
//! | `client` | HTTP |
//! | `stream` | the pieces of one answer, as they come |
//! | `task` | one generation: tries until the first token, then passes on |
//! | `answer` | what the engine says of a running answer (pure) |
//! | `runtime` | the thread requests run on |
//! | `engine` | the port: slots, a task each, and the channel they report on |
//! | `source` | connects engines to one server |
//!
//! A generation's text and its questions are in no error and in no log above TRACE; servers like to quote them in theirs, so
//! of a server's error only the status and its code are passed on.

mod address;
mod answer;
mod breaker;
mod client;
mod completion;
mod config;
mod engine;
mod failure;
mod models;
mod request;
mod retry;
mod runtime;
mod source;
mod sse;
mod stream;
mod task;

pub use address::{AddressError, ServerAddress};
pub use breaker::BreakerSettings;
pub use config::{RemoteConfig, RemoteInfo};
pub use engine::RemoteEngine;
pub use retry::RetryPolicy;
pub use source::RemoteSource;
