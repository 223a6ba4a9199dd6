//! REST and WebSocket over real sockets, with fakes behind the ports.

#[path = "../actors/tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use futures_util::{SinkExt as _, StreamExt as _};
use mentor::http::{AskLimits, Doors, ModelNames, Problem, serve};
use mentor::jobs::{Job, Jobs, Runner};
use mentor::materials::{Materials, UploadLimits};
use mentor::metrics::Metrics;
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::TurnError;
use serde_json::{Value, json};
use support::{BAD_GRAMMAR, Gate, Script, Tutor};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Longest any step of these tests waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// What changes the store is in `tests/program/documents.rs`.
struct NoJobs;

impl Runner for NoJobs {
    fn run(&mut self, _: &Job) -> Result<(), TurnError> {
        Ok(())
    }
}

struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    shutdown: CancelToken,
    tutor: Tutor,
}

impl Server {
    fn start(script: Script) -> Self {
        Self::start_with(script, 64, Vec::new())
    }

    fn start_with(script: Script, max_connections: usize, problems: Vec<Problem>) -> Self {
        let tutor = Tutor::start(script);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancelToken::default();
        let name = || "fake".to_owned();
        let doors = Doors {
            conversations: tutor.conversations.clone(),
            services: tutor.services.clone(),
            store: tutor.store.clone(),
            jobs: Jobs::start(NoJobs, 1).unwrap().0,
            materials: Materials::new("nowhere".into(), UploadLimits { file_bytes: 1, files: 1, free_bytes: 0 }),
            workers: vec![("embed", tutor.embedding.health()), ("generate", tutor.generator.health())],
            problems,
            metrics: Arc::new(Metrics::new().unwrap()),
            models: ModelNames {
                generator: name(),
                embedder: name(),
                execution_provider: name(),
                generation_backend: name(),
            },
            limits: AskLimits { message_chars: 2_000, max_tokens: 256 },
            abandon_after: Duration::from_secs(30),
            time_limit: PATIENCE,
            max_connections,
            shutdown: shutdown.clone(),
            started: Instant::now(),
        };
        let (handle, server) = serve(listener, doors, 1).unwrap();
        actix::spawn(server);
        Self { address, handle, shutdown, tutor }
    }

    async fn call(&self, method: &'static str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.call_text(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn call_text(&self, method: &'static str, path: &str, body: &str) -> (u16, String) {
        let (url, body) = (format!("http://{}{path}", self.address), body.to_owned());
        let request = move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
            let mut response = match method {
                "GET" => agent.get(&url).call(),
                _ => agent.post(&url).content_type("application/json").send(body.as_str()),
            }
            .unwrap();
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
        };
        tokio::task::spawn_blocking(request).await.unwrap()
    }

    async fn connect(&self, path: &str) -> Client {
        let url = format!("ws://{}/api/ws/chat{path}", self.address);
        let (stream, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Client { stream }
    }

    async fn stop(self) {
        self.handle.stop(false).await;
    }
}

struct Client {
    stream: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
}

impl Client {
    async fn say(&mut self, frame: &Value) {
        self.say_raw(Message::text(frame.to_string())).await;
    }

    async fn say_raw(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    /// The next frame: JSON, or the code the server closed with.
    async fn hear(&mut self) -> Result<Value, CloseCode> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("the server is silent");
            match message.expect("the connection ended without a close frame").unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.expect("a close code").code),
                _ => {}
            }
        }
    }

    async fn hear_type(&mut self, wanted: &str) -> Value {
        loop {
            let frame = self.hear().await.unwrap();
            if frame["type"] == wanted {
                return frame;
            }
        }
    }

    /// All events of a turn, up to its end.
    async fn hear_turn(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            events.push(self.hear().await.unwrap());
            if ["complete", "error"].iter().any(|last| events.last().unwrap()["type"] == *last) {
                return events;
            }
        }
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[actix::test]
async fn a_socket_gets_ready_workflow_sources_tokens_and_one_complete_in_order() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/lesson-1").await;
    let ready = client.hear().await.unwrap();
    assert_eq!(
        ready,
        json!({"type": "ready", "protocol": 1, "conversation_id": "lesson-1", "last_seq": 0, "model": "fake", "busy": false})
    );
    client.say(&json!({"type": "ask", "message": "what is a heap?", "turn_id": "t1"})).await;
    let events = client.hear_turn().await;
    let mut kinds = types(&events);
    kinds.dedup();
    assert_eq!(kinds, ["workflow", "sources", "workflow", "token", "citation", "complete"]);
    for (index, event) in events.iter().enumerate() {
        assert_eq!((event["seq"].as_u64(), event["turn_id"].as_str()), (Some(index as u64 + 1), Some("t1")));
    }
    let complete = events.last().unwrap();
    let tokens: String = events.iter().filter_map(|event| event["content"].as_str()).collect();
    assert_eq!(complete["answer"], tokens);
    assert_eq!(complete["sources"][0]["metadata"]["page_label"], "1");
    assert_eq!(complete["grounding"], "grounded");
    server.stop().await;
}

