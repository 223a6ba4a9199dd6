//! Every route with what it takes and each status it may answer with.

use mentor_actors::domain::ErrorCode;
use serde_json::{Map, Value, json};

use super::operation::{Body, Failures, Operation, nothing, of_json, of_text};
use super::schemas::{Schemas, about, count, flag, range, text};
use crate::http::conversations::LARGEST_PAGE;

/// Groups of routes.
pub const TAGS: [(&str, &str); 7] = [
    ("chat", "Questions and answers"),
    ("conversations", "What is kept of conversations"),
    ("search", "Passages alone"),
    ("course", "The course materials, and the jobs that change them"),
    ("openai", "OpenAI's protocol, for the clients that speak it"),
    ("operations", "Health and figures"),
    ("contract", "This contract, and the web page"),
];

/// What a search may fail with.
const SEARCH: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::TooLarge,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::DeadlineExceeded,
];

/// What a turn in a conversation may fail with; not found is a conversation of somebody else's.
const TURN: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::NotFound,
    ErrorCode::TurnInProgress,
    ErrorCode::TooLarge,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::DeadlineExceeded,
];

/// What reading and changing what is kept of conversations may fail with.
const KEPT: &[ErrorCode] =
    &[ErrorCode::InvalidRequest, ErrorCode::NotFound, ErrorCode::Internal, ErrorCode::Unavailable];

/// What feedback may fail with.
const FEEDBACK: &[ErrorCode] =
    &[ErrorCode::InvalidRequest, ErrorCode::NotFound, ErrorCode::TooLarge, ErrorCode::Internal, ErrorCode::Unavailable];

/// What an upload may fail with.
const UPLOAD: &[ErrorCode] = &[
    ErrorCode::InvalidRequest,
    ErrorCode::TooLarge,
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
    let groups = [
        chat(schemas),
        conversations(schemas),
        documents(schemas),
        jobs(schemas),
        openai(schemas),
        operations(schemas),
        contract(),
    ];
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
            reads: vec![(
                "Last-Event-ID",
                "header",
                about(count(), "with the same body: only what comes after that event"),
            )],
            takes: Body::Json("Question"),
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
            takes: Body::Json("SearchRequest"),
            gives: vec![(200, "passages, best first", of_json(schemas, "SearchResult"))],
            fails: Failures::OursOfBody(SEARCH),
            ..Operation::default()
        },
    ]
}

fn conversations(schemas: &Schemas) -> Vec<Operation> {
    let limit = || ("limit", "query", about(range("integer", 1, LARGEST_PAGE), "how many"));
    let feedback = |path| Operation {
        path,
        method: "post",
        tag: "conversations",
        summary: "Rate an answer",
        description: "Again replaces it.",
        takes: Body::Json("FeedbackRequest"),
        gives: vec![(204, "it is kept", nothing())],
        fails: Failures::OursOfBody(FEEDBACK),
        ..Operation::default()
    };
    vec![
        Operation {
            path: "/api/conversations",
            method: "get",
            tag: "conversations",
            summary: "List one's conversations",
            description: "The one that changed last first.",
            reads: vec![limit(), ("after", "query", about(text(), "`next` of the page before"))],
            gives: vec![(200, "a page of them", of_json(schemas, "Conversations"))],
            fails: Failures::Ours(KEPT),
            ..Operation::default()
        },
        Operation {
            path: "/api/conversations/{conversation_id}",
            method: "get",
            tag: "conversations",
            summary: "One as a tree of turns",
            reads: vec![limit(), ("after", "query", about(count(), "only turns that began after that event"))],
            gives: vec![(200, "its turns", of_json(schemas, "ConversationTree"))],
            fails: Failures::Ours(KEPT),
            ..Operation::default()
        },
        Operation {
            path: "/api/conversations/{conversation_id}",
            method: "delete",
            tag: "conversations",
            summary: "Forget it",
            description: "A running turn ends with an error.",
            gives: vec![(204, "it is gone", nothing())],
            fails: Failures::Ours(KEPT),
            ..Operation::default()
        },
        Operation {
            path: "/api/conversations/{conversation_id}/events",
            method: "get",
            tag: "conversations",
            summary: "Follow it",
            description: "What a WebSocket would get, for EventSource; shapes are in /schema/frames.json.",
            reads: vec![
                ("Last-Event-ID", "header", about(count(), "only what comes after that event")),
                ("after", "query", about(count(), "the same, where there is no such header")),
            ],
            gives: vec![(200, "its events, live", of_events())],
            fails: Failures::Ours(KEPT),
            ..Operation::default()
        },
        feedback("/api/feedback"),
        feedback("/api/analytics/feedback"),
    ]
}

