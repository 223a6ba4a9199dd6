//! `POST /v1/embeddings`: the vectors of texts, by the embedder that finds passages. Bulk work: questions go first.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mentor_actors::cancel::CancelOnDrop;
use mentor_actors::deadline::Deadline;
use mentor_actors::domain::{Embedding, ErrorCode, TurnError};
use mentor_actors::embedding::EmbedTexts;
use mentor_actors::ports::TokenCounter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::refusal::Refusal;
use super::{MAX_BODY_BYTES, models};
use crate::guard::Client;
use crate::http::connection::Connection;
use crate::http::rest::caller_left;
use crate::http::{Doors, body};

/// Most texts of a request: at most half a minute of work on a small machine.
pub const MAX_TEXTS: usize = 256;

/// Texts that one job of a worker has; a question that comes meanwhile waits for it.
const BATCH: usize = 16;

/// Requests at once: each has one batch in the queue, so more would only take turns.
const PLACES: usize = 4;

/// When a place is likely to be free again.
const WAIT: Duration = Duration::from_secs(2);

/// Tokens that an embedder puts around a text; its counter leaves them out.
const SPECIAL_TOKENS: usize = 2;

/// What this door needs beside the embedder itself.
pub struct EmbeddingDoor {
    counter: Arc<dyn TokenCounter>,
    dimension: usize,
    max_tokens: usize,
    places: Semaphore,
}

impl EmbeddingDoor {
    /// For an embedder that reads `max_tokens`, special tokens included, and gives vectors of that dimension.
    #[must_use]
    pub fn new(counter: Arc<dyn TokenCounter>, dimension: usize, max_tokens: usize) -> Self {
        Self { counter, dimension, max_tokens, places: Semaphore::new(PLACES) }
    }
}