#[actix::test]
async fn the_predecessors_frame_works_and_ready_follows_the_first_question() {
    let server = Server::start(Script::default());
    let mut client = server.connect("").await;
    client.say(&json!({"message": "what is a heap?", "max_retries": 2})).await;
    let ready = client.hear().await.unwrap();
    assert_eq!(ready["type"], "ready");
    let complete = client.hear_turn().await.pop().unwrap();
    assert_eq!(complete["conversation_id"], ready["conversation_id"]);
    server.stop().await;
}

#[actix::test]
async fn two_sockets_of_one_conversation_see_the_same_events_and_a_late_one_resumes() {
    let server = Server::start(Script::default());
    let (mut one, mut two) = (server.connect("/shared").await, server.connect("/shared").await);
    one.hear_type("ready").await;
    two.hear_type("ready").await;
    one.say(&json!({"message": "what is a heap?"})).await;
    let (first, second) = (one.hear_turn().await, two.hear_turn().await);
    assert_eq!(first.last(), second.last());
    let mut late = server.connect("/shared").await;
    let ready = late.hear_type("ready").await;
    assert_eq!(ready["last_seq"], first.last().unwrap()["seq"]);
    late.say(&json!({"type": "resume", "after": 0})).await;
    assert_eq!(late.hear_turn().await.last(), first.last());
    server.stop().await;
}

#[actix::test]
async fn a_cancel_ends_the_turn_with_what_was_said() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
    let mut client = server.connect("/c").await;
    client.say(&json!({"message": "what is a heap?"})).await;
    gate.permit(1);
    client.hear_type("token").await;
    client.say(&json!({"type": "cancel"})).await;
    let complete = client.hear_type("complete").await;
    assert_eq!(complete["finish_reason"], "cancelled");
    gate.open();
    server.stop().await;
}

#[actix::test]
async fn bad_frames_get_a_clear_error_and_keep_the_connection() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    let long = "x".repeat(2_001);
    let cases = [
        (json!({"message": ""}).to_string(), "invalid_request", "empty"),
        (json!({"message": long}).to_string(), "too_large", "2001 characters"),
        ("{".into(), "invalid_request", "not valid JSON"),
        ("[]".into(), "invalid_request", "JSON object"),
        (json!({"message": 5}).to_string(), "invalid_request", "expected a string"),
        (json!({"type": "dance"}).to_string(), "invalid_request", "unknown variant"),
        (json!({"message": "x", "options": {"top_k": -1}}).to_string(), "invalid_request", "expected usize"),
        (json!({"message": "x", "conversation_id": "other"}).to_string(), "invalid_request", "address"),
        (json!({"type": "resume", "after": 99}).to_string(), "invalid_request", "last event is 0"),
    ];
    for (frame, code, part) in cases {
        client.say_raw(Message::text(frame.clone())).await;
        let error = client.hear().await.unwrap();
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("error"), Some(code)), "{frame}");
        assert!(error["message"].as_str().unwrap().contains(part), "{frame} -> {error}");
        assert!(error.get("turn_id").is_none());
    }
    client.say(&json!({"type": "ping"})).await;
    assert_eq!(client.hear().await.unwrap()["type"], "pong");
    server.stop().await;
}

#[actix::test]
async fn frames_that_break_the_protocol_close_with_their_code() {
    let server = Server::start(Script::default());
    let mut binary = server.connect("/c").await;
    binary.hear_type("ready").await;
    binary.say_raw(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(binary.hear().await.unwrap()["code"], "invalid_request");
    assert_eq!(binary.hear().await, Err(CloseCode::Unsupported));

    let mut large = server.connect("/c").await;
    large.hear_type("ready").await;
    large.say_raw(Message::text("x".repeat(1 << 20))).await;
    assert_eq!(large.hear().await.unwrap()["code"], "too_large");
    assert_eq!(large.hear().await, Err(CloseCode::Size));
    server.stop().await;
}

#[actix::test]
async fn a_connection_over_the_limit_is_told_to_come_back() {
    let server = Server::start_with(Script::default(), 1, Vec::new());
    let mut first = server.connect("/a").await;
    first.hear_type("ready").await;
    assert_eq!(server.connect("/b").await.hear().await, Err(CloseCode::Again));
    server.stop().await;
}

#[actix::test]
async fn sockets_are_told_when_the_server_goes_away() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    server.shutdown.cancel();
    assert_eq!(client.hear().await, Err(CloseCode::Away));
    server.stop().await;
}

