//! Documents of the course, and the jobs that change them.

use serde_json::{Value, json};

use super::schemas::{
    Definitions, Schemas, about, count, flag, list, named, object, or_null, problem_fields, range, text, words,
};

pub fn all(schemas: &Schemas) -> Definitions {
    let mut all = documents(schemas);
    all.extend(jobs(schemas));
    all.extend(job_events(schemas));
    all
}

/// A moment.
fn time() -> Value {
    about(text(), "RFC 3339 in UTC")
}

fn documents(schemas: &Schemas) -> Definitions {
    let limits = object(
        [("max_upload_bytes", about(count(), "of one file")), ("max_upload_files", about(count(), "in one upload"))],
        [],
    );
    let document = object(
        [
            ("id", about(text(), "its path in the course materials")),
            ("file_name", text()),
            ("file_type", about(text(), "media type")),
            ("pages", count()),
            ("chunks", count()),
            ("bytes", about(or_null(count()), "null for what older versions stored")),
            ("ingested_at", about(or_null(time()), "RFC 3339 in UTC; null for what older versions stored")),
            ("copies", about(list(text()), "ids of files with the same content")),
            ("failures", list(schemas.link("DocumentFailure"))),
        ],
        [],
    );
    let failure = object(
        [("page", about(or_null(range("integer", 1, u32::MAX)), "null: the whole document")), ("reason", text())],
        [],
    );
    named([
        (
            "Documents",
            object(
                [
                    ("documents", list(schemas.link("Document"))),
                    ("limits", limits),
                    ("may_delete", about(flag(), "whether who asks may delete them")),
                ],
                [],
            ),
        ),
        ("Document", document),
        ("DocumentFailure", failure),
    ])
}

fn jobs(schemas: &Schemas) -> Definitions {
    let outcome = object(
        [
            ("id", about(text(), "the document")),
            ("outcome", words(&["ingested", "failed", "removed", "renamed", "copy", "unchanged"])),
        ],
        [
            ("pages", about(count(), "of one that is `ingested`")),
            ("chunks", about(count(), "of one that is `ingested`")),
            ("failures", list(schemas.link("DocumentFailure"))),
            ("from", about(text(), "the former id of one that is `renamed`")),
            ("of", about(text(), "the document that stands for a `copy`")),
        ],
    );
    let request = object([], [("retry", about(flag(), "try again what failed before"))]);
    let mut job = job_summary(schemas);
    job["properties"]["documents"] = about(list(schemas.link("DocumentOutcome")), "the first thousand");
    if let Some(required) = job["required"].as_array_mut() {
        required.push(json!("documents"));
    }
    named([
        ("Jobs", object([("jobs", about(list(schemas.link("JobSummary")), "newest first"))], [])),
        ("JobSummary", job_summary(schemas)),
        ("Job", job),
        ("JobProgress", progress()),
        ("DocumentOutcome", outcome),
        ("SyncRequest", request),
    ])
}

fn job_summary(schemas: &Schemas) -> Value {
    let counts = ["ingested", "failed", "removed", "renamed", "copies", "unchanged"].map(|name| (name, count()));
    object(
        [
            ("id", text()),
            ("kind", words(&["upload", "delete", "sync"])),
            ("state", words(&["queued", "running", "done", "failed", "cancelled"])),
            ("cancelling", about(flag(), "told to stop, and not there yet")),
            ("created_at", time()),
            ("started_at", or_null(time())),
            ("ended_at", or_null(time())),
            ("progress", schemas.link("JobProgress")),
            ("counts", object(counts, [])),
            ("last_seq", about(count(), "of the newest event")),
        ],
        [("error", about(schemas.link("Problem"), "why it failed"))],
    )
}

fn progress() -> Value {
    let stage = |unit| object([("done", count()), ("total", count()), ("unit", json!({"const": unit}))], []);
    object([("extract", stage("bytes")), ("embed", stage("chunks")), ("write", stage("documents"))], [])
}

fn job_events(schemas: &Schemas) -> Definitions {
    let ([code, message], wait) = problem_fields();
    let events = [
        ("JobStateEvent", event("state", [("state", words(&["queued", "running"]))])),
        ("JobProgressEvent", event("progress", [("progress", schemas.link("JobProgress"))])),
        ("JobDocumentEvent", event("document", [("document", schemas.link("DocumentOutcome"))])),
        ("JobEndEvent", about(event("complete", [("job", schemas.link("Job"))]), "the end of one that did not fail")),
        ("JobFailureEvent", failure(event("error", [code, message, ("job", schemas.link("Job"))]), wait)),
    ];
    let any: Vec<Value> = events.iter().map(|(name, _)| schemas.link(name)).collect();
    let mut all = named(events);
    all.insert("JobEvent".into(), json!({"description": "an event of a job's stream", "anyOf": any}));
    all
}

fn failure(mut event: Value, (name, wait): (&str, Value)) -> Value {
    event["properties"][name] = wait;
    about(event, "the end of one that failed")
}

/// An event with its number.
fn event<const N: usize>(name: &str, fields: [(&str, Value); N]) -> Value {
    let mut event = object(fields, []);
    let common = [
        ("type", json!({"const": name})),
        ("seq", about(count(), "it grows; numbers may be missing")),
        ("job_id", text()),
    ];
    for (field, schema) in common {
        event["properties"][field] = schema;
        if let Some(required) = event["required"].as_array_mut() {
            required.push(json!(field));
        }
    }
    event
}