/// A stream, whose events are no JSON body.
fn of_events() -> Value {
    json!({"text/event-stream": {}})
}

fn documents(schemas: &Schemas) -> Vec<Operation> {
    let job = || of_json(schemas, "Job");
    vec![
        Operation {
            path: "/api/documents",
            method: "get",
            tag: "course",
            summary: "List the documents",
            gives: vec![(200, "all of them", of_json(schemas, "Documents"))],
            fails: Failures::Ours(&[ErrorCode::Unavailable]),
            ..Operation::default()
        },
        Operation {
            path: "/api/documents",
            method: "post",
            tag: "course",
            summary: "Add documents",
            description: "Each part with a `filename` is a file, as `curl -F file=@NAME` sends it. All of them get their names, or none does.",
            takes: Body::Files,
            reads: vec![("replace", "query", about(flag(), "files of the same name are replaced"))],
            gives: vec![(202, "the job that takes them in", job())],
            fails: Failures::Ours(UPLOAD),
        },
        Operation {
            path: "/api/documents/{id}",
            method: "delete",
            tag: "course",
            summary: "Remove a document from folder and store",
            description: "Slashes of the id may be sent as they are.",
            gives: vec![(202, "the job that removes it", job())],
            fails: Failures::Ours(&[ErrorCode::NotFound, ErrorCode::Internal, ErrorCode::Unavailable]),
            ..Operation::default()
        },
        file(),
    ]
}

/// A file, and what its header fields ask for.
fn file() -> Operation {
    let content = || json!({"application/pdf": {}, "text/plain": {}, "application/octet-stream": {}});
    Operation {
        path: "/api/files/{document_id}",
        method: "get",
        tag: "course",
        summary: "The file that a document was read from",
        description: "PDF and text to be shown, everything else to be saved. Slashes of the id may be sent as they are. HEAD works, too. `not_found` where `serve_files` is off.",
        reads: vec![
            ("Range", "header", about(text(), "only these bytes of it")),
            ("If-None-Match", "header", about(text(), "only if its `ETag` is another one")),
        ],
        gives: vec![
            (200, "the file", content()),
            (206, "a part of it", content()),
            (304, "it is the same", nothing()),
            (416, "it has no such bytes", nothing()),
        ],
        fails: Failures::Ours(&[
            ErrorCode::NotFound,
            ErrorCode::DocumentChanged,
            ErrorCode::Internal,
            ErrorCode::Unavailable,
        ]),
        ..Operation::default()
    }
}

