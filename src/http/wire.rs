//! The wire protocol's JSON, to and from the domain. Field names here are what clients rely on.

// Needs the jobs, and with them the store.
#[cfg(not(fuzzing))]
pub(super) mod administration;

use std::collections::BTreeMap;
use std::time::Duration;

use mentor_actors::domain::{
    CharSpan, Citation, Completion, CorpusStats, ErrorCode, NumberedEvent, ScoredPassage, Timings, TurnError,
    TurnEvent, TurnId, Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Version of the protocol, announced in `ready`.
pub const PROTOCOL: u32 = 1;

/// What a client asks for, over REST or in an `ask` frame. Unknown fields are ignored, as the predecessor's clients expect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct AskBody {
    /// The question.
    pub message: String,
    /// Which conversation it belongs to.
    pub conversation_id: Option<String>,
    /// The client's id for the turn.
    pub turn_id: Option<String>,
    /// How to answer.
    #[serde(default)]
    pub options: OptionsBody,
}

/// `options` of a question.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct OptionsBody {
    pub top_k: Option<usize>,
    pub documents: Vec<String>,
    pub max_tokens: Option<usize>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repeat_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub repeat_last_tokens: Option<usize>,
    pub dry_multiplier: Option<f32>,
    /// The sampler's own; `top_k` is the search's.
    pub sampling_top_k: Option<usize>,
    /// By token id, as text: JSON has no other keys.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    pub seed: Option<u32>,
    pub stop: Vec<String>,
    pub grammar: Option<String>,
    pub json_schema: Option<Value>,
}

/// A `regenerate` frame.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SiblingBody {
    /// The earlier turn.
    pub turn_id: String,
    /// The client's id for the new one.
    pub new_turn_id: Option<String>,
    /// How to answer.
    #[serde(default)]
    pub options: OptionsBody,
}

/// An `edit` frame.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EditBody {
    /// The question instead of that turn's.
    pub message: String,
    /// The rest.
    #[serde(flatten)]
    pub sibling: SiblingBody,
}

/// Body of `POST /api/search`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SearchBody {
    pub query: String,
    pub top_k: Option<usize>,
    #[serde(default)]
    pub documents: Vec<String>,
    #[serde(default)]
    pub history: Vec<HistoryMessage>,
}

/// One earlier message of `history`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HistoryMessage {
    pub role: String,
    pub content: String,
}

/// A frame from a WebSocket client.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientFrame {
    Ask(AskBody),
    Regenerate(SiblingBody),
    Edit(EditBody),
    Cancel { turn_id: Option<String> },
    Resume { after: u64 },
    Ping,
}

impl ClientFrame {
    /// Reads a frame; one without `type` is the predecessor's form of `ask`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("the frame is not valid JSON: {error}"))?;
        let Value::Object(fields) = &value else {
            return Err("a frame must be a JSON object".into());
        };
        let frame = if fields.contains_key("type") {
            serde_json::from_value(value)
        } else {
            serde_json::from_value(value).map(Self::Ask)
        };
        frame.map_err(|error| format!("the frame cannot be understood: {error}"))
    }
}

/// A passage as clients see it; `number` counts from 1.
#[must_use]
pub fn source(number: usize, scored: &ScoredPassage) -> Value {
    let passage = &scored.passage;
    let mut metadata = json!({
        "file_name": passage.file_name,
        "page_label": passage.page.unwrap_or(1).to_string(),
        "file_type": passage.kind.media_type(),
        "document_id": passage.document_id.0,
        "chunk_id": passage.chunk_id.0,
        "char_start": passage.span.start,
        "char_end": passage.span.end,
    });
    if let Some(section) = &passage.section {
        metadata["section"] = json!(section);
    }
    json!({"id": number, "text": passage.text, "score": round(scored.score), "metadata": metadata})
}

/// All passages of a turn.
#[must_use]
pub fn sources_json(passages: &[ScoredPassage]) -> Value {
    passages.iter().enumerate().map(|(index, scored)| source(index + 1, scored)).collect()
}

fn citation(citation: &Citation) -> Value {
    json!({
        "source": citation.source,
        "start": citation.span.start,
        "end": citation.span.end,
        "score": round(citation.score),
    })
}

fn citations(all: &[Citation]) -> Value {
    all.iter().map(citation).collect()
}

fn spans(all: &[CharSpan]) -> Value {
    all.iter().map(|span| json!({"start": span.start, "end": span.end})).collect()
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
    })
}

fn timings(timings: Timings) -> Value {
    let ms = |time: std::time::Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
    json!({
        "queue_ms": ms(timings.queue),
        "embed_ms": ms(timings.embed),
        "retrieve_ms": ms(timings.retrieve),
        "first_token_ms": ms(timings.first_token),
        "total_ms": ms(timings.total),
    })
}

/// Four digits are all that a similarity is worth.
fn round(score: f32) -> f64 {
    (f64::from(score) * 10_000.0).round() / 10_000.0
}

/// A finished turn: the body of `POST /api/chat`, and the fields of `complete`.
#[must_use]
pub fn completion_json(turn_id: &TurnId, done: &Completion) -> Value {
    let path: Vec<&str> = done.workflow_path.iter().map(|node| node.as_str()).collect();
    json!({
        "answer": done.answer,
        "sources": sources_json(&done.sources),
        "num_sources": done.sources.len(),
        "question": done.question,
        "interaction_id": turn_id.as_str(),
        "conversation_id": done.conversation_id.as_str(),
        "grounding": done.grounding.as_str(),
        "citations": citations(&done.citations),
        "unsupported": spans(&done.unsupported),
        "finish_reason": done.finish_reason.as_str(),
        "usage": usage(done.usage),
        "timings": timings(done.timings),
        "workflow_path": path,
        "rewrites_used": u8::from(done.was_rewritten),
        "was_rewritten": done.was_rewritten,
    })
}