#[actix::test]
async fn one_question_over_rest_has_answer_sources_and_usage() {
    let server = Server::start(Script::default());
    let (status, body) = server.call("POST", "/api/chat", r#"{"message":"what is a heap?"}"#).await;
    assert_eq!(status, 200);
    assert_eq!(body["answer"], "A binary heap is a complete tree in an array.");
    assert_eq!(body["sources"][0]["metadata"]["file_name"], "heaps.pdf");
    assert_eq!(body["usage"]["completion_tokens"], 3);
    let (_, again) = server.call("POST", "/api/chat", r#"{"message":"what is a heap?"}"#).await;
    assert_ne!(body["conversation_id"], again["conversation_id"], "no conversation is shared by default");
    server.stop().await;
}

#[actix::test]
async fn a_rest_caller_that_leaves_frees_the_conversation() {
    use std::io::Write as _;
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
    let body = r#"{"message":"what is a heap?","conversation_id":"left"}"#;
    let mut caller = std::net::TcpStream::connect(server.address).unwrap();
    write!(caller, "POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut watcher = server.connect("/left").await;
    let begun = |frame: &Value| frame["type"] == "ready" && frame["busy"] == true;
    while !begun(&watcher.hear_type("ready").await) {
        watcher = server.connect("/left").await;
    }
    drop(watcher);
    drop(caller);
    gate.permit(1);
    // Asking in the same conversation works as soon as the abandoned turn has ended.
    loop {
        let (status, answer) = server.call("POST", "/api/search", r#"{"query":"x"}"#).await;
        assert_eq!(status, 200, "{answer}");
        let mut next = server.connect("/left").await;
        if next.hear_type("ready").await["busy"] == false {
            break;
        }
    }
    gate.open();
    server.stop().await;
}

#[actix::test]
async fn a_search_gives_passages_and_reads_a_follow_up_with_its_history() {
    let server = Server::start(Script::default());
    let body = json!({"query": "and it?", "top_k": 2, "history": [{"role": "user", "content": "what is a heap?"}]});
    let (status, found) = server.call("POST", "/api/search", &body.to_string()).await;
    assert_eq!((status, found["sources"].as_array().unwrap().len()), (200, 2));
    assert_eq!(found["query"], "what is a heap? and it?");
    server.stop().await;
}

#[actix::test]
async fn bad_requests_get_the_status_and_code_that_the_protocol_promises() {
    let server = Server::start(Script::default());
    let megabyte = json!({"message": "x".repeat(1 << 20)}).to_string();
    let long = json!({"message": "x".repeat(2_001)}).to_string();
    let with_grammar = |grammar: &str| json!({"message": "x", "options": {"grammar": grammar}}).to_string();
    let (bad_grammar, long_grammar) = (with_grammar(BAD_GRAMMAR), with_grammar(&"x".repeat(8_193)));
    let cases = [
        ("POST", "/api/chat", "{", 400, "invalid_request"),
        ("POST", "/api/chat", "", 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":5}"#, 422, "invalid_request"),
        ("POST", "/api/chat", "{}", 422, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":" "}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","conversation_id":"a/b"}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"top_k":0}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"top_p":2}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"min_p":-1}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"repeat_penalty":0.5}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"stop":[""]}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"stop":"END"}}"#, 422, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"grammar":""}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", bad_grammar.as_str(), 400, "invalid_request"),
        ("POST", "/api/chat", long_grammar.as_str(), 400, "invalid_request"),
        ("POST", "/api/chat", long.as_str(), 413, "too_large"),
        ("POST", "/api/chat", megabyte.as_str(), 413, "too_large"),
        ("POST", "/api/search", r#"{"query":""}"#, 400, "invalid_request"),
        ("GET", "/nowhere", "", 404, "not_found"),
        ("GET", "/api/chat", "", 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let (got, answer) = server.call(method, path, body).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(
            (got, answer["error"]["code"].as_str()),
            (status, Some(code)),
            "{method} {path} {shown} -> {answer}"
        );
        assert_eq!(answer["detail"], answer["error"]["message"]);
    }
    server.stop().await;
}

