//! OpenAI's protocol on the raw wire.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use mentor_actors::domain::Token;
use serde_json::{Value, json};

use crate::Server;
use crate::contract::{Answer, fetch};
use crate::support::{BAD_GRAMMAR, Gate, Script, question, settings};

/// A request with one message, and what else is given.
fn chat(extra: Value) -> Value {
    let mut body = json!({"model": "mentor", "messages": [{"role": "user", "content": "what is a heap?"}]});
    extra.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

async fn complete(server: &Server, body: &Value) -> Answer {
    fetch(server, "post", "/v1/chat/completions", "*/*", body).await
}

async fn embed(server: &Server, body: &Value) -> Answer {
    fetch(server, "post", "/v1/embeddings", "*/*", body).await
}

/// The data of each event.
fn events(answer: &Answer) -> Vec<&str> {
    answer.text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap_or(event)).collect()
}

#[actix::test]
async fn a_whole_answer_has_openais_shape_and_its_grounds_beside() {
    let server = Server::start(Script::default());
    let answer = complete(&server, &chat(json!({"stream": false}))).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["object"], &body["model"]), (200, &json!("chat.completion"), &json!("fake")));
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["content"], "A binary heap is a complete tree in an array.");
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    let usage = &body["usage"];
    assert_eq!(usage["completion_tokens"], 3);
    assert_eq!(usage["total_tokens"].as_u64(), usage["prompt_tokens"].as_u64().map(|tokens| tokens + 3));
    let mentor = &choice["message"]["mentor"];
    assert_eq!((&mentor["grounding"], &mentor["citations"][0]["source"]), (&json!("grounded"), &json!(1)));
    assert_eq!(mentor["sources"][0]["metadata"]["file_name"], "heaps.pdf");
    server.stop().await;
}

#[actix::test]
async fn a_stream_begins_with_the_role_and_ends_with_reason_grounds_usage_and_done() {
    let server = Server::start(Script::default());
    let asked = chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answer = complete(&server, &asked).await;
    assert_eq!((answer.status, answer.media_type.as_str()), (200, "text/event-stream"));
    let all = events(&answer);
    let (done, chunks) = all.split_last().unwrap();
    assert_eq!(*done, "[DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect();
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"]));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let content: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(content, "A binary heap is a complete tree in an array.");
    let [.., last, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(
        (&last["choices"][0]["finish_reason"], &last["mentor"]["grounding"]),
        (&json!("stop"), &json!("grounded"))
    );
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(3)));
    assert!(chunks[0].as_object().unwrap().contains_key("usage") && chunks[0]["usage"].is_null());

    let plain = complete(&server, &chat(json!({"stream": true}))).await;
    assert!(!plain.text.contains("\"usage\""), "{}", plain.text);
    server.stop().await;
}

#[actix::test]
async fn openai_s_samplers_reach_the_engine_and_others_come_beside() {
    let server = Server::start(Script::default());
    let asked = chat(json!({
        "logit_bias": {"50256": -100}, "presence_penalty": 0.5, "frequency_penalty": -0.5,
        "mentor": {"sampling_top_k": 3, "dry_multiplier": 0.8, "presence_penalty": 1.0},
    }));
    assert_eq!(complete(&server, &asked).await.status, 200);
    let begun = server.tutor.begun.lock().unwrap().clone();
    let [generation] = &begun[..] else { panic!("{} generations", begun.len()) };
    let sampling = &generation.sampling;
    assert_eq!(sampling.logit_bias, [(Token(50_256), -100.0)]);
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (0.5, -0.5), "OpenAI's own go before");
    assert_eq!((sampling.top_k, sampling.dry_multiplier), (3, 0.8));
    for (wrong, name) in [
        (json!({"logit_bias": {"5": 200}}), "logit_bias"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": -3}), "frequency_penalty"),
    ] {
        let refused = complete(&server, &chat(wrong)).await;
        assert_eq!((refused.status, refused.json()["error"]["type"].as_str()), (400, Some("invalid_request_error")));
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains(name), "{}", refused.text);
    }
    server.stop().await;
}

