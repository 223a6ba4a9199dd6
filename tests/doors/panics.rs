//! What a panic costs who asks over HTTP and sockets, and what readiness says of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use mentor::faults::{Faults, Part};
use mentor_actors::telemetry::Silent;
use serde_json::json;

use super::support::{Gate, Script};
use super::{PATIENCE, Server, asked};

/// A server whose parts can be told to panic.
fn breakable(script: Script) -> Server {
    let faults = Faults::default();
    let telemetry = faults.within(Arc::new(Silent));
    Server::start_changed(Script { telemetry, ..script }, |doors| doors.faults = Some(faults))
}

impl Server {
    async fn break_part(&self, part: Part, query: &str) -> u16 {
        self.call("POST", &format!("/debug/panic/{}{query}", part.as_str()), "").await.0
    }

    /// Waits until it calls itself ready, but not for ever.
    async fn is_ready_again(&self) {
        let ready = async { while self.call("GET", "/readyz", "").await.0 != 200 {} };
        tokio::time::timeout(PATIENCE, ready).await.expect("it never was ready again");
    }
}

#[actix::test]
async fn whatever_panics_the_same_socket_is_answered_the_next_time() {
    let server = breakable(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    for part in Part::ALL.into_iter().filter(|part| *part != Part::Socket) {
        let status = server.break_part(part, "?conversation_id=c").await;
        assert_eq!(status, if part == Part::Http { 500 } else { 204 }, "{part:?}");
        server.is_ready_again().await;
        // The parts that panic while they work do so now.
        let costs_a_turn = matches!(part, Part::Embed | Part::Generate | Part::Search | Part::Turn);
        if costs_a_turn {
            client.say(&json!({"message": "what is a heap?"})).await;
            let failed = client.hear_turn().await.pop().unwrap();
            assert_eq!(failed["type"], "error", "{part:?}: {failed}");
            assert!(["unavailable", "internal"].iter().any(|code| failed["code"] == *code), "{part:?}: {failed}");
            assert_eq!(failed["retry_after_ms"], 1000, "{part:?}: {failed}");
            server.is_ready_again().await;
        }
        client.say(&json!({"message": "what is a heap?"})).await;
        assert_eq!(client.hear_turn().await.pop().unwrap()["type"], "complete", "{part:?}");
    }
    server.stop().await;
}

#[actix::test]
async fn a_handler_that_panics_answers_with_status_500_in_the_shape_of_its_door() {
    let server = breakable(Script::default());
    let (status, body) = server.call("POST", "/debug/panic/http", "").await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!("internal")), "{body}");
    assert!(!body.to_string().contains("fault injection"), "{body}");
    let (_, metrics) = server.call_text("GET", "/metrics", "").await;
    assert!(metrics.contains(r#"mentor_http_requests_total{route="/debug/panic/{part}",status="500"} 1"#), "{metrics}");
    server.stop().await;
}

#[actix::test]
async fn a_socket_that_panics_costs_its_connection_and_its_turn_can_be_resumed() {
    let gate = Arc::new(Gate::default());
    let server = breakable(Script { gate: gate.clone(), ..Script::default() });
    let (mut client, mut other) = (server.connect("/c").await, server.connect("/c").await);
    client.say(&json!({"message": "what is a heap?"})).await;
    gate.permit(1);
    client.hear_type("token").await;
    assert_eq!(server.break_part(Part::Socket, "").await, 204);
    client.say(&json!({"type": "ping"})).await;
    let lost = tokio::time::timeout(PATIENCE, async { while let Some(Ok(_)) = client.stream.next().await {} });
    lost.await.expect("the connection is still there");
    let mut again = server.connect("/c").await;
    again.hear_type("ready").await;
    again.say(&json!({"type": "resume", "after": 0})).await;
    gate.open();
    assert_eq!(again.hear_turn().await.pop().unwrap()["type"], "complete");
    assert_eq!(other.hear_type("complete").await["finish_reason"], "stop");
    let (_, metrics) = server.call_text("GET", "/metrics", "").await;
    assert!(metrics.contains("mentor_ws_connections 2"), "{metrics}");
    server.stop().await;
}

#[actix::test]
async fn panics_can_be_ordered_only_where_that_was_asked_for_and_readiness_says_that_it_was() {
    let server = Server::start(Script::default());
    for part in Part::ALL {
        assert_eq!(server.break_part(part, "").await, 404, "{part:?}");
    }
    assert!(server.call("GET", "/readyz", "").await.1["fault_injection"].is_null());
    server.stop().await;
    let server = breakable(Script::default());
    assert_eq!(server.call("GET", "/readyz", "").await.1["fault_injection"], true);
    assert_eq!(server.call("POST", "/debug/panic/kitchen", "").await.0, 404);
    server.stop().await;
}

#[actix::test]
async fn after_a_hundred_panics_the_server_lives_is_not_ready_says_why_and_refuses_at_once() {
    for (part, told) in [
        (Part::Directory, "directory: 0 of 1 up (restarts used up, lost by a panic)"),
        (Part::Generator, "generator: 0 of 1 up (restarts used up, lost by a panic)"),
    ] {
        let server = breakable(Script::default());
        for _ in 0..100 {
            assert_eq!(server.break_part(part, "").await, 204);
        }
        let (status, body) = server.call("GET", "/readyz", "").await;
        assert_eq!((status, body["detail"].as_str()), (503, Some(told)));
        assert_eq!(server.call("GET", "/livez", "").await.0, 200);
        let (_, health) = server.call("GET", "/api/health", "").await;
        assert_eq!(health["workers"][part.as_str()], json!({"state": told, "restarts": 10}));
        assert_eq!(server.call("POST", "/api/chat", &asked("c", "t")).await.0, 503, "{part:?}");
        assert_eq!(server.call("POST", "/api/search", r#"{"query": "heap"}"#).await.0, 200, "what is left works");
        server.stop().await;
    }
}

#[actix::test]
async fn readiness_says_no_while_a_step_takes_too_long_and_yes_when_it_ended() {
    let gate = Arc::new(Gate::default());
    let script = Script { gate: gate.clone(), ..Script::default() };
    // Every step is too long, so that no clock decides.
    let server = Server::start_changed(script, |doors| doors.step_deadline = Duration::ZERO);
    let mut client = server.connect("/c").await;
    client.say(&json!({"message": "what is a heap?"})).await;
    let hangs = async {
        loop {
            let (status, body) = server.call("GET", "/readyz", "").await;
            if status == 503 && body["detail"].as_str().unwrap().contains("generate: at one step for 0 s") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, hangs).await.expect("it called itself ready");
    gate.open();
    client.hear_type("complete").await;
    server.is_ready_again().await;
    server.stop().await;
}
