//! A full tutor at every door: refused at once, with a time to come back, and nothing done for it.

use std::sync::Arc;

use mentor_actors::telemetry::Measurement;
use serde_json::{Value, json};

use crate::Server;
use crate::contract::fetch;
use crate::support::{Gate, Measured, Script};

fn asked(extra: Value) -> Value {
    let mut body = json!({"message": "what is a heap?"});
    extra.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
    body
}

#[actix::test]
async fn a_full_tutor_refuses_every_kind_of_question_before_it_opens_a_conversation() {
    let measured = Arc::new(Measured::default());
    let server = Server::start(Script { admission: 0, telemetry: measured.clone(), ..Script::default() });
    for accept in ["application/json", "text/event-stream"] {
        for extra in [json!({}), json!({"conversation_id": "c", "turn_id": "t"})] {
            let answer = fetch(&server, "post", "/api/chat", accept, &asked(extra)).await;
            assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("5")), "{}", answer.text);
            assert_eq!(answer.json()["error"]["retry_after_ms"], 5_000);
        }
    }
    let mut socket = server.connect("").await;
    socket.say(&asked(json!({"turn_id": "t"}))).await;
    let refused = socket.hear().await.unwrap();
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("overloaded")), "{refused}");
    let opened = |one: &Measurement| matches!(one, Measurement::ConversationsActive(_));
    assert!(!measured.all().iter().any(opened));
    assert!(server.tutor.embedded.lock().unwrap().is_empty() && server.tutor.kept.changes.lock().unwrap().is_empty());
    server.stop().await;
}

#[actix::test]
async fn who_comes_back_for_a_turn_that_runs_is_not_turned_away() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), admission: 1, ..Script::default() });
    let mut socket = server.connect("/c").await;
    socket.hear_type("ready").await;
    let question = asked(json!({"conversation_id": "c", "turn_id": "t"}));
    socket.say(&question).await;
    socket.hear_type("sources").await;
    let other = fetch(&server, "post", "/api/chat", "*/*", &asked(json!({}))).await;
    assert_eq!(other.status, 429);
    let again = fetch(&server, "post", "/api/chat", "*/*", &question);
    let (again, ()) = tokio::join!(again, async { gate.open() });
    assert_eq!((again.status, &again.json()["interaction_id"]), (200, &json!("t")), "{}", again.text);
    server.stop().await;
}

#[actix::test]
async fn another_question_beside_a_running_turn_takes_no_place_to_be_told_so() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), admission: 1, ..Script::default() });
    let mut socket = server.connect("/c").await;
    socket.hear_type("ready").await;
    for number in 0..5 {
        socket.say(&asked(json!({"turn_id": format!("t{number}")}))).await;
    }
    for _ in 1..5 {
        assert_eq!(socket.hear_type("error").await["code"], "turn_in_progress");
    }
    gate.open();
    socket.hear_type("complete").await;
    // The places are as many as before.
    socket.say(&asked(json!({"turn_id": "next"}))).await;
    socket.hear_type("complete").await;
    server.stop().await;
}

#[actix::test]
async fn a_turn_id_of_another_conversation_gets_nobody_in() {
    let (gate, measured) = (Arc::new(Gate::default()), Arc::new(Measured::default()));
    let telemetry = measured.clone();
    let server = Server::start(Script { gate: gate.clone(), admission: 1, telemetry, ..Script::default() });
    let mut socket = server.connect("/c").await;
    socket.say(&asked(json!({"turn_id": "t"}))).await;
    socket.hear_type("sources").await;
    let question = asked(json!({"conversation_id": "d", "turn_id": "t"}));
    assert_eq!(fetch(&server, "post", "/api/chat", "*/*", &question).await.status, 429);
    assert!(!measured.all().contains(&Measurement::ConversationsActive(2)), "nothing was opened for it");
    gate.open();
    socket.hear_type("complete").await;
    server.stop().await;
}

#[actix::test]
async fn a_question_that_waits_is_told_its_place_and_how_long() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
    let mut first = server.connect("/one").await;
    first.hear_type("ready").await;
    // Four steps of the engine: the whole answer.
    gate.permit(4);
    first.say(&asked(json!({}))).await;
    first.hear_type("complete").await;
    gate.permit(1);
    first.say(&asked(json!({}))).await;
    first.hear_type("token").await;
    let mut second = server.connect("/two").await;
    second.say(&asked(json!({}))).await;
    let told = loop {
        let event = second.hear_type("workflow").await;
        if event["node"] == "queued" {
            break event;
        }
    };
    assert_eq!(told["position"], 1);
    assert!(told["estimate_ms"].is_u64() && told["message"].as_str().unwrap().contains("number 1"), "{told}");
    gate.open();
    second.hear_type("complete").await;
    server.stop().await;
}
