//! Every route with what it takes and each status it may answer with.

use std::collections::BTreeMap;

use mentor_actors::domain::ErrorCode;
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::http::errors::status;

/// Groups of routes.
pub const TAGS: [(&str, &str); 5] = [
    ("chat", "Questions and answers"),
    ("search", "Passages alone"),
    ("openai", "OpenAI's protocol, for the clients that speak it"),
    ("operations", "Health and figures"),
    ("contract", "This contract, and the web page"),
];

/// A route. What is common to many is filled in by `Operation::json`.
struct Operation {
    path: &'static str,
    method: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    /// Schema of the JSON body.
    takes: Option<&'static str>,
    /// Status, description, content by media type.
    gives: Vec<(u16, &'static str, Value)>,
    fails: Failures,
}

/// Which errors a route may answer with, and in which shape.
#[derive(Clone, Copy)]
enum Failures {
    Ours(&'static [ErrorCode]),
    /// Ours, and 422 for JSON with wrong fields.
    OursOfBody(&'static [ErrorCode]),
    OpenAi(&'static [ErrorCode]),
}

/// What a search may fail with.
const SEARCH: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::TooLarge,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::DeadlineExceeded,
];

/// What a turn in a conversation may fail with.
const TURN: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::TurnInProgress,
    ErrorCode::TooLarge,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::DeadlineExceeded,
];

/// What an answer or vectors in OpenAI's shape may fail with; not found is the model.
const OPENAI: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::NotFound,
    ErrorCode::TooLarge,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::DeadlineExceeded,
];

pub fn paths(schemas: &Schemas) -> Value {
    let mut paths = Map::new();
    let groups = [chat(schemas), openai(schemas), operations(schemas), contract()];
    for operation in groups.into_iter().flatten() {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        methods[operation.method] = operation.json(schemas);
    }
    Value::Object(paths)
}

fn chat(schemas: &Schemas) -> Vec<Operation> {
    let answer = json!({
        "application/json": {"schema": schemas.link("Completion")},
        "text/event-stream": {},
    });
    vec![
        Operation {
            path: "/api/chat",
            method: "post",
            tag: "chat",
            summary: "Ask a question",
            description: "With `Accept: text/event-stream` the turn's events stream; their shapes are in /schema/frames.json.",
            takes: Some("Question"),
            gives: vec![(200, "the answer, or its events", answer)],
            fails: Failures::OursOfBody(TURN),
        },
        socket("/api/ws/chat", "Ask over a WebSocket; the first question names the conversation"),
        socket("/api/ws/chat/{conversation_id}", "Ask over a WebSocket in that conversation"),
        Operation {
            path: "/api/search",
            method: "post",
            tag: "search",
            summary: "Search the course materials",
            description: "Messages of the user in `history` count as earlier questions.",
            takes: Some("SearchRequest"),
            gives: vec![(200, "passages, best first", of_json(schemas, "SearchResult"))],
            fails: Failures::OursOfBody(SEARCH),
        },
    ]
}

fn socket(path: &'static str, summary: &'static str) -> Operation {
    Operation {
        path,
        method: "get",
        tag: "chat",
        summary,
        description: "A WebSocket handshake. Every frame, both ways, is in /schema/frames.json.",
        takes: None,
        gives: vec![(101, "the connection is a WebSocket now", json!({}))],
        fails: Failures::Ours(&[ErrorCode::InvalidRequest]),
    }
}

fn openai(schemas: &Schemas) -> Vec<Operation> {
    let completion = json!({
        "application/json": {"schema": schemas.link("ChatCompletion")},
        "text/event-stream": {},
    });
    vec![
        Operation {
            path: "/v1/chat/completions",
            method: "post",
            tag: "openai",
            summary: "Answer the last message",
            description: "The messages before it are its conversation; nothing is kept. Sources, citations and grounding are in `mentor`.",
            takes: Some("ChatRequest"),
            gives: vec![(
                200,
                "the answer, or where `stream` is true ChatChunk objects as events, then [DONE]",
                completion,
            )],
            fails: Failures::OpenAi(OPENAI),
        },
        Operation {
            path: "/v1/embeddings",
            method: "post",
            tag: "openai",
            summary: "Vectors of texts",
            description: "By the embedder that finds passages.",
            takes: Some("EmbeddingsRequest"),
            gives: vec![(200, "vectors of length 1, in order", of_json(schemas, "Embeddings"))],
            fails: Failures::OpenAi(OPENAI),
        },
        Operation {
            path: "/v1/models",
            method: "get",
            tag: "openai",
            summary: "What is served",
            description: "The alias `mentor`, the generator and the embedder.",
            takes: None,
            gives: vec![(200, "models", of_json(schemas, "ModelList"))],
            fails: Failures::OpenAi(&[]),
        },
        Operation {
            path: "/v1/models/{model}",
            method: "get",
            tag: "openai",
            summary: "One of them",
            description: "",
            takes: None,
            gives: vec![(200, "a model", of_json(schemas, "Model"))],
            fails: Failures::OpenAi(&[ErrorCode::NotFound]),
        },
    ]
}

fn operations(schemas: &Schemas) -> Vec<Operation> {
    let get = |path, summary, gives, fails| Operation {
        path,
        method: "get",
        tag: "operations",
        summary,
        description: "",
        takes: None,
        gives,
        fails: Failures::Ours(fails),
    };
    let health = || of_json(schemas, "Health");
    vec![
        get(
            "/api/stats",
            "What the course holds",
            vec![(200, "figures", of_json(schemas, "Stats"))],
            &[ErrorCode::Unavailable],
        ),
        get("/livez", "Does the process answer", vec![(200, "it does", of_json(schemas, "Alive"))], &[]),
        get(
            "/readyz",
            "Can it answer questions",
            vec![(200, "it can", of_json(schemas, "Ready"))],
            &[ErrorCode::Unavailable],
        ),
        get(
            "/api/health",
            "Can it answer questions, with detail",
            vec![(200, "it can", health()), (503, "it cannot", health())],
            &[],
        ),
        get("/metrics", "Prometheus text", vec![(200, "all metrics", of_text("text/plain"))], &[ErrorCode::Internal]),
    ]
}

fn contract() -> Vec<Operation> {
    let get = |path, summary, media| Operation {
        path,
        method: "get",
        tag: "contract",
        summary,
        description: "",
        takes: None,
        gives: vec![(200, summary, media)],
        fails: Failures::Ours(&[]),
    };
    let object = |media: &str| json!({media: {"schema": {"type": "object"}}});
    vec![
        get("/", "The web page", of_text("text/html")),
        get("/openapi.json", "This contract", object("application/json")),
        get("/docs", "This contract as a page", of_text("text/html")),
        get("/schema/frames.json", "JSON Schema of WebSocket frames", object("application/schema+json")),
    ]
}

fn of_json(schemas: &Schemas, name: &str) -> Value {
    json!({"application/json": {"schema": schemas.link(name)}})
}

fn of_text(media: &str) -> Value {
    json!({media: {"schema": {"type": "string"}}})
}

impl Operation {
    fn json(&self, schemas: &Schemas) -> Value {
        let mut operation = json!({
            "operationId": self.id(),
            "tags": [self.tag],
            "summary": self.summary,
            "responses": self.responses(schemas),
        });
        if !self.description.is_empty() {
            operation["description"] = json!(self.description);
        }
        if let Some(name) = self.takes {
            operation["requestBody"] = json!({"required": true, "content": of_json(schemas, name)});
        }
        let parameters = self.parameters(schemas);
        if !parameters.is_empty() {
            operation["parameters"] = json!(parameters);
        }
        operation
    }

