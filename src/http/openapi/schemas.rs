//! Every object on the wire as JSON Schema (2020-12), once: the OpenAPI document and the schema of frames share them.

use mentor_actors::domain::{ErrorCode, FinishReason, Grounding, MAX_ID_CHARS, WorkflowNode};
use serde_json::{Map, Value, json};

use super::{conversation_schemas, course_schemas};
use crate::documents::MAX_PATTERNS;
use crate::http::body::{
    AskLimits, MAX_BIAS, MAX_BIASES, MAX_GRAMMAR_BYTES, MAX_REPEAT_LAST_TOKENS, MAX_SAMPLING_TOP_K, MAX_STOP_CHARS,
    MAX_STOPS, MAX_TOP_K,
};

/// Schemas by name.
pub type Definitions = Map<String, Value>;

/// Makes schemas that refer to each other below one place of a document.
pub struct Schemas {
    /// What a reference begins with.
    place: &'static str,
    pub limits: AskLimits,
}

/// An object with fields that are always there and others that may be.
pub fn object<const R: usize, const O: usize>(required: [(&str, Value); R], optional: [(&str, Value); O]) -> Value {
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    let fields: Definitions =
        required.into_iter().chain(optional).map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "properties": fields, "required": names})
}

pub fn text() -> Value {
    json!({"type": "string"})
}

pub fn words(known: &[&str]) -> Value {
    json!({"type": "string", "enum": known})
}

/// A whole number from 0.
pub fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub fn range(kind: &str, least: impl Into<Value>, most: impl Into<Value>) -> Value {
    json!({"type": kind, "minimum": least.into(), "maximum": most.into()})
}

pub fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

pub fn flag() -> Value {
    json!({"type": "boolean"})
}

/// The same, or null.
pub fn or_null(mut schema: Value) -> Value {
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    schema
}

