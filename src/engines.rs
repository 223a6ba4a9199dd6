//! From the configuration to running engines and actors: the only place that names engines and actors together.
//!
//! | module | what it builds |
//! |---|---|
//! | `arithmetic`, `embedding` | what embeds: its workers, and how they compute |
//! | `extraction`, `ingest` | what reads files, and everything else that an ingest needs |
//! | `store` | the store, opened as the configuration wants it |
//! | `reranking`, `retrieval` | what finds passages |
//! | `generator` | what writes answers: a model here, a server, or a fake |
//! | `turn_settings` | what the configuration and the model decide about turns |
//! | `conversations` | what keeps conversations |
//! | `tutor` | all of it, with the actors in front |

mod arithmetic;
mod conversations;
mod embedding;
mod extraction;
mod generator;
mod ingest;
mod reranking;
mod retrieval;
mod store;
mod turn_settings;
mod tutor;

pub use conversations::ConversationKeeper;
pub use embedding::{Embedding, SharedEmbedder, embed_one, embedder_identity, for_embedding};
pub use extraction::READ_DOCUMENT;
pub use generator::{BareGenerator, FAKE_BACKEND, Generator, GeneratorInfo, for_generation};
pub use ingest::{IngestEngines, for_ingest, for_job};
pub use reranking::LoadedReranker;
pub use retrieval::{Retrieval, for_retrieval};
pub use store::{begin_replacement, identity, open_corpus, open_replacement, open_stored_corpus};
pub use turn_settings::{context_chars, sampling};
pub use tutor::{Actors, Tutor, for_answers, for_load};

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn none_if_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
