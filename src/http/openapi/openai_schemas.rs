//! OpenAI's objects, as far as they are understood and sent here.

use serde_json::{Value, json};

use super::schemas::{
    Definitions, Schemas, about, count, finish_reasons, flag, grounding, list, logit_bias, named, object, or_null,
    penalty, range, text, words,
};
use crate::http::body::{MAX_STOP_CHARS, MAX_STOPS};
use crate::http::openai::{MAX_INSTRUCTION_CHARS, MAX_TEXTS};

pub fn all(schemas: &Schemas) -> Definitions {
    named([
        ("ChatRequest", chat_request(schemas)),
        ("ChatMessage", message()),
        ("ChatCompletion", completion(schemas)),
        ("ChatChunk", chunk(schemas)),
        ("ChatUsage", chat_usage()),
        ("Grounds", grounds(schemas)),
        ("Model", model()),
        ("ModelList", object([("object", constant("list")), ("data", list(schemas.link("Model")))], [])),
        ("EmbeddingsRequest", embeddings_request()),
        ("Embeddings", embeddings()),
        ("OpenAiError", error()),
    ])
}

fn constant(value: &str) -> Value {
    json!({"const": value})
}

/// Unix time in seconds.
fn time() -> Value {
    about(count(), "seconds since 1970")
}

fn chat_request(schemas: &Schemas) -> Value {
    let mut messages = about(
        list(schemas.link("ChatMessage")),
        &format!(
            "the conversation so far; the last one is the user's question. System messages, {MAX_INSTRUCTION_CHARS} characters \
             in all, are read as instructions beside the tutor's own"
        ),
    );
    messages["minItems"] = json!(1);
    let mut stop_text = text();
    stop_text["minLength"] = json!(1);
    stop_text["maxLength"] = json!(MAX_STOP_CHARS);
    let mut stops = list(stop_text.clone());
    stops["maxItems"] = json!(MAX_STOPS);
    let tokens =
        || about(or_null(json!({"type": "integer", "minimum": 1})), "more than the configured means the configured");
    let usage = about(or_null(flag()), "a last chunk with the usage");
    let stream_options = or_null(object([], [("include_usage", usage)]));
    let mut request = object(
        [("model", about(text(), "a name of GET /v1/models; mentor always works")), ("messages", messages)],
        [
            ("stream", or_null(flag())),
            ("stream_options", stream_options),
            ("temperature", or_null(range("number", 0, 2))),
            ("top_p", or_null(range("number", 0, 1))),
            ("max_completion_tokens", tokens()),
            ("max_tokens", tokens()),
            ("stop", json!({"anyOf": [stop_text, stops, {"type": "null"}]})),
            ("presence_penalty", penalty("as in mentor")),
            ("frequency_penalty", penalty("as in mentor")),
            ("logit_bias", logit_bias()),
            ("seed", or_null(range("integer", i64::MIN, i64::MAX))),
            ("n", or_null(range("integer", 1, 1))),
            ("response_format", response_format()),
            ("mentor", json!({"anyOf": [schemas.link("Options"), {"type": "null"}]})),
        ],
    );
    request["description"] = json!("Fields that are not listed are ignored.");
    let question = json!([{"role": "user", "content": "How does a hash table resolve collisions?"}]);
    request["example"] = json!({"model": "mentor", "messages": question});
    request
}

fn response_format() -> Value {
    let schema = object([("schema", json!({"type": "object"}))], [("name", text()), ("strict", or_null(flag()))]);
    let kind = words(&["text", "json_object", "json_schema"]);
    or_null(object([("type", kind)], [("json_schema", or_null(schema))]))
}

fn message() -> Value {
    let part = object([("type", constant("text")), ("text", text())], []);
    object(
        [("role", words(&["system", "developer", "user", "assistant"]))],
        [("content", json!({"anyOf": [text(), list(part), {"type": "null"}]}))],
    )
}

