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