#[actix::test]
async fn the_messages_are_the_conversation_and_none_is_kept() {
    let server = Server::start(Script::default());
    let body = json!({"model": "fake", "seed": -1, "stop": ["END"], "max_tokens": 100_000, "mentor": {"top_k": 2}, "messages": [
        {"role": "system", "content": "Speak like a pirate."},
        {"role": "user", "content": "what is a heap?"},
        {"role": "assistant", "content": "A tree."},
        {"role": "user", "content": "and how is it stored?"},
    ]});
    let answer = complete(&server, &body).await.json();
    let mentor = &answer["choices"][0]["message"]["mentor"];
    assert_eq!(mentor["question"], "what is a heap? and how is it stored?");
    assert_eq!((&mentor["was_rewritten"], mentor["sources"].as_array().unwrap().len()), (&json!(true), 2));
    let begun = server.tutor.begun.lock().unwrap().pop().unwrap();
    let texts: Vec<&str> = begun.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts[..3], [settings().system_prompt.as_str(), "what is a heap?", "A tree."]);
    assert!(texts[3].ends_with("Speak like a pirate.\n\nand how is it stored?"), "{}", texts[3]);
    assert_eq!((begun.max_tokens, begun.sampling.seed, begun.stop.join(",")), (256, u32::MAX, "END".into()));
    assert_eq!(server.call("GET", "/api/stats", "").await.1["conversations"], 0);
    server.stop().await;
}

#[actix::test]
async fn a_question_beside_the_course_is_an_answer_that_stops() {
    let server = Server::start(Script { score: 0.2, pieces: vec!["never"], ..Script::default() });
    for stream in [false, true] {
        let answer = complete(&server, &chat(json!({"stream": stream}))).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text.contains("I could not find anything about this"), "{}", answer.text);
        assert!(answer.text.contains(r#""finish_reason":"stop""#) && answer.text.contains(r#""grounding":"refused""#));
    }
    server.stop().await;
}

#[actix::test]
async fn bad_requests_name_the_field_in_openais_shape() {
    let server = Server::start(Script::default());
    let long = "x".repeat(2_001);
    let cases = [
        (chat(json!({"model": "gpt-4o"})), 404, "model_not_found", json!("model")),
        (json!({"messages": []}), 400, "invalid_request", json!(null)),
        (chat(json!({"messages": []})), 400, "invalid_request", json!("messages")),
        (chat(json!({"messages": [{"role": "user", "content": long}]})), 413, "too_large", json!("messages")),
        (chat(json!({"n": 3})), 400, "invalid_request", json!("n")),
        (chat(json!({"temperature": 3})), 400, "invalid_request", json!(null)),
        (chat(json!({"temperature": "hot"})), 400, "invalid_request", json!(null)),
        (chat(json!({"max_tokens": 0})), 400, "invalid_request", json!(null)),
        (chat(json!({"response_format": {"type": "xml"}})), 400, "invalid_request", json!("response_format")),
        (chat(json!({"mentor": {"grammar": BAD_GRAMMAR}})), 400, "invalid_request", json!(null)),
        (json!("x".repeat(300_000)), 413, "too_large", json!(null)),
    ];
    for (body, status, code, param) in cases {
        let answer = complete(&server, &body).await;
        let error = answer.json()["error"].clone();
        let shown = body.to_string().chars().take(120).collect::<String>();
        assert_eq!(
            (answer.status, &error["code"], &error["param"]),
            (status, &json!(code), &param),
            "{shown} -> {error}"
        );
        assert_eq!(error["type"], "invalid_request_error");
    }
    let nowhere = fetch(&server, "get", "/v1/nowhere", "*/*", &json!(null)).await;
    assert_eq!((nowhere.status, &nowhere.json()["error"]["type"]), (404, &json!("invalid_request_error")));
    server.stop().await;
}

#[actix::test]
async fn a_full_tutor_says_429_and_when_to_come_back() {
    let server = Server::start(Script { admission: 0, ..Script::default() });
    for stream in [false, true] {
        let answer = complete(&server, &chat(json!({"stream": stream}))).await;
        assert_eq!((answer.status, answer.retry_after.is_some()), (429, true));
        assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    }
    server.stop().await;
}

#[actix::test]
async fn what_fails_early_is_a_status_and_what_fails_later_an_event() {
    let server = Server::start(Script { engine_fails_at_step: Some(2), ..Script::default() });
    let poisoned = json!([{"role": "user", "content": "what about poison, in a question of its own?"}]);
    let early = complete(&server, &chat(json!({"stream": true, "messages": poisoned}))).await;
    assert_eq!((early.status, &early.json()["error"]["code"]), (503, &json!("unavailable")));
    let late = complete(&server, &chat(json!({"stream": true}))).await;
    assert_eq!(late.status, 200);
    let last: Value = serde_json::from_str(events(&late).last().unwrap()).unwrap();
    assert_eq!(last["error"]["type"], "server_error", "{}", late.text);
    server.stop().await;
}

#[actix::test]
async fn a_caller_that_leaves_frees_its_place() {
    for stream in [false, true] {
        let gate = Arc::new(Gate::default());
        let server = Server::start(Script { gate: gate.clone(), admission: 1, ..Script::default() });
        let body = chat(json!({"stream": stream})).to_string();
        let mut caller = TcpStream::connect(server.address).unwrap();
        write!(
            caller,
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        while server.tutor.begun.lock().unwrap().is_empty() {
            assert_eq!(server.call("GET", "/livez", "").await.0, 200);
        }
        drop(caller);
        // The engine waits within its step, so only the cancel of a caller that left can free the place.
        while server.tutor.admission.admit(&question("next", "?"), None, 1).is_err() {
            assert_eq!(server.call("GET", "/livez", "").await.0, 200);
        }
        gate.open();
        assert_eq!(complete(&server, &chat(json!({}))).await.status, 200);
        server.stop().await;
    }
}

#[actix::test]
async fn vectors_come_as_numbers_or_base64_with_their_count_of_tokens() {
    let server = Server::start(Script::default());
    let texts: Vec<String> = (0..40).map(|number| format!("text {number}")).collect();
    let answer = embed(&server, &json!({"model": "mentor", "input": texts})).await.json();
    let data = answer["data"].as_array().unwrap();
    assert_eq!((data.len(), &data[39]["index"], &data[39]["embedding"]), (40, &json!(39), &json!([1.0, 0.0])));
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["model"]), (&json!(40 * 4), &json!("fake-embedder")));
    let asked = json!({"model": "fake-embedder", "input": "x", "encoding_format": "base64", "dimensions": 2});
    assert_eq!(embed(&server, &asked).await.json()["data"][0]["embedding"], "AACAPwAAAAA=");
    server.stop().await;
}