fn jobs(schemas: &Schemas) -> Vec<Operation> {
    let job = || of_json(schemas, "Job");
    let mut looked_at = job();
    looked_at["text/event-stream"] = json!({});
    vec![
        Operation {
            path: "/api/ingest",
            method: "post",
            tag: "course",
            summary: "Make the store what the folder is",
            takes: Body::OptionalJson("SyncRequest"),
            gives: vec![(202, "the job that does it", job())],
            fails: Failures::OursOfBody(&[ErrorCode::InvalidRequest, ErrorCode::TooLarge, ErrorCode::Unavailable]),
            ..Operation::default()
        },
        Operation {
            path: "/api/ingest",
            method: "get",
            tag: "course",
            summary: "List the jobs",
            gives: vec![(200, "the latest ones", of_json(schemas, "Jobs"))],
            ..Operation::default()
        },
        Operation {
            path: "/api/ingest/{job}",
            method: "get",
            tag: "course",
            summary: "Look at a job, or follow it",
            description: "With `Accept: text/event-stream` JobEvent objects stream up to its end.",
            reads: vec![("Last-Event-ID", "header", about(count(), "only what comes after that event"))],
            gives: vec![(200, "the job, or its events", looked_at)],
            fails: Failures::Ours(&[ErrorCode::InvalidRequest, ErrorCode::NotFound]),
            ..Operation::default()
        },
        Operation {
            path: "/api/ingest/{job}",
            method: "delete",
            tag: "course",
            summary: "Stop a job",
            description: "What it has stored stays.",
            gives: vec![(202, "the job; it stops as soon as it can", job())],
            fails: Failures::Ours(&[ErrorCode::NotFound]),
            ..Operation::default()
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
        gives: vec![(101, "the connection is a WebSocket now", json!({}))],
        fails: Failures::Ours(&[ErrorCode::InvalidRequest]),
        ..Operation::default()
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
            takes: Body::Json("ChatRequest"),
            gives: vec![(
                200,
                "the answer, or where `stream` is true ChatChunk objects as events, then [DONE]",
                completion,
            )],
            fails: Failures::OpenAi(OPENAI),
            ..Operation::default()
        },
        Operation {
            path: "/v1/embeddings",
            method: "post",
            tag: "openai",
            summary: "Vectors of texts",
            description: "By the embedder that finds passages.",
            takes: Body::Json("EmbeddingsRequest"),
            gives: vec![(200, "vectors of length 1, in order", of_json(schemas, "Embeddings"))],
            fails: Failures::OpenAi(OPENAI),
            ..Operation::default()
        },
        Operation {
            path: "/v1/models",
            method: "get",
            tag: "openai",
            summary: "What is served",
            description: "The alias `mentor`, the generator and the embedder.",
            gives: vec![(200, "models", of_json(schemas, "ModelList"))],
            fails: Failures::OpenAi(&[]),
            ..Operation::default()
        },
        Operation {
            path: "/v1/models/{model}",
            method: "get",
            tag: "openai",
            summary: "One of them",
            gives: vec![(200, "a model", of_json(schemas, "Model"))],
            fails: Failures::OpenAi(&[ErrorCode::NotFound]),
            ..Operation::default()
        },
    ]
}

fn operations(schemas: &Schemas) -> Vec<Operation> {
    let get = |path, summary, gives, fails| Operation {
        path,
        method: "get",
        tag: "operations",
        summary,
        gives,
        fails: Failures::Ours(fails),
        ..Operation::default()
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
        ticket(schemas),
        get("/metrics", "Prometheus text", vec![(200, "all metrics", of_text("text/plain"))], &[ErrorCode::Internal]),
    ]
}

fn ticket(schemas: &Schemas) -> Operation {
    Operation {
        path: "/api/ticket",
        method: "post",
        tag: "operations",
        summary: "A ticket in place of the key",
        description: "For the address of a WebSocket or an EventSource, where a browser cannot send a key: `?ticket=...`.",
        gives: vec![(200, "a ticket for one request", of_json(schemas, "Ticket"))],
        fails: Failures::Ours(&[ErrorCode::Internal]),
        ..Operation::default()
    }
}

fn contract() -> Vec<Operation> {
    let get = |path, summary, media| Operation {
        path,
        method: "get",
        tag: "contract",
        summary,
        gives: vec![(200, summary, media)],
        fails: Failures::Ours(&[]),
        ..Operation::default()
    };
    let object = |media: &str| json!({media: {"schema": {"type": "object"}}});
    vec![
        get("/", "The web page", of_text("text/html")),
        get("/openapi.json", "This contract", object("application/json")),
        get("/docs", "This contract as a page", of_text("text/html")),
        get("/schema/frames.json", "JSON Schema of WebSocket frames", object("application/schema+json")),
    ]
}
