//! OpenAI's protocol, for the clients that speak it: chat completions, models, embeddings. The history in a request is the
//! conversation; nothing of it is kept.
//!
//! | module | what lives there |
//! |---|---|
//! | `chat` | `/v1/chat/completions`, whole or streamed |
//! | `request` | from a request's messages and parameters to a question |
//! | `embeddings` | `/v1/embeddings` |
//! | `models` | `/v1/models`, and which name means which model |
//! | `wire` | the shapes of answers |
//! | `refusal` | the shape of errors |

mod chat;
mod embeddings;
mod models;
mod refusal;
mod request;
mod wire;

use actix_web::web;

pub use embeddings::{EmbeddingDoor, MAX_TEXTS};
pub use refusal::Refusal;
pub use request::MAX_INSTRUCTION_CHARS;

/// What the paths of this door begin with.
pub const PREFIX: &str = "/v1/";

/// Largest body of a request, in bytes: a conversation comes as a whole with each of its questions.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/v1/chat/completions", web::post().to(chat::complete))
        .route("/v1/embeddings", web::post().to(embeddings::embed))
        .route("/v1/models", web::get().to(models::list))
        .route("/v1/models/{model:.+}", web::get().to(models::retrieve));
}