/// What went wrong, as an object of its own.
#[must_use]
pub fn error_json(error: &TurnError) -> Value {
    let mut value = json!({"code": error.code.as_str(), "message": error.message});
    if let Some(wait) = error.retry_after {
        value["retry_after_ms"] = json!(whole_ms(wait));
    }
    value
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The error of a reader that wants events which are not kept in memory.
#[must_use]
pub fn events_gone() -> TurnError {
    let message = "events before this moment are gone: what was said is in GET /api/conversations/{id}";
    TurnError::new(ErrorCode::NotFound, message)
}

/// An `error` event; it belongs to a turn only where a number and a turn are added to it.
#[must_use]
pub fn error_event(error: &TurnError) -> Value {
    with_type("error", error_json(error))
}

/// An event of a turn, with its number.
#[must_use]
pub fn event(numbered: &NumberedEvent) -> Value {
    let mut value = match &numbered.event {
        TurnEvent::Workflow { node, message, position, wait } => {
            let mut value = json!({"type": "workflow", "node": node.as_str(), "message": message});
            if let Some(position) = position {
                value["position"] = json!(position);
            }
            if let Some(wait) = wait {
                value["estimate_ms"] = json!(whole_ms(*wait));
            }
            value
        }
        TurnEvent::Sources(passages) => json!({"type": "sources", "sources": sources_json(passages)}),
        TurnEvent::Token(text) => json!({"type": "token", "content": text}),
        TurnEvent::Cited(cited) => with_type("citation", citation(cited)),
        TurnEvent::Completed(done) => with_type("complete", completion_json(&numbered.turn_id, done)),
        TurnEvent::Failed(error) => error_event(error),
    };
    value["seq"] = json!(numbered.seq);
    value["turn_id"] = json!(numbered.turn_id.as_str());
    value
}

fn with_type(name: &str, mut value: Value) -> Value {
    value["type"] = json!(name);
    value
}

/// The first frame on a socket that belongs to a conversation.
#[must_use]
pub fn ready(conversation_id: &str, last_seq: u64, model: &str, busy: bool) -> Value {
    json!({
        "type": "ready",
        "protocol": PROTOCOL,
        "conversation_id": conversation_id,
        "last_seq": last_seq,
        "model": model,
        "busy": busy,
    })
}

/// What the program says of its models in `/api/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelNames {
    /// The generator.
    pub generator: String,
    /// The embedder.
    pub embedder: String,
    /// Where the embedder runs.
    pub execution_provider: String,
    /// Where the generator runs.
    pub generation_backend: String,
}

/// Body of `GET /api/stats`.
#[must_use]
pub fn stats(corpus: &CorpusStats, models: &ModelNames, conversations: i64, serve_files: bool) -> Value {
    json!({
        "documents": corpus.documents,
        "pages": corpus.pages,
        "chunks": corpus.chunks,
        "dataset_version": corpus.dataset_version,
        "bytes": corpus.bytes,
        "fragments": corpus.fragments,
        "index_state": corpus.index_state,
        "models": models,
        "conversations": conversations,
        "serve_files": serve_files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_predecessors_form_is_a_question() {
        let frame = ClientFrame::parse(r#"{"message":"hi","max_retries":2}"#).unwrap();
        assert!(matches!(frame, ClientFrame::Ask(AskBody { message, .. }) if message == "hi"));
    }

    #[test]
    fn every_client_frame_is_understood() {
        assert_eq!(ClientFrame::parse(r#"{"type":"ping"}"#), Ok(ClientFrame::Ping));
        assert_eq!(ClientFrame::parse(r#"{"type":"resume","after":7}"#), Ok(ClientFrame::Resume { after: 7 }));
        let edit = ClientFrame::parse(r#"{"type":"edit","turn_id":"t","message":"x","new_turn_id":"u"}"#);
        assert!(matches!(edit, Ok(ClientFrame::Edit(edit)) if edit.sibling.turn_id == "t" && edit.message == "x"));
        let regenerate = ClientFrame::parse(r#"{"type":"regenerate","turn_id":"t"}"#);
        assert!(matches!(regenerate, Ok(ClientFrame::Regenerate(sibling)) if sibling.new_turn_id.is_none()));
        assert_eq!(ClientFrame::parse(r#"{"type":"cancel"}"#), Ok(ClientFrame::Cancel { turn_id: None }));
        assert!(matches!(
            ClientFrame::parse(r#"{"type":"ask","message":"x","options":{"top_k":3}}"#),
            Ok(ClientFrame::Ask(_))
        ));
    }

    #[test]
    fn a_bad_frame_is_told_what_is_wrong_with_it() {
        let wrong = |text: &str| ClientFrame::parse(text).unwrap_err();
        assert!(wrong("{").contains("not valid JSON"));
        assert!(wrong("[1]").contains("JSON object"));
        assert!(wrong(r#"{"message":5}"#).contains("expected a string"));
        assert!(wrong(r#"{"type":"dance"}"#).contains("unknown variant `dance`"));
        assert!(wrong("{}").contains("missing field `message`"));
    }
}