/// Body of `POST /v1/embeddings`; what is not named here is ignored.
#[derive(Debug, Deserialize)]
struct EmbeddingsBody {
    model: String,
    input: Value,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

/// `POST /v1/embeddings`.
pub async fn embed(
    request: HttpRequest,
    client: Client,
    payload: web::Payload,
    doors: web::Data<Doors>,
) -> Result<HttpResponse, Refusal> {
    let asked: EmbeddingsBody = body::json_up_to(MAX_BODY_BYTES, payload).await?;
    models::check(&asked.model, &doors.models.embedder)?;
    let dimension = doors.embeddings.dimension;
    if let Some(other) = asked.dimensions.filter(|wanted| *wanted != dimension) {
        let message = format!("dimensions is {other}; this model has {dimension}, and they cannot be cut");
        return Err(Refusal::field("dimensions", message));
    }
    let texts = texts(asked.input)?;
    let full = || TurnError::overloaded("the embedder", WAIT);
    let _place = doors.embeddings.places.try_acquire().map_err(|_| full())?;
    let (texts, tokens) = count(texts, &doors).await?;
    // They are counted already, so all of them stand where an estimate would: what fails is given back.
    let mut charge = client.charge("", tokens)?;
    let vectors = tokio::select! {
        vectors = in_batches(texts, &doors) => vectors.inspect_err(|_| charge.settle(0))?,
        () = Connection::left(request.conn_data().copied()) => return Err(caller_left().into()),
    };
    let encoding = asked.encoding_format.unwrap_or(Encoding::Float);
    let data = vectors.into_iter().enumerate().map(|(index, vector)| Entry::new(index, vector, encoding)).collect();
    let usage = EmbeddingsUsage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(HttpResponse::Ok().json(Embeddings { object: "list", data, model: &doors.models.embedder, usage }))
}

/// `input`: a text or several. Tokens are refused: they are those of another model.
fn texts(input: Value) -> Result<Vec<String>, Refusal> {
    let wrong = |message: &str| Refusal::field("input", message.to_owned());
    let texts = match input {
        Value::String(text) => vec![text],
        Value::Array(list) => list
            .into_iter()
            .map(|text| match text {
                Value::String(text) => Ok(text),
                Value::Number(_) | Value::Array(_) => Err(wrong(
                    "input holds tokens of another model: send texts (in LangChain: check_embedding_ctx_length=False)",
                )),
                _ => Err(wrong("input must be a text or a list of texts")),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong("input must be a text or a list of texts")),
    };
    if !(1..=MAX_TEXTS).contains(&texts.len()) {
        return Err(wrong(&format!("input has {} texts, allowed are 1 to {MAX_TEXTS}", texts.len())));
    }
    match texts.iter().position(|text| text.trim().is_empty()) {
        Some(place) => Err(wrong(&format!("text {place} of input is empty"))),
        None => Ok(texts),
    }
}

/// The texts, and how many tokens they have together.
///
/// # Errors
/// 413 when one is longer than the embedder reads: it would be cut in silence.
async fn count(texts: Vec<String>, doors: &web::Data<Doors>) -> Result<(Vec<String>, usize), Refusal> {
    let doors = doors.clone();
    let most = doors.embeddings.max_tokens;
    // Tokenising a full request takes tens of milliseconds: not on a thread that serves others.
    let counted = web::block(move || {
        let counts: Vec<usize> =
            texts.iter().map(|text| doors.embeddings.counter.count(text) + SPECIAL_TOKENS).collect();
        (texts, counts)
    });
    let (texts, counts) =
        counted.await.map_err(|_| TurnError::new(ErrorCode::Internal, "the texts could not be counted"))?;
    if let Some(place) = counts.iter().position(|count| *count > most) {
        let message = format!("text {place} of input has {} tokens, {most} are allowed", counts[place]);
        return Err(Refusal::from(TurnError::new(ErrorCode::TooLarge, message)).of("input"));
    }
    Ok((texts, counts.iter().sum()))
}

/// One batch after the other, so that requests take turns and questions come in between.
async fn in_batches(texts: Vec<String>, doors: &Doors) -> Result<Vec<Embedding>, TurnError> {
    let (deadline, cancel) = (Deadline::after(doors.time_limit), CancelOnDrop::default());
    let mut vectors = Vec::with_capacity(texts.len());
    for batch in texts.chunks(BATCH) {
        let job = EmbedTexts { texts: batch.to_vec(), deadline, cancel: cancel.0.clone() };
        let gone = || TurnError::new(ErrorCode::Unavailable, "the embedder is not there, try again");
        vectors.extend(doors.services.embedding.send(job).await.unwrap_or_else(|_| Err(gone().retry_after(WAIT)))?);
    }
    Ok(vectors)
}

/// The answer. Not a `Value`: that would hold each number as an `f64` and write twice as many digits.
#[derive(Serialize)]
struct Embeddings<'a> {
    object: &'static str,
    data: Vec<Entry>,
    model: &'a str,
    usage: EmbeddingsUsage,
}

#[derive(Serialize)]
struct EmbeddingsUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Float(Embedding),
    Base64(String),
}

impl Entry {
    fn new(index: usize, vector: Embedding, encoding: Encoding) -> Self {
        let embedding = match encoding {
            Encoding::Float => Vector::Float(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                Vector::Base64(BASE64_STANDARD.encode(bytes))
            }
        };
        Self { object: "embedding", index, embedding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn input_is_a_text_or_several_and_nothing_else() {
        assert_eq!(texts(json!("a")).unwrap(), ["a"]);
        assert_eq!(texts(json!(["a", "b"])).unwrap(), ["a", "b"]);
        let wrong = |input: Value| texts(input).unwrap_err().to_string();
        assert!(wrong(json!([1, 2])).contains("tokens of another model"));
        assert!(wrong(json!([[1, 2]])).contains("tokens of another model"));
        assert!(wrong(json!([])).contains("0 texts, allowed are 1 to 256"));
        assert!(wrong(json!(vec!["x"; 257])).contains("257 texts"));
        assert!(wrong(json!(["a", " "])).contains("text 1 of input is empty"));
        assert!(wrong(json!({"a": 1})).contains("must be a text"));
        assert!(wrong(json!([null])).contains("must be a text"));
    }

    #[test]
    fn numbers_are_written_short_and_base64_holds_them_as_openais_clients_read_them() {
        let written = |encoding| serde_json::to_string(&Entry::new(3, vec![0.1, -2.5], encoding)).unwrap();
        assert_eq!(written(Encoding::Float), r#"{"object":"embedding","index":3,"embedding":[0.1,-2.5]}"#);
        assert_eq!(written(Encoding::Base64), r#"{"object":"embedding","index":3,"embedding":"zczMPQAAIMA="}"#);
    }
}
