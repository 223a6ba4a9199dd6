//! OpenAI's protocol with the real models.

use serde_json::{Value, json};

use crate::tutor::with_course;

#[test]
fn a_chat_completion_is_answered_from_the_course_and_cites_it() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let messages = json!([
        {"role": "system", "content": "Answer in one short sentence."},
        {"role": "user", "content": "How is a binary heap stored?"},
    ]);
    let done = server.post("/v1/chat/completions", &json!({"model": "mentor", "messages": messages, "max_tokens": 12}));
    let message = &done["choices"][0]["message"];
    assert!(!message["content"].as_str().unwrap().trim().is_empty(), "{done}");
    assert_eq!(message["mentor"]["sources"][0]["metadata"]["file_name"], "heaps.md");
    assert_eq!(message["mentor"]["question"], "How is a binary heap stored?");
    assert!(done["usage"]["completion_tokens"].as_u64().is_some_and(|tokens| (1..=12).contains(&tokens)), "{done}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn an_answer_with_a_schema_is_json_that_is_valid_by_it() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let asked = |format: Value| {
        let messages = json!([{"role": "user", "content": "How is a binary heap stored?"}]);
        let done = server.post(
            "/v1/chat/completions",
            &json!({
                "model": "mentor", "messages": messages, "response_format": format, "max_tokens": 160,
            }),
        );
        let content = done["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{done}")).to_owned();
        (content.parse::<Value>(), done["choices"][0]["finish_reason"].clone(), content)
    };
    let schema = json!({
        "type": "object",
        "properties": {
            "where": {"type": "string", "maxLength": 30},
            "kind": {"enum": ["tree", "list"]},
            "children": {"type": "integer"},
            "words": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 1, "maxItems": 3},
            "page": {"anyOf": [{"type": "null"}, {"type": "number"}]},
        },
        "required": ["where", "kind", "children", "words", "page"],
    });
    let (answer, reason, text) =
        asked(json!({"type": "json_schema", "json_schema": {"name": "heap", "schema": schema}}));
    assert_eq!(reason, "stop", "{text}");
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(answer["where"].as_str().is_some_and(|place| place.chars().count() <= 30), "{text}");
    assert!(["tree", "list"].contains(&answer["kind"].as_str().unwrap()) && answer["children"].is_number(), "{text}");
    assert!(answer["words"].as_array().is_some_and(|words| (1..=3).contains(&words.len())), "{text}");
    assert!(answer["page"].is_null() || answer["page"].is_number(), "{text}");
    assert_eq!(answer.as_object().unwrap().len(), 5);
    let (object, reason, text) = asked(json!({"type": "json_object"}));
    assert!(reason == "length" || object.is_ok_and(|object| object.is_object()), "{text}");
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn vectors_tell_texts_apart_and_do_not_depend_on_their_company() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let vectors = |input: Value| -> Vec<Vec<f64>> {
        let found = server.post("/v1/embeddings", &json!({"model": "mentor", "input": input}));
        let entries = found["data"].as_array().unwrap_or_else(|| panic!("{found}"));
        let numbers =
            |entry: &Value| entry["embedding"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        entries.iter().map(numbers).collect()
    };
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    // More than one batch, with the texts that are looked at in the first and in the last.
    let mut texts = vec!["the minimum of a heap".to_owned(); 40];
    texts[39] = "a curry with cumin".to_owned();
    let many = vectors(json!(texts));
    assert_eq!(many.len(), 40);
    assert!((dot(&many[0], &many[0]) - 1.0).abs() < 1e-3, "length 1");
    let one = vectors(json!("the smallest element of a priority queue")).remove(0);
    assert!(dot(&one, &many[0]) > dot(&one, &many[39]) + 0.2, "like texts have like vectors");
    let alone = vectors(json!("a curry with cumin")).remove(0);
    assert!(dot(&alone, &many[39]) > 0.99, "the company changes next to nothing");
    assert_eq!(server.terminate(), Some(0));
}