    /// Method and path in words: `post_api_chat`.
    fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        std::iter::once(self.method).chain(words).collect::<Vec<_>>().join("_")
    }

    fn responses(&self, schemas: &Schemas) -> Value {
        let mut responses = Map::new();
        for (status, description, content) in &self.gives {
            let mut response = json!({"description": description});
            if content.as_object().is_some_and(|content| !content.is_empty()) {
                response["content"] = content.clone();
            }
            responses.insert(status.to_string(), response);
        }
        for (status, codes) in self.fails.by_status() {
            let mut response = json!({"description": codes.join(", "), "content": self.fails.content(schemas)});
            if status == 429 || status == 503 {
                let seconds = json!({"description": "seconds", "schema": {"type": "integer", "minimum": 1}});
                response["headers"] = json!({"Retry-After": seconds});
            }
            responses.insert(status.to_string(), response);
        }
        Value::Object(responses)
    }

    /// Those in the path.
    fn parameters(&self, schemas: &Schemas) -> Vec<Value> {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
        let schema = |name| match name {
            "conversation_id" => schemas.link("Id"),
            _ => json!({"type": "string", "minLength": 1}),
        };
        names.map(|name| json!({"name": name, "in": "path", "required": true, "schema": schema(name)})).collect()
    }
}

impl Failures {
    fn by_status(self) -> BTreeMap<u16, Vec<&'static str>> {
        let (Self::Ours(codes) | Self::OursOfBody(codes) | Self::OpenAi(codes)) = self;
        let mut statuses: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for code in codes {
            statuses.entry(status(*code).as_u16()).or_default().push(code.as_str());
        }
        if matches!(self, Self::OursOfBody(_)) {
            statuses.insert(422, vec!["invalid_request: JSON with wrong or missing fields"]);
        }
        statuses
    }

    fn content(self, schemas: &Schemas) -> Value {
        of_json(schemas, if matches!(self, Self::OpenAi(_)) { "OpenAiError" } else { "Error" })
    }
}