#[actix::test]
async fn events_stream_over_http_with_their_numbers() {
    let server = Server::start(Script::default());
    let url = format!("http://{}/api/chat", server.address);
    let text = tokio::task::spawn_blocking(move || {
        let request = ureq::post(&url).header("accept", "text/event-stream").content_type("application/json");
        request.send(r#"{"message":"what is a heap?"}"#).unwrap().body_mut().read_to_string().unwrap()
    })
    .await
    .unwrap();
    assert!(text.starts_with("id: 1\ndata: {"), "{text}");
    assert!(text.trim_end().lines().last().unwrap().contains(r#""type":"complete""#), "{text}");
    server.stop().await;
}

#[actix::test]
async fn health_stats_metrics_and_the_page_answer() {
    let server = Server::start(Script::default());
    assert_eq!(server.call("GET", "/livez", "").await.0, 200);
    assert_eq!(server.call("GET", "/readyz", "").await.0, 200);
    assert_eq!(server.call("GET", "/api/health", "").await.1["workers"]["embed"]["state"], "up");
    assert_eq!(server.call("GET", "/api/stats", "").await.1["models"]["generator"], "fake");
    let (status, page) = server.call_text("GET", "/", "").await;
    assert!(status == 200 && page.contains("<title>"));
    let (_, metrics) = server.call_text("GET", "/metrics", "").await;
    assert!(metrics.contains(r#"mentor_http_requests_total{route="/livez",status="200"} 1"#), "{metrics}");
    server.stop().await;
}

#[actix::test]
async fn readiness_says_no_and_why_when_the_server_goes_away() {
    let server = Server::start(Script::default());
    server.shutdown.cancel();
    let (status, body) = server.call("GET", "/readyz", "").await;
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("unavailable")));
    assert!(body["detail"].as_str().unwrap().contains("shutting down"));
    server.stop().await;
}

#[actix::test]
async fn options_of_a_question_reach_the_engine_over_rest_and_over_a_socket() {
    let server = Server::start(Script::default());
    let options = json!({"top_p": 0.5, "min_p": 0.1, "repeat_penalty": 1.5, "stop": ["END"], "grammar": "root ::= .+"});
    let asked = json!({"message": "what is a heap?", "options": options});
    assert_eq!(server.call("POST", "/api/chat", &asked.to_string()).await.0, 200);
    let mut client = server.connect("").await;
    client.say(&asked).await;
    client.hear_type("complete").await;
    let begun = server.tutor.begun.lock().unwrap();
    assert_eq!(begun.len(), 2);
    for generation in begun.iter() {
        let sampling = &generation.sampling;
        assert_eq!((sampling.top_p, sampling.min_p, sampling.repeat_penalty), (0.5, 0.1, 1.5));
        assert_eq!((generation.stop.join(","), sampling.grammar.as_deref()), ("END".into(), Some("root ::= .+")));
    }
    drop(begun);
    server.stop().await;
}

#[actix::test]
async fn a_bad_option_on_a_socket_is_an_error_and_the_connection_stays() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    client.say(&json!({"message": "hi", "options": {"stop": vec!["x"; 9]}})).await;
    let error = client.hear().await.unwrap();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("invalid_request")));
    client.say(&json!({"message": "hi", "options": {"grammar": BAD_GRAMMAR}})).await;
    let failed = client.hear_turn().await.pop().unwrap();
    assert_eq!((&failed["type"], &failed["code"]), (&json!("error"), &json!("invalid_request")));
    client.say(&json!({"message": "what is a heap?"})).await;
    assert_eq!(client.hear_turn().await.pop().unwrap()["type"], "complete");
    server.stop().await;
}

#[actix::test]
async fn readiness_says_no_while_something_outside_fails_and_yes_again_after() {
    let problem = Arc::new(Mutex::new(Some("the remote server is asked again in 9 s".to_owned())));
    let seen = problem.clone();
    let server = Server::start_with(Script::default(), 64, vec![Arc::new(move || seen.lock().unwrap().clone())]);
    let (status, body) = server.call("GET", "/readyz", "").await;
    assert_eq!((status, body["detail"].as_str()), (503, Some("the remote server is asked again in 9 s")));
    assert_eq!(server.call("GET", "/api/health", "").await.0, 503);
    problem.lock().unwrap().take();
    assert_eq!(server.call("GET", "/readyz", "").await.0, 200);
    server.stop().await;
}