/// The same, with what it means.
pub fn about(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

impl Schemas {
    pub fn new(place: &'static str, limits: AskLimits) -> Self {
        Self { place, limits }
    }

    pub fn link(&self, name: &str) -> Value {
        json!({"$ref": format!("{}{name}", self.place)})
    }

    /// All but those of OpenAI's protocol.
    pub fn all(&self) -> Definitions {
        let mut all = self.shared();
        all.extend(named([
            ("SearchRequest", self.search_request()),
            (
                "SearchResult",
                object([("query", about(text(), "as searched for")), ("sources", list(self.link("Source")))], []),
            ),
            ("Stats", self.stats()),
            ("Alive", object([("status", json!({"const": "alive"}))], [])),
            (
                "Ready",
                object(
                    [("status", json!({"const": "ready"}))],
                    [
                        (
                            "fault_injection",
                            about(
                                json!({"const": true}),
                                "only of a server that was started for tests of what a panic costs",
                            ),
                        ),
                        ("generator", about(text(), "its name, where it is a fake")),
                    ],
                ),
            ),
            ("Health", self.health()),
            ("Models", models()),
            ("Ticket", ticket()),
            ("Problem", problem()),
            ("Error", error()),
        ]));
        all.append(&mut conversation_schemas::all(self));
        all.append(&mut course_schemas::all(self));
        all
    }

    /// What both REST and WebSocket send.
    pub fn shared(&self) -> Definitions {
        named([
            ("Question", self.question()),
            ("Options", self.options()),
            ("Completion", self.completion()),
            ("Source", self.source()),
            ("Citation", citation()),
            ("Span", object(span_fields(), [])),
            ("Usage", usage()),
            ("Timings", timings()),
            ("Id", id()),
        ])
    }

    fn message(&self) -> Value {
        let mut message = about(text(), "the question; not only white space");
        message["minLength"] = json!(1);
        message["maxLength"] = json!(self.limits.message_chars);
        message["pattern"] = json!("\\S");
        message
    }

    fn question(&self) -> Value {
        let mut question = object([("message", self.message())], self.question_fields());
        question["example"] = json!({"message": "How does a hash table resolve collisions?"});
        question
    }

    pub fn link_or_null(&self, name: &str) -> Value {
        json!({"anyOf": [self.link(name), {"type": "null"}]})
    }

    /// A client's id; null counts as none.
    pub fn id_or_null(&self) -> Value {
        self.link_or_null("Id")
    }

    /// What a question may have beside its message.
    pub fn question_fields(&self) -> [(&str, Value); 3] {
        [("conversation_id", self.id_or_null()), ("turn_id", self.id_or_null()), ("options", self.link("Options"))]
    }

    /// The frame that asks an earlier turn's question again.
    pub fn regenerate_frame(&self) -> Value {
        object([("type", json!({"const": "regenerate"})), self.earlier_turn()], self.sibling_fields())
    }

    /// The frame that asks another question in the place of an earlier turn's.
    pub fn edit_frame(&self) -> Value {
        let required = [("type", json!({"const": "edit"})), self.earlier_turn(), ("message", self.message())];
        object(required, self.sibling_fields())
    }

    fn earlier_turn(&self) -> (&'static str, Value) {
        ("turn_id", about(self.link("Id"), "the earlier turn"))
    }

    fn sibling_fields(&self) -> [(&'static str, Value); 2] {
        [("new_turn_id", self.id_or_null()), ("options", self.link("Options"))]
    }

    /// The fields of a question, as those of a frame that begins with `type`.
    pub fn ask_frame(&self) -> Value {
        object([("type", json!({"const": "ask"})), ("message", self.message())], self.question_fields())
    }

    fn options(&self) -> Value {
        let mut stop_text = text();
        stop_text["minLength"] = json!(1);
        stop_text["maxLength"] = json!(MAX_STOP_CHARS);
        let mut stop = about(list(stop_text), "they end the answer and are no part of it");
        stop["maxItems"] = json!(MAX_STOPS);
        let mut grammar = about(or_null(text()), "what the answer must look like, in GBNF with the rule root");
        grammar["minLength"] = json!(1);
        grammar["maxLength"] = json!(MAX_GRAMMAR_BYTES);
        object(
            [],
            [
                ("top_k", about(or_null(range("integer", 1, MAX_TOP_K)), "passages to retrieve")),
                ("documents", documents()),
                ("max_tokens", about(or_null(range("integer", 1, self.limits.max_tokens)), "longest answer")),
                ("temperature", about(or_null(range("number", 0, 2)), "0 always takes the most probable token")),
                ("top_p", or_null(range("number", 0, 1))),
                ("min_p", or_null(range("number", 0, 1))),
                ("repeat_penalty", about(or_null(range("number", 1, 2)), "1 is off")),
                ("presence_penalty", penalty("taken once from the score of every token used lately")),
                ("frequency_penalty", penalty("taken from the score of a token for every time it was used lately")),
                (
                    "repeat_last_tokens",
                    about(up_to(MAX_REPEAT_LAST_TOKENS), "how far back these three look; 0 is not at all"),
                ),
                (
                    "dry_multiplier",
                    about(or_null(range("number", 0, 2)), "against repeated sequences, in tenths; 0 is off"),
                ),
                ("sampling_top_k", about(up_to(MAX_SAMPLING_TOP_K), "keep the most probable tokens; 0 keeps all")),
                ("logit_bias", logit_bias()),
                ("seed", or_null(range("integer", 0, u32::MAX))),
                ("stop", stop),
                ("grammar", grammar),
                ("json_schema", json_schema()),
            ],
        )
    }

    fn search_request(&self) -> Value {
        let message = object([("role", about(text(), "those of the user count")), ("content", text())], []);
        let mut request = object(
            [("query", self.message())],
            [
                ("top_k", or_null(range("integer", 1, MAX_TOP_K))),
                ("documents", documents()),
                ("history", list(message)),
            ],
        );
        request["example"] = json!({"query": "hash table collisions", "top_k": 3});
        request
    }

    /// A finished turn.
    fn completion(&self) -> Value {
        object(self.completion_fields(), [])
    }

    pub fn completion_fields(&self) -> [(&str, Value); 15] {
        [
            ("answer", text()),
            ("sources", list(self.link("Source"))),
            ("num_sources", count()),
            ("question", about(text(), "what was searched for")),
            ("interaction_id", about(self.link("Id"), "the turn's")),
            ("conversation_id", self.link("Id")),
            ("grounding", grounding()),
            ("citations", list(self.link("Citation"))),
            ("unsupported", about(list(self.link("Span")), "sentences that claim something and stand on no source")),
            ("finish_reason", words(&finish_reasons())),
            ("usage", self.link("Usage")),
            ("timings", self.link("Timings")),
            ("workflow_path", list(words(&nodes()))),
            ("rewrites_used", range("integer", 0, 1)),
            ("was_rewritten", about(flag(), "whether the question before it was put in front")),
        ]
    }

    fn stats(&self) -> Value {
        object(
            [
                ("documents", count()),
                ("pages", count()),
                ("chunks", count()),
                ("bytes", count()),
                ("fragments", count()),
                ("dataset_version", count()),
                ("index_state", text()),
                ("models", self.link("Models")),
                ("conversations", about(count(), "in memory")),
                ("serve_files", about(flag(), "whether the files of documents can be opened")),
            ],
            [],
        )
    }

    fn health(&self) -> Value {
        let worker = object([("state", about(text(), "up, or what is wrong")), ("restarts", count())], []);
        object(
            [
                ("status", words(&["ready", "unavailable"])),
                ("problems", list(text())),
                ("workers", json!({"type": "object", "additionalProperties": worker})),
                ("chunks", or_null(count())),
                ("models", self.link("Models")),
                ("uptime_s", count()),
                ("version", text()),
            ],
            [],
        )
    }

    fn source(&self) -> Value {
        let metadata = object(
            [
                ("file_name", text()),
                ("page_label", text()),
                ("file_type", about(text(), "media type")),
                ("document_id", about(text(), "its path in the course materials")),
                ("chunk_id", text()),
                ("char_start", count()),
                ("char_end", count()),
            ],
            [("section", about(text(), "the nearest heading"))],
        );
        object(
            [
                ("id", about(count(), "its number in the list, from 1")),
                ("text", text()),
                ("score", about(json!({"type": "number"}), "how likely it answers the question, 0 to 1")),
                ("metadata", metadata),
            ],
            [],
        )
    }
}

pub fn named<const N: usize>(schemas: [(&str, Value); N]) -> Definitions {
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// A whole number that may be left out.
fn up_to(most: usize) -> Value {
    or_null(range("integer", 0, most))
}

pub fn penalty(description: &str) -> Value {
    about(or_null(range("number", -2, 2)), description)
}

/// Token ids of the generator's vocabulary, and what is added to their scores.
pub fn logit_bias() -> Value {
    json!({
        "type": ["object", "null"],
        "description": "added to the scores of tokens, by their id in the generator's vocabulary",
        "maxProperties": MAX_BIASES,
        "propertyNames": {"pattern": "^[0-9]{1,10}$"},
        "additionalProperties": range("number", -MAX_BIAS, MAX_BIAS),
    })
}

fn json_schema() -> Value {
    let meaning = "what the answer must look like, as a JSON Schema of what is said in protocol.md; not with grammar";
    about(json!({"type": ["object", "null"]}), meaning)
}

fn documents() -> Value {
    let mut patterns = about(list(text()), "only passages of documents whose name, path or glob matches one");
    patterns["maxItems"] = json!(MAX_PATTERNS);
    patterns
}

fn id() -> Value {
    let mut id = about(text(), "chosen by the client, or a UUID");
    id["pattern"] = json!(format!("^[A-Za-z0-9_.:-]{{1,{MAX_ID_CHARS}}}$"));
    id
}

/// Some characters of the answer.
fn span_fields() -> [(&'static str, Value); 2] {
    [
        ("start", about(count(), "first character of the answer")),
        ("end", about(count(), "the character behind the last")),
    ]
}

/// The fields of a citation: which characters of the answer stand on which source.
pub fn citation_fields() -> [(&'static str, Value); 4] {
    let [start, end] = span_fields();
    [("source", about(count(), "id of a source")), start, end, ("score", range("number", 0, 1))]
}

fn citation() -> Value {
    object(citation_fields(), [])
}

fn usage() -> Value {
    object([("prompt_tokens", count()), ("cached_tokens", count()), ("completion_tokens", count())], [])
}

fn timings() -> Value {
    let ms = || json!({"type": "number", "minimum": 0});
    object(
        [("queue_ms", ms()), ("embed_ms", ms()), ("retrieve_ms", ms()), ("first_token_ms", ms()), ("total_ms", ms())],
        [],
    )
}

pub fn grounding() -> Value {
    words(&[Grounding::Grounded, Grounding::Partial, Grounding::Refused].map(Grounding::as_str))
}

pub fn finish_reasons() -> [&'static str; 4] {
    [FinishReason::Stop, FinishReason::Length, FinishReason::Cancelled, FinishReason::Refused].map(FinishReason::as_str)
}

pub fn nodes() -> [&'static str; 4] {
    use WorkflowNode::{Generate, Queued, Retrieve, RewriteQuery};
    [Queued, RewriteQuery, Retrieve, Generate].map(WorkflowNode::as_str)
}

pub fn codes() -> [&'static str; ErrorCode::ALL.len()] {
    ErrorCode::ALL.map(ErrorCode::as_str)
}

fn models() -> Value {
    object(
        [("generator", text()), ("embedder", text()), ("execution_provider", text()), ("generation_backend", text())],
        [],
    )
}

/// What every error says, and what it may say beside.
pub fn problem_fields() -> ([(&'static str, Value); 2], (&'static str, Value)) {
    (
        [("code", words(&codes())), ("message", about(text(), "for people"))],
        ("retry_after_ms", about(count(), "when trying again makes sense")),
    )
}

fn problem() -> Value {
    let (required, wait) = problem_fields();
    object(required, [wait])
}

fn error() -> Value {
    object([("error", problem()), ("detail", about(text(), "the message again"))], [])
}

fn ticket() -> Value {
    object([("ticket", text()), ("expires_in_s", count())], [])
}
