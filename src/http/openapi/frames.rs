//! JSON Schema of every frame of the WebSocket protocol, both ways. Server-sent events carry the same events.

use serde_json::{Value, json};

use super::schemas::{Schemas, about, citation_fields, count, flag, list, nodes, object, problem_fields, text, words};
use crate::http::body::AskLimits;
use crate::http::wire::PROTOCOL;

/// The schema of `/schema/frames.json`: any frame, and below `$defs` those of each side.
pub fn schema(limits: AskLimits) -> Value {
    let schemas = Schemas::new("#/$defs/", limits);
    let (client, server) = (client(&schemas), server(&schemas));
    let any_of = |frames: &[(&'static str, Value)]| -> Value {
        json!({"anyOf": frames.iter().map(|(name, _)| schemas.link(name)).collect::<Vec<_>>()})
    };
    let sides = [("ClientFrame", any_of(&client)), ("ServerFrame", any_of(&server))];
    let mut definitions = schemas.shared();
    definitions.extend(client.into_iter().chain(server).chain(sides).map(|(name, frame)| (name.to_owned(), frame)));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Frames of Mentor's WebSocket protocol, version {PROTOCOL}"),
        "anyOf": [schemas.link("ClientFrame"), schemas.link("ServerFrame")],
        "$defs": definitions,
    })
}

fn kind(name: &str) -> (&'static str, Value) {
    ("type", json!({"const": name}))
}

fn client(schemas: &Schemas) -> Vec<(&'static str, Value)> {
    // The short form of `ask` has no type.
    let mut short = json!({"allOf": [schemas.link("Question")], "not": {"required": ["type"]}});
    short["description"] = json!("a question without a type");
    vec![
        ("Ask", schemas.ask_frame()),
        ("ShortAsk", short),
        ("Regenerate", about(schemas.regenerate_frame(), "another answer to the same question")),
        ("Edit", about(schemas.edit_frame(), "another question in the place of that one")),
        ("Cancel", object([kind("cancel")], [("turn_id", schemas.id_or_null())])),
        ("Resume", object([kind("resume"), ("after", about(count(), "a seq; 0 for all that are kept"))], [])),
        ("Ping", object([kind("ping")], [])),
    ]
}

fn server(schemas: &Schemas) -> Vec<(&'static str, Value)> {
    let (problem, wait) = problem_fields();
    let [code, message] = problem.clone();
    let refused = object([kind("error"), code, message], [wait.clone()]);
    let failed = event(schemas, "error", problem, [wait]);
    let place = ("position", about(count(), "of a turn that waits: its place in the queue, from 1"));
    let estimate = ("estimate_ms", about(count(), "how long it is likely to wait there, where that is known"));
    vec![
        ("Ready", ready(schemas)),
        ("Workflow", event(schemas, "workflow", [("node", words(&nodes())), ("message", text())], [place, estimate])),
        ("Sources", event(schemas, "sources", [("sources", list(schemas.link("Source")))], [])),
        ("Token", event(schemas, "token", [("content", text())], [])),
        ("Cited", event(schemas, "citation", citation_fields(), [])),
        ("Complete", event(schemas, "complete", schemas.completion_fields(), [])),
        ("Failed", about(failed, "ends the turn")),
        ("Refused", about(refused, "answers a frame; has no turn_id")),
        ("Pong", object([kind("pong")], [])),
    ]
}

fn ready(schemas: &Schemas) -> Value {
    object(
        [
            kind("ready"),
            ("protocol", json!({"const": PROTOCOL})),
            ("conversation_id", schemas.link("Id")),
            ("last_seq", about(count(), "of the newest event; 0 before the first")),
            ("model", text()),
            ("busy", about(flag(), "a turn is running")),
        ],
        [],
    )
}

/// An event of a turn, with its number.
fn event<const R: usize, const O: usize>(
    schemas: &Schemas,
    name: &str,
    required: [(&str, Value); R],
    optional: [(&str, Value); O],
) -> Value {
    let mut event = object(required, optional);
    let numbered =
        object([kind(name), ("seq", about(count(), "from 1, without gaps")), ("turn_id", schemas.link("Id"))], []);
    for (field, schema) in numbered["properties"].as_object().into_iter().flatten() {
        event["properties"][field] = schema.clone();
    }
    if let (Some(all), Some(more)) = (event["required"].as_array_mut(), numbered["required"].as_array()) {
        all.extend_from_slice(more);
    }
    event
}
