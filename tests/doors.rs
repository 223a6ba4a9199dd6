//! REST and WebSocket over real sockets, with fakes behind the ports.

#[path = "doors/admission.rs"]
mod admission;
#[path = "doors/clients.rs"]
mod clients;
#[path = "doors/contract.rs"]
mod contract;
mod fakes;
#[path = "doors/files.rs"]
mod files;
#[path = "doors/frames.rs"]
mod frames;
#[path = "doors/openai.rs"]
mod openai;
#[path = "doors/panics.rs"]
mod panics;
#[path = "doors/schema.rs"]
mod schema;
#[path = "../actors/tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use fakes::PATIENCE;
use futures_util::{SinkExt as _, StreamExt as _};
use mentor::config::Config;
use mentor::drain::Drain;
use mentor::guard::{Clock, Guard};
use mentor::http::{Doors, Problem, serve};
use mentor_actors::cancel::CancelToken;
use mentor_actors::domain::Token;
use serde_json::{Value, json};
use support::{BAD_GRAMMAR, Gate, Script, Tutor};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

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
        Self::start_changed(script, |doors| {
            doors.max_connections = max_connections;
            doors.problems = problems;
        })
    }

    fn start_changed(script: Script, change: impl FnOnce(&mut Doors)) -> Self {
        let tutor = Tutor::start(script);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut doors = fakes::doors(&tutor, Arc::new(guard()));
        let shutdown = doors.shutdown.clone();
        change(&mut doors);
        let (handle, server) = serve(listener, doors, 1).unwrap();
        actix::spawn(server);
        Self { address, handle, shutdown, tutor }
    }

    async fn call(&self, method: &'static str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.call_text(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Asks until the answer has that status.
    async fn call_until(&self, method: &'static str, path: &str, wanted: u16) {
        let asking = async { while self.call(method, path, "").await.0 != wanted {} };
        let asked = tokio::time::timeout(PATIENCE, asking).await;
        asked.unwrap_or_else(|_| panic!("{method} {path} never answered {wanted}"));
    }

    async fn call_text(&self, method: &'static str, path: &str, body: &str) -> (u16, String) {
        let (url, body) = (format!("http://{}{path}", self.address), body.to_owned());
        let request = move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
            let mut response = match method {
                "GET" => agent.get(&url).call(),
                "DELETE" => agent.delete(&url).call(),
                _ => agent.post(&url).content_type("application/json").send(body.as_str()),
            }
            .unwrap();
            (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
        };
        tokio::task::spawn_blocking(request).await.unwrap()
    }

    /// The frames of an event stream up to its end, of a request with these headers.
    async fn stream(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&'static str, String)],
        body: &str,
    ) -> (u16, Vec<Value>) {
        let (url, body, headers) = (format!("http://{}{path}", self.address), body.to_owned(), headers.to_vec());
        let request = move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
            let mut request =
                ureq::http::Request::builder().method(method).uri(url).header("accept", "text/event-stream");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let mut response = agent.run(request.body(body).unwrap()).unwrap();
            let text = response.body_mut().read_to_string().unwrap();
            let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
            (response.status().as_u16(), frames.map(|frame| serde_json::from_str(frame).unwrap()).collect())
        };
        tokio::task::spawn_blocking(request).await.unwrap()
    }

    /// Stops as the program does at a signal.
    async fn drain(&self, deadline: Duration) {
        let drain = Drain {
            admission: self.tutor.admission.clone(),
            cut_off: self.tutor.services.cut_off.clone(),
            storage: self.tutor.storage.clone(),
        };
        drain.run(deadline, std::future::pending()).await;
        self.shutdown.cancel();
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

/// Without keys, for this machine.
fn guard() -> Guard {
    let nowhere = Config { data_dir: "/nonexistent".into(), ..Config::default() };
    Guard::open(nowhere.guard(), Clock::default()).unwrap()
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
async fn what_came_live_before_the_resume_that_asks_for_it_comes_once() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    client.say(&json!({"message": "what is a heap?"})).await;
    client.hear_turn().await;
    let mut back = server.connect("/c").await;
    let last_seq = back.hear_type("ready").await["last_seq"].clone();
    client.say(&json!({"message": "and a stack?"})).await;
    let live = back.hear_turn().await;
    back.say(&json!({"type": "resume", "after": last_seq})).await;
    back.say(&json!({"type": "ping"})).await;
    assert_eq!(back.hear().await.unwrap()["type"], "pong");
    back.say(&json!({"type": "resume", "after": last_seq})).await;
    assert_eq!(back.hear_turn().await, live, "asked for once more, they come once more");
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
async fn a_frame_that_says_it_is_too_large_is_refused_before_it_is_waited_for() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    // A tebibyte is announced, and none of it comes.
    let head = [&[0x81, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
    client.stream.get_mut().write_all(&head).await.unwrap();
    assert_eq!(client.hear().await.unwrap()["code"], "too_large");
    assert_eq!(client.hear().await, Err(CloseCode::Size));
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
    write!(caller, "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut watcher = server.connect("/left").await;
    let begun = |frame: &Value| frame["type"] == "ready" && frame["busy"] == true;
    while !begun(&watcher.hear_type("ready").await) {
        watcher = server.connect("/left").await;
    }
    drop(watcher);
    drop(caller);
    gate.permit(1);
    // Asking in the same conversation works as soon as the abandoned turn has ended.
    let freed = async {
        loop {
            let (status, answer) = server.call("POST", "/api/search", r#"{"query":"x"}"#).await;
            assert_eq!(status, 200, "{answer}");
            let mut next = server.connect("/left").await;
            if next.hear_type("ready").await["busy"] == false {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the turn that nobody wants runs on");
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
        ("POST", "/api/chat", r#"{"message":"x","options":{"logit_bias":{"x":1}}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"logit_bias":{"5":101}}}"#, 400, "invalid_request"),
        ("POST", "/api/chat", r#"{"message":"x","options":{"sampling_top_k":-1}}"#, 422, "invalid_request"),
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

fn asked(conversation: &str, turn: &str) -> String {
    json!({"message": "what is a heap?", "conversation_id": conversation, "turn_id": turn}).to_string()
}

#[actix::test]
async fn a_stream_that_was_lost_goes_on_after_the_last_event_id() {
    let server = Server::start(Script::default());
    let ask = asked("c", "t");
    let (_, whole) = server.stream("POST", "/api/chat", &[], &ask).await;
    for seen in 0..=whole.len() {
        let (status, rest) = server.stream("POST", "/api/chat", &[("last-event-id", seen.to_string())], &ask).await;
        assert_eq!((status, rest.as_slice()), (200, &whole[seen..]));
    }
    let (status, _) = server.stream("POST", "/api/chat", &[("last-event-id", "x".into())], &ask).await;
    assert_eq!(status, 400);
    let new = r#"{"message":"what is a heap?"}"#;
    let (status, _) = server.stream("POST", "/api/chat", &[("last-event-id", "3".into())], new).await;
    assert_eq!(status, 400, "a new question cannot be resumed");
    server.stop().await;
}

#[actix::test]
async fn a_stream_whose_client_left_is_cancelled_and_what_was_said_is_kept() {
    use std::io::Write as _;
    let gate = Arc::new(Gate::default());
    let script = Script { gate: gate.clone(), ..Script::default() };
    let server = Server::start_changed(script, |doors| doors.abandon_after = Duration::ZERO);
    let body = asked("left", "t");
    let mut client = std::net::TcpStream::connect(server.address).unwrap();
    let head = "POST /api/chat HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\ncontent-length:";
    write!(client, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
    gate.permit(1);
    server.call_until("GET", "/api/conversations/left", 200).await;
    drop(client);
    let end = async {
        loop {
            let (_, tree) = server.call("GET", "/api/conversations/left", "").await;
            if tree["turns"][0]["state"] != "running" {
                return tree["turns"][0].clone();
            }
        }
    };
    let turn = tokio::time::timeout(PATIENCE, end).await.expect("the turn runs on");
    assert_eq!(turn["complete"]["finish_reason"], "cancelled", "{turn}");
    gate.open();
    server.stop().await;
}

#[actix::test]
async fn a_conversation_can_be_followed_as_an_event_stream_until_the_server_stops() {
    let server = Server::start(Script::default());
    let (_, first) = server.stream("POST", "/api/chat", &[], &asked("c", "t1")).await;
    let follow = server.stream("GET", "/api/conversations/c/events?after=2", &[], "");
    let then_stop = async {
        let (_, second) = server.stream("POST", "/api/chat", &[], &asked("c", "t2")).await;
        server.drain(PATIENCE).await;
        second
    };
    let ((status, followed), second) = tokio::join!(follow, then_stop);
    let expected: Vec<Value> = first[2..].iter().chain(&second).cloned().collect();
    assert_eq!((status, followed), (200, expected));
    let (status, error) = server.call("GET", "/api/conversations/c/events?after=99", "").await;
    assert_eq!((status, error["error"]["code"].as_str()), (400, Some("invalid_request")));
    server.stop().await;
}

#[actix::test]
async fn an_answer_is_given_again_and_a_question_edited_and_the_tree_shows_it() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.say(&json!({"type": "ask", "message": "what is a heap?", "turn_id": "t1"})).await;
    client.hear_type("complete").await;
    for frame in [
        json!({"type": "regenerate", "turn_id": "t1", "new_turn_id": "t2"}),
        json!({"type": "edit", "turn_id": "t1", "new_turn_id": "t3", "message": "what is a list?"}),
    ] {
        // The end of a turn is heard a moment before the conversation is free again.
        loop {
            client.say(&frame).await;
            let answer = client.hear().await.unwrap();
            if answer["code"] != "turn_in_progress" {
                break;
            }
        }
        assert_eq!(client.hear_type("complete").await["interaction_id"], frame["new_turn_id"]);
    }
    let rating = json!({"interaction_id": "t2", "rating": 4, "feedback_text": "better"});
    assert_eq!(server.call("POST", "/api/feedback", &rating.to_string()).await.0, 204);
    let (_, tree) = server.call("GET", "/api/conversations/c", "").await;
    let turns = tree["turns"].as_array().unwrap();
    let seen: Vec<_> = turns.iter().map(|turn| (&turn["turn_id"], &turn["parent_id"], &turn["question"])).collect();
    let (heap, list, none) = (json!("what is a heap?"), json!("what is a list?"), Value::Null);
    assert_eq!(seen, [(&json!("t1"), &none, &heap), (&json!("t2"), &none, &heap), (&json!("t3"), &none, &list)]);
    assert_eq!(turns[1]["feedback"], json!({"rating": 4, "feedback_text": "better"}));
    assert_eq!(turns[0]["complete"]["answer"], "A binary heap is a complete tree in an array.");
    assert_eq!(turns[2]["last_seq"], tree["last_seq"]);
    client.say(&json!({"type": "regenerate", "turn_id": "nowhere"})).await;
    assert_eq!(client.hear().await.unwrap()["code"], "not_found");
    client.say(&json!({"type": "edit", "turn_id": "t1", "message": ""})).await;
    assert_eq!(client.hear().await.unwrap()["code"], "invalid_request");
    server.stop().await;
}

#[actix::test]
async fn conversations_are_listed_in_pages_newest_first_and_forgotten_when_deleted() {
    let server = Server::start(Script::default());
    for name in ["c1", "c2", "c3"] {
        assert_eq!(server.call("POST", "/api/chat", &asked(name, "t")).await.0, 200);
    }
    let ids = |page: &Value| -> Vec<String> {
        let all = page["conversations"].as_array().unwrap();
        all.iter().map(|one| one["conversation_id"].as_str().unwrap().to_owned()).collect()
    };
    let (_, first) = server.call("GET", "/api/conversations?limit=2", "").await;
    assert_eq!(ids(&first), ["c3", "c2"]);
    assert_eq!(
        (&first["conversations"][0]["title"], &first["conversations"][0]["turns"]),
        (&json!("what is a heap?"), &json!(1))
    );
    let next = format!("/api/conversations?limit=2&after={}", first["next"].as_str().unwrap());
    let (_, second) = server.call("GET", &next, "").await;
    assert_eq!((ids(&second), &second["next"]), (vec!["c1".to_owned()], &Value::Null));
    assert_eq!(server.call("DELETE", "/api/conversations/c2", "").await.0, 204);
    let cases = [
        ("DELETE", "/api/conversations/c2", "", 404, "not_found"),
        ("GET", "/api/conversations/c2", "", 404, "not_found"),
        ("GET", "/api/conversations?limit=0", "", 400, "invalid_request"),
        ("GET", "/api/conversations?limit=x", "", 400, "invalid_request"),
        ("GET", "/api/conversations?after=x", "", 400, "invalid_request"),
        ("GET", "/api/conversations/a%2Fb", "", 400, "invalid_request"),
        ("POST", "/api/feedback", r#"{"interaction_id":"nowhere","rating":3}"#, 404, "not_found"),
        ("POST", "/api/feedback", r#"{"interaction_id":"t","rating":6}"#, 400, "invalid_request"),
        ("POST", "/api/feedback", r#"{"interaction_id":"t"}"#, 422, "invalid_request"),
    ];
    for (method, path, body, status, code) in cases {
        let (got, answer) = server.call(method, path, body).await;
        assert_eq!((got, answer["error"]["code"].as_str()), (status, Some(code)), "{method} {path} -> {answer}");
    }
    let rating = r#"{"interaction_id":"t","rating":5}"#;
    assert_eq!(server.call("POST", "/api/analytics/feedback", rating).await.0, 204);
    server.stop().await;
}

#[actix::test]
async fn conversations_of_nobody_are_not_listed_where_that_is_turned_off() {
    let server = Server::start_changed(Script::default(), |doors| doors.list_conversations = false);
    server.call("POST", "/api/chat", &asked("c", "t")).await;
    assert_eq!(server.call("GET", "/api/conversations", "").await.0, 404);
    assert_eq!(server.call("GET", "/api/conversations/c", "").await.0, 200, "who knows its id finds it");
    server.stop().await;
}

#[actix::test]
async fn a_server_that_stops_takes_no_question_gives_every_client_its_end_and_then_goes_away() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
    let (mut one, mut idle) = (server.connect("/one").await, server.connect("/idle").await);
    one.say(&json!({"message": "what is a heap?"})).await;
    gate.permit(1);
    one.hear_type("token").await;
    let meanwhile = async {
        server.call_until("GET", "/readyz", 503).await;
        idle.hear_type("ready").await;
        idle.say(&json!({"message": "what is a list?"})).await;
        assert_eq!(idle.hear().await.unwrap()["code"], "unavailable");
        assert_eq!(server.call("POST", "/api/chat", &asked("c", "t")).await.0, 503);
        gate.open();
    };
    tokio::join!(server.drain(PATIENCE), meanwhile);
    assert_eq!(one.hear_type("complete").await["finish_reason"], "stop");
    assert_eq!((one.hear().await, idle.hear().await), (Err(CloseCode::Away), Err(CloseCode::Away)));
    server.stop().await;
}

#[actix::test]
async fn a_turn_that_does_not_end_in_time_is_cut_off_and_its_client_hears_that_before_the_server_goes() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
    let mut client = server.connect("/c").await;
    client.say(&json!({"message": "what is a heap?"})).await;
    gate.permit(1);
    client.hear_type("token").await;
    server.drain(Duration::ZERO).await;
    let complete = client.hear_type("complete").await;
    assert_eq!((&complete["finish_reason"], &complete["answer"]), (&json!("cancelled"), &json!("A binary heap ")));
    assert_eq!(client.hear().await, Err(CloseCode::Away));
    gate.open();
    server.stop().await;
}

#[actix::test]
async fn a_turn_at_openais_door_that_does_not_end_in_time_is_cut_off_whole_and_streamed() {
    for stream in [false, true] {
        let gate = Arc::new(Gate::default());
        let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
        let messages = json!([{"role": "user", "content": "what is a heap?"}]);
        let asked = json!({"model": "mentor", "stream": stream, "messages": messages}).to_string();
        let answer = server.call_text("POST", "/v1/chat/completions", &asked);
        let stop = async {
            // The engine stands before its second step then.
            gate.permit(1);
            while server.tutor.begun.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            server.drain(Duration::ZERO).await;
        };
        let both = async { tokio::join!(answer, stop) };
        let ((status, text), ()) = tokio::time::timeout(PATIENCE, both).await.expect("it is not cut off");
        assert_eq!(status, 200, "{text}");
        assert!(text.contains(r#""finish_reason":"cancelled""#), "{text}");
        assert_eq!(text.contains("[DONE]"), stream, "{text}");
        gate.open();
        server.stop().await;
    }
}

#[actix::test]
async fn a_client_that_reads_nothing_is_counted_as_stuck_when_it_is_gone() {
    use tokio::io::AsyncWriteExt as _;
    let server = Server::start_changed(Script::default(), |doors| doors.heartbeat = Duration::from_millis(200));
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    // Each of these frames, `{` under a mask of zeroes, is answered by an error; none of the answers is read.
    let frames = [0x81, 0x81, 0, 0, 0, 0, b'{'].repeat(4_096);
    // The server reads on only while it can write: once all buffers are full, so for some beats, the client cannot write either.
    let some_beats = Duration::from_secs(1);
    while let Ok(written) = tokio::time::timeout(some_beats, client.stream.get_mut().write_all(&frames)).await {
        written.expect("the connection was lost");
    }
    drop(client);
    let evictions = r#"mentor_ws_evictions_total{reason="stuck"} 1"#;
    let counted = async { while !server.call_text("GET", "/metrics", "").await.1.contains(evictions) {} };
    tokio::time::timeout(PATIENCE, counted).await.expect("it was not counted");
    server.stop().await;
}

#[actix::test]
async fn a_client_that_floods_with_control_frames_is_closed() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.hear_type("ready").await;
    for _ in 0..200 {
        client.stream.feed(Message::Ping(Vec::new().into())).await.unwrap();
    }
    client.stream.flush().await.unwrap();
    assert_eq!(client.hear().await, Err(CloseCode::Policy));
    server.stop().await;
}

#[actix::test]
async fn a_client_that_answers_nothing_is_cut_off_and_counted() {
    let server = Server::start_changed(Script::default(), |doors| doors.heartbeat = Duration::from_millis(200));
    let mut healthy = server.connect("/healthy").await;
    healthy.hear_type("ready").await;
    // A client answers pings only while it is polled, and this one is not.
    let _mute = server.connect("/mute").await;
    let evictions = r#"mentor_ws_evictions_total{reason="silent"} 1"#;
    while !server.call_text("GET", "/metrics", "").await.1.contains(evictions) {
        healthy.say(&json!({"type": "ping"})).await;
        assert_eq!(healthy.hear().await.unwrap()["type"], "pong");
    }
    server.stop().await;
}

#[actix::test]
async fn a_socket_whose_conversation_was_deleted_begins_it_anew() {
    let server = Server::start(Script::default());
    let mut client = server.connect("/c").await;
    client.say(&json!({"message": "what is a heap?"})).await;
    client.hear_type("complete").await;
    server.call_until("DELETE", "/api/conversations/c", 204).await;
    client.say(&json!({"message": "what is a list?"})).await;
    assert_eq!(client.hear_type("ready").await["last_seq"], 0);
    assert_eq!(client.hear_type("workflow").await["seq"], 1);
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
    let options = json!({
        "top_p": 0.5, "min_p": 0.1, "repeat_penalty": 1.5, "stop": ["END"], "grammar": "root ::= .+",
        "logit_bias": {"7": -100, "50": 1.5}, "sampling_top_k": 8, "dry_multiplier": 0.5, "repeat_last_tokens": 32,
        "presence_penalty": 0.25, "frequency_penalty": -0.5,
    });
    let asked = json!({"message": "what is a heap?", "options": options});
    assert_eq!(server.call("POST", "/api/chat", &asked.to_string()).await.0, 200);
    let mut client = server.connect("").await;
    client.say(&asked).await;
    client.hear_type("complete").await;
    let begun = server.tutor.begun.lock().unwrap().clone();
    assert_eq!(begun.len(), 2);
    for generation in &begun {
        let sampling = &generation.sampling;
        assert_eq!((sampling.top_p, sampling.min_p, sampling.repeat_penalty), (0.5, 0.1, 1.5));
        assert_eq!(sampling.logit_bias, [(Token(50), 1.5), (Token(7), -100.0)], "in the order of their names");
        assert_eq!((sampling.top_k, sampling.dry_multiplier, sampling.repeat_last_tokens), (8, 0.5, 32));
        assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (0.25, -0.5));
        assert_eq!((generation.stop.join(","), sampling.grammar.as_deref()), ("END".into(), Some("root ::= .+")));
    }
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
    let fails = Arc::new(AtomicBool::new(true));
    let seen = fails.clone();
    let problem = move || seen.load(Ordering::SeqCst).then(|| "the remote server is asked again in 9 s".to_owned());
    let server = Server::start_with(Script::default(), 64, vec![Arc::new(problem)]);
    let (status, body) = server.call("GET", "/readyz", "").await;
    assert_eq!((status, body["detail"].as_str()), (503, Some("the remote server is asked again in 9 s")));
    assert_eq!(server.call("GET", "/api/health", "").await.0, 503);
    fails.store(false, Ordering::SeqCst);
    assert_eq!(server.call("GET", "/readyz", "").await.0, 200);
    server.stop().await;
}