fn completion(schemas: &Schemas) -> Value {
    let message = object(
        [
            ("role", constant("assistant")),
            ("content", text()),
            ("refusal", json!({"type": "null"})),
            ("mentor", schemas.link("Grounds")),
        ],
        [],
    );
    let choice = object(
        [
            ("index", constant_zero()),
            ("message", message),
            ("logprobs", json!({"type": "null"})),
            ("finish_reason", finish_reason()),
        ],
        [],
    );
    let [id, created, model] = envelope();
    let fields = [
        id,
        ("object", constant("chat.completion")),
        created,
        model,
        ("choices", list(choice)),
        ("usage", schemas.link("ChatUsage")),
    ];
    object(fields, [])
}

fn chunk(schemas: &Schemas) -> Value {
    let delta = object([], [("role", constant("assistant")), ("content", text())]);
    let choice = object(
        [
            ("index", constant_zero()),
            ("delta", delta),
            ("logprobs", json!({"type": "null"})),
            ("finish_reason", json!({"anyOf": [finish_reason(), {"type": "null"}]})),
        ],
        [],
    );
    let [id, created, model] = envelope();
    let fields = [id, ("object", constant("chat.completion.chunk")), created, model, ("choices", list(choice))];
    let usage = json!({"anyOf": [schemas.link("ChatUsage"), {"type": "null"}]});
    let grounds = json!({"description": "on the last chunk of the answer", "anyOf": [schemas.link("Grounds")]});
    object(fields, [("usage", usage), ("mentor", grounds)])
}

/// What all parts of one answer have in common.
fn envelope() -> [(&'static str, Value); 3] {
    [("id", text()), ("created", time()), ("model", text())]
}

fn constant_zero() -> Value {
    json!({"const": 0})
}

/// OpenAI's; how the turn itself ended stands in `mentor`.
fn finish_reason() -> Value {
    words(&["stop", "length"])
}

fn chat_usage() -> Value {
    let details = object([("cached_tokens", count())], []);
    object(
        [
            ("prompt_tokens", count()),
            ("completion_tokens", count()),
            ("total_tokens", count()),
            ("prompt_tokens_details", details),
        ],
        [],
    )
}

/// The field `mentor`.
fn grounds(schemas: &Schemas) -> Value {
    object(
        [
            ("sources", list(schemas.link("Source"))),
            ("citations", list(schemas.link("Citation"))),
            ("grounding", grounding()),
            ("question", about(text(), "what was searched for")),
            ("was_rewritten", flag()),
            ("finish_reason", words(&finish_reasons())),
            ("timings", schemas.link("Timings")),
        ],
        [],
    )
}

fn model() -> Value {
    object([("id", text()), ("object", constant("model")), ("created", time()), ("owned_by", text())], [])
}

fn embeddings_request() -> Value {
    let mut one = text();
    one["pattern"] = json!("\\S");
    let mut several = list(one.clone());
    several["minItems"] = json!(1);
    several["maxItems"] = json!(MAX_TEXTS);
    let input = json!({"description": "none longer than the model reads", "anyOf": [one, several]});
    let mut request = object(
        [("model", about(text(), "the embedder's name in GET /v1/models, or mentor")), ("input", input)],
        [
            ("encoding_format", json!({"enum": ["float", "base64", null]})),
            ("dimensions", about(or_null(count()), "only the model's own")),
        ],
    );
    request["example"] = json!({"model": "mentor", "input": ["a heap", "a list"]});
    request
}

fn embeddings() -> Value {
    let vector = json!({"anyOf": [
        list(json!({"type": "number"})),
        about(text(), "little-endian 32-bit numbers in Base64"),
    ]});
    let entry = object([("object", constant("embedding")), ("index", count()), ("embedding", vector)], []);
    let usage = object([("prompt_tokens", count()), ("total_tokens", count())], []);
    object([("object", constant("list")), ("data", list(entry)), ("model", text()), ("usage", usage)], [])
}

fn error() -> Value {
    let inner = object(
        [
            ("message", text()),
            ("type", words(&["invalid_request_error", "rate_limit_error", "server_error"])),
            ("param", about(or_null(text()), "the field that is wrong")),
            ("code", about(text(), "a code of Error, or model_not_found")),
        ],
        [],
    );
    object([("error", inner)], [])
}