#[actix::test]
async fn texts_that_cannot_be_embedded_are_refused_with_the_reason() {
    let server = Server::start(Script::default());
    let cases = [
        (json!({"model": "fake", "input": "x"}), 404, "there is no model"),
        (json!({"model": "mentor", "input": [1, 2]}), 400, "tokens of another model"),
        (json!({"model": "mentor", "input": []}), 400, "0 texts"),
        (json!({"model": "mentor", "input": "x", "dimensions": 5}), 400, "dimensions is 5; this model has 2"),
        (json!({"model": "mentor", "input": ["x", "a b c d e f g h i"]}), 413, "text 1 of input has 11 tokens, 10 are"),
        (json!({"model": "mentor", "input": "poison"}), 503, "could not be embedded"),
    ];
    for (body, status, part) in cases {
        let answer = embed(&server, &body).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(answer.status == status && message.contains(part), "{body} -> {} {message}", answer.status);
    }
    server.stop().await;
}

#[actix::test]
async fn models_are_listed_and_found_by_name() {
    let server = Server::start(Script::default());
    let list = fetch(&server, "get", "/v1/models", "*/*", &json!(null)).await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["mentor", "fake", "fake-embedder"]);
    let one = fetch(&server, "get", "/v1/models/fake-embedder", "*/*", &json!(null)).await.json();
    assert_eq!((&one["id"], &one["object"]), (&json!("fake-embedder"), &json!("model")));
    assert_eq!(fetch(&server, "get", "/v1/models/x", "*/*", &json!(null)).await.status, 404);
    server.stop().await;
}
