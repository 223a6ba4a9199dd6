//! The shapes of answers: what OpenAI's clients read, and the field `mentor` beside it.

use std::time::SystemTime;

use mentor_actors::domain::{Completion, FinishReason, TurnId, Usage};
use serde_json::{Value, json};

use super::models::seconds;
use crate::http::wire::completion_json;

/// What all parts of one answer have in common.
#[derive(Debug, Clone)]
pub struct Envelope {
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
}

impl Envelope {
    /// For an answer that begins now; `include_usage` is for one that is streamed.
    pub fn new(turn_id: &TurnId, model: &str, include_usage: bool) -> Self {
        let (id, created) = (format!("chatcmpl-{turn_id}"), seconds(SystemTime::now()));
        Self { id, created, model: model.to_owned(), include_usage }
    }

    fn around(&self, object: &str, choices: Value) -> Value {
        let Self { id, created, model, .. } = self;
        json!({"id": id, "object": object, "created": created, "model": model, "choices": choices})
    }

    /// A whole answer.
    pub fn completion(&self, turn_id: &TurnId, done: &Completion) -> Value {
        let message =
            json!({"role": "assistant", "content": done.answer, "refusal": null, "mentor": added(turn_id, done)});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason(done)});
        let mut value = self.around("chat.completion", json!([choice]));
        value["usage"] = usage(done.usage);
        value
    }

    /// A part of an answer that is streamed. A client that asks for the usage finds the field in each, empty until the end.
    pub fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
        let mut value = self.around("chat.completion.chunk", json!([choice]));
        if self.include_usage {
            value["usage"] = Value::Null;
        }
        value
    }

    /// The last parts of an answer: its end, and the usage where the client asks for it.
    pub fn last_chunks(&self, turn_id: &TurnId, done: &Completion) -> Vec<Value> {
        let mut last = self.chunk(&json!({}), Some(finish_reason(done)));
        last["mentor"] = added(turn_id, done);
        let mut chunks = vec![last];
        if self.include_usage {
            let mut end = self.around("chat.completion.chunk", json!([]));
            end["usage"] = usage(done.usage);
            chunks.push(end);
        }
        chunks
    }
}

/// OpenAI knows neither a refusal by the tutor, which is an answer, nor a turn that was stopped.
fn finish_reason(done: &Completion) -> &'static str {
    match done.finish_reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Refused | FinishReason::Cancelled => "stop",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

/// The fields of `complete` that OpenAI's shape has no place for.
fn added(turn_id: &TurnId, done: &Completion) -> Value {
    let mut all = completion_json(turn_id, done);
    let names = ["sources", "citations", "grounding", "question", "was_rewritten", "finish_reason", "timings"];
    names.into_iter().map(|name| (name.to_owned(), all[name].take())).collect()
}
