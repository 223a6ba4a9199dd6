//! The remote engine against a server that does what a test tells it to, and against a real one where there is one.

#![cfg(feature = "remote")]

mod remote_support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use mentor_actors::domain::{EngineError, FinishReason, Usage};
use mentor_actors::ports::{Begun, Generation, GenerationEngine, PromptMessage, Role, Sampling, Slot, SlotOutput};
use mentor_engines::remote::{BreakerSettings, RemoteConfig, RemoteEngine, RemoteSource, RetryPolicy, ServerAddress};
use remote_support::{Connection, PATIENCE, ScriptedServer};
use serde_json::json;

const QUESTION: &str = "What is a binary heap?";

fn config(url: &str) -> RemoteConfig {
    let retries = RetryPolicy { retries: 2, first_wait: Duration::from_millis(1), ..RetryPolicy::default() };
    let address = ServerAddress::parse(url).unwrap();
    RemoteConfig { retries, first_token_timeout: PATIENCE, idle_timeout: PATIENCE, ..RemoteConfig::new(address) }
}

fn engine(server: &ScriptedServer) -> RemoteEngine {
    RemoteEngine::connect(&config(&server.url())).unwrap()
}

fn load_error(config: &RemoteConfig) -> String {
    match RemoteEngine::connect(config) {
        Err(EngineError::Load(line)) => line,
        Err(other) => panic!("not a load error: {other}"),
        Ok(_) => panic!("it connected"),
    }
}

fn generation() -> Generation {
    Generation {
        messages: vec![PromptMessage { role: Role::User, text: QUESTION.into() }],
        max_tokens: 100,
        sampling: Sampling {
            temperature: 0.0,
            top_p: 0.9,
            top_k: 40,
            min_p: 0.05,
            repeat_penalty: 1.1,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_last_tokens: 128,
            dry_multiplier: 0.0,
            seed: 42,
            logit_bias: Vec::new(),
            grammar: None,
        },
        stop: Vec::new(),
        cache_scope: "a".into(),
    }
}

/// What became of a generation.
#[derive(Debug, Default)]
struct Written {
    pieces: Vec<String>,
    usage: Option<Usage>,
    end: Option<Result<FinishReason, EngineError>>,
}

impl Written {
    fn take(&mut self, output: SlotOutput) {
        assert!(self.end.is_none(), "nothing comes behind the end, but {output:?}");
        match output {
            SlotOutput::Prefilled => {}
            SlotOutput::Token(text) => self.pieces.push(text),
            SlotOutput::Finished(rest, reason) => {
                assert_eq!(rest, "");
                self.end = Some(Ok(reason));
            }
            SlotOutput::Counted(usage) => self.usage = Some(usage),
            SlotOutput::Failed(error) => self.end = Some(Err(error)),
        }
    }

    fn text(&self) -> String {
        self.pieces.concat()
    }

    fn failure(&self) -> String {
        match &self.end {
            Some(Err(failure)) => failure.to_string(),
            other => panic!("not a failure: {other:?}"),
        }
    }
}

/// Steps until the slots' outputs satisfy the test.
fn step_until(engine: &mut RemoteEngine, slots: &mut [Written], is_enough: impl Fn(&[Written]) -> bool) {
    let start = Instant::now();
    while !is_enough(slots) {
        assert!(start.elapsed() < PATIENCE, "nothing more comes: {slots:?}");
        for (slot, output) in engine.step().unwrap() {
            slots[slot].take(output);
        }
    }
}

/// Lets a generation that has begun come to its end.
fn finish(engine: &mut RemoteEngine, slot: Slot) -> Written {
    let mut slots: Vec<Written> = (0..=slot).map(|_| Written::default()).collect();
    step_until(engine, &mut slots, |slots| slots[slot].end.is_some());
    engine.end(slot);
    slots.pop().unwrap()
}

fn write(engine: &mut RemoteEngine) -> Written {
    engine.begin(0, &generation()).unwrap();
    finish(engine, 0)
}

fn answer(connection: &mut Connection) {
    connection.begin().text("A ").text("tree.").finish("stop");
}

#[test]
fn an_answer_streams_and_the_server_s_own_count_comes_before_its_end() {
    let server = ScriptedServer::start();
    server.then(|connection| {
        connection.begin().event(&json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]}));
        connection.bytes(b": ping\n\n").text("\n").text(" A ").text("tree").text(".").finish("stop");
    });
    let mut engine = engine(&server);
    let begun = engine.begin(0, &generation()).unwrap();
    assert_eq!(begun, Begun { prompt_tokens: 8 + 7, cached_tokens: 0 });
    let written = finish(&mut engine, 0);
    assert_eq!(written.pieces, ["A ", "tree", "."]);
    assert_eq!(written.usage, Some(Usage { prompt_tokens: 21, cached_tokens: 16, completion_tokens: 3 }));
    assert_eq!(written.end, Some(Ok(FinishReason::Stop)));
}

#[test]
fn each_piece_is_passed_on_before_the_next_one_is_written() {
    let server = ScriptedServer::start();
    let (go_on, wait) = mpsc::sync_channel(1);
    server.then(move |connection| {
        connection.begin().text("A");
        wait.recv_timeout(PATIENCE).unwrap();
        connection.text(" tree").finish("length");
    });
    let mut engine = engine(&server);
    engine.begin(0, &generation()).unwrap();
    let mut slots = [Written::default()];
    step_until(&mut engine, &mut slots, |slots| slots[0].text() == "A");
    go_on.send(()).unwrap();
    step_until(&mut engine, &mut slots, |slots| slots[0].end == Some(Ok(FinishReason::Length)));
    assert_eq!(slots[0].text(), "A tree");
}

#[test]
fn events_and_characters_may_be_cut_anywhere() {
    let server = ScriptedServer::start();
    server.then(|connection| {
        let event = format!("data: {}\r\n\r\n", json!({"choices": [{"delta": {"content": "größe 🦙"}}]}));
        connection.begin();
        for byte in event.bytes() {
            connection.bytes(&[byte]);
        }
        connection.finish("stop");
    });
    assert_eq!(write(&mut engine(&server)).text(), "größe 🦙");
}

#[test]
fn the_request_holds_the_messages_the_settings_and_the_key() {
    let server = ScriptedServer::start();
    server.then(answer);
    let config = RemoteConfig { api_key: "hunter2".parse().unwrap(), ..config(&server.url()) };
    write(&mut RemoteEngine::connect(&config).unwrap());
    let request = server.request();
    assert!(request.headers.contains("authorization: bearer hunter2\r\n"), "{}", request.headers);
    assert_eq!(request.body["messages"], json!([{"role": "user", "content": QUESTION}]));
    assert_eq!((&request.body["model"], &request.body["stream"]), (&json!("tiny"), &json!(true)));
    assert_eq!((&request.body["max_tokens"], &request.body["top_k"]), (&json!(100), &json!(40)));
}

#[test]
fn the_connection_is_used_again_after_an_answer() {
    let server = ScriptedServer::start();
    let mut engine = engine(&server);
    for _ in 0..10 {
        server.then(answer);
        assert_eq!(write(&mut engine).text(), "A tree.");
    }
    // One was for the list of models. Some are allowed: an answer's end may be passed on before its connection is free.
    assert!(server.connections() <= 5, "{} connections", server.connections());
}

#[test]
fn several_answers_stream_at_once_and_do_not_mix() {
    let server = ScriptedServer::start();
    let mut engine = engine(&server);
    let gates: Vec<_> = ["a", "b", "c"].map(|name| hold(&server, name)).into();
    for slot in 0..3 {
        engine.begin(slot, &generation()).unwrap();
        server.request();
    }
    let mut slots: [Written; 3] = Default::default();
    step_until(&mut engine, &mut slots, |slots| slots.iter().all(|slot| slot.text().len() == 1));
    for slot in [2, 0, 1] {
        gates[slot].send(()).unwrap();
        step_until(&mut engine, &mut slots, |slots| slots[slot].end.is_some());
    }
    assert_eq!(slots.map(|slot| slot.text()), ["aa", "bb", "cc"]);
}

/// Plans an answer that says its name, waits, and says it again.
fn hold(server: &ScriptedServer, name: &'static str) -> mpsc::SyncSender<()> {
    let (go_on, wait) = mpsc::sync_channel(1);
    server.then(move |connection| {
        connection.begin().text(name);
        wait.recv_timeout(PATIENCE).unwrap();
        connection.text(name).finish("stop");
    });
    go_on
}

/// Plans a reply that waits until the client is gone, after having said something or not.
fn wait_for_close(server: &ScriptedServer, says: Option<&'static str>) -> mpsc::Receiver<bool> {
    let (report, closed) = mpsc::sync_channel(1);
    server.then(move |connection| {
        if let Some(text) = says {
            connection.begin().text(text);
        }
        report.send(connection.closed_by_client()).unwrap();
    });
    closed
}

#[test]
fn a_cancel_closes_the_connection_in_the_middle_of_an_answer() {
    let server = ScriptedServer::start();
    let closed = wait_for_close(&server, Some("A"));
    let mut engine = engine(&server);
    engine.begin(0, &generation()).unwrap();
    step_until(&mut engine, &mut [Written::default()], |slots| slots[0].text() == "A");
    engine.end(0);
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_cancel_closes_the_connection_before_the_first_token() {
    let server = ScriptedServer::start();
    let closed = wait_for_close(&server, None);
    let mut engine = engine(&server);
    engine.begin(0, &generation()).unwrap();
    server.request();
    engine.end(0);
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn dropping_the_engine_closes_all_connections() {
    let server = ScriptedServer::start();
    let closed = [wait_for_close(&server, Some("A")), wait_for_close(&server, None)];
    let mut engine = engine(&server);
    for slot in 0..2 {
        engine.begin(slot, &generation()).unwrap();
        server.request();
    }
    drop(engine);
    assert!(closed.iter().all(|closed| closed.recv_timeout(PATIENCE) == Ok(true)));
}

#[test]
fn a_slot_that_was_cancelled_takes_another_answer_without_the_rest_of_the_first() {
    let server = ScriptedServer::start();
    let closed = wait_for_close(&server, Some("old"));
    let mut engine = engine(&server);
    engine.begin(0, &generation()).unwrap();
    server.request();
    engine.end(0);
    server.then(answer);
    assert_eq!(write(&mut engine).text(), "A tree.");
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.reply(503, "", r#"{"error": {"type": "unavailable_error"}}"#));
    server.then(|connection| connection.reply(429, "retry-after: 0\r\n", ""));
    server.then(answer);
    assert_eq!(write(&mut engine(&server)).text(), "A tree.");
    assert_eq!(server.unseen_requests(), 3);
}

#[test]
fn a_connection_that_is_lost_before_the_first_token_is_made_again() {
    let server = ScriptedServer::start();
    server.then(Connection::close);
    server.then(|connection| {
        connection.begin().event(&json!({"choices": [{"delta": {"role": "assistant"}}]})).close();
    });
    server.then(answer);
    assert_eq!(write(&mut engine(&server)).text(), "A tree.");
}

#[test]
fn a_server_that_stays_busy_is_given_up_with_its_code() {
    let server = ScriptedServer::start();
    for _ in 0..3 {
        server.then(|connection| connection.reply(503, "", r#"{"error": {"type": "unavailable_error"}}"#));
    }
    let written = write(&mut engine(&server));
    assert!(written.failure().ends_with("answered with status 503 (unavailable_error)"), "{written:?}");
    assert_eq!(server.unseen_requests(), 3);
}

#[test]
fn a_server_that_wants_to_be_left_alone_for_long_is() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.reply(429, "retry-after: 3600\r\n", ""));
    let written = write(&mut engine(&server));
    assert!(written.failure().ends_with("answered with status 429"), "{written:?}");
    assert_eq!(server.unseen_requests(), 1);
}

#[test]
fn a_refusal_is_not_tried_again_and_the_prompt_it_quotes_is_kept_out() {
    let server = ScriptedServer::start();
    let quoting = json!({"error": {"message": format!("too long: {QUESTION}"), "type": "BadRequestError"}}).to_string();
    server.then(move |connection| connection.reply(400, "", &quoting));
    let written = write(&mut engine(&server));
    let refused = "the remote server refuses the request (BadRequestError)";
    assert_eq!(written.end, Some(Err(EngineError::Rejected(refused.into()))), "not to be tried again, and no address");
    assert_eq!(server.unseen_requests(), 1);
}

#[test]
fn a_prompt_that_the_server_finds_too_long_is_too_large() {
    let server = ScriptedServer::start();
    let error = json!({"error": {"code": 400, "message": QUESTION, "type": "exceed_context_size_error"}});
    let reply = error.to_string();
    server.then(move |connection| connection.reply(400, "", &reply));
    server.then(move |connection| {
        connection.begin().event(&error);
    });
    let mut engine = engine(&server);
    for _ in 0..2 {
        let written = write(&mut engine);
        assert!(
            matches!(&written.end, Some(Err(EngineError::TooLarge(reason))) if !reason.contains(QUESTION)),
            "{written:?}"
        );
    }
    assert_eq!(server.unseen_requests(), 2);
}

#[test]
fn an_answer_that_breaks_off_is_not_begun_again() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.begin().text("A ").close());
    server.then(answer);
    let written = write(&mut engine(&server));
    assert!(written.failure().contains("lost the connection"), "{written:?}");
    assert_eq!((written.text().as_str(), server.unseen_requests()), ("A ", 1));
}

#[test]
fn an_error_in_the_stream_fails_the_answer() {
    let server = ScriptedServer::start();
    server.then(|connection| {
        connection.begin().text("A ").event(&json!({"error": {"message": QUESTION, "type": "EngineDead"}}));
    });
    let written = write(&mut engine(&server));
    assert!(written.failure().ends_with("reported an error (EngineDead)"), "{written:?}");
}

#[test]
fn a_stream_that_ends_without_a_reason_is_no_answer_and_one_that_ends_with_it_is() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.begin().text("A").bytes(b"").close());
    server.then(|connection| {
        connection.begin().text("A").event(&json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})).close();
    });
    server.then(|connection| connection.begin().text("A").bytes(b"data: [DONE]\n\n").close());
    let mut engine = engine(&server);
    assert!(write(&mut engine).failure().contains("without saying why"));
    for _ in 0..2 {
        assert_eq!(write(&mut engine).end, Some(Ok(FinishReason::Stop)));
    }
}

#[test]
fn garbage_fails_the_answer_and_is_not_repeated() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.reply(200, "content-type: text/html\r\n", QUESTION));
    server.then(|connection| {
        connection.begin().bytes(format!("data: {QUESTION}\n\n").as_bytes());
    });
    let mut engine = engine(&server);
    for expected in ["no stream of events", "not JSON"] {
        let failure = write(&mut engine).failure().to_owned();
        assert!(failure.contains("no chat completion") && failure.contains(expected), "{failure}");
        assert!(!failure.contains(QUESTION), "{failure}");
    }
}

#[test]
fn a_server_that_never_begins_is_given_up_once() {
    let server = ScriptedServer::start();
    let closed = wait_for_close(&server, None);
    let config = RemoteConfig { first_token_timeout: Duration::from_millis(300), ..config(&server.url()) };
    let mut engine = RemoteEngine::connect(&config).unwrap();
    let written = write(&mut engine);
    assert!(written.failure().ends_with("gave no first token within 300ms"), "{written:?}");
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
    assert_eq!(server.unseen_requests(), 1);
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let server = ScriptedServer::start();
    let closed = wait_for_close(&server, Some("A"));
    let config = RemoteConfig { idle_timeout: Duration::from_millis(50), ..config(&server.url()) };
    let written = write(&mut RemoteEngine::connect(&config).unwrap());
    assert!(written.failure().contains("fell silent for 50ms"), "{written:?}");
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_server_that_does_not_stop_is_stopped() {
    let server = ScriptedServer::start();
    let (report, closed) = mpsc::sync_channel(1);
    server.then(move |connection| {
        connection.begin().text(&"x".repeat(1000));
        report.send(connection.closed_by_client()).unwrap();
    });
    let mut engine = engine(&server);
    engine.begin(0, &Generation { max_tokens: 5, ..generation() }).unwrap();
    assert_eq!(finish(&mut engine, 0).end, Some(Ok(FinishReason::Length)));
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_server_that_is_gone_is_not_asked_after_some_failures() {
    let mut server = ScriptedServer::start();
    let breaker = BreakerSettings { failures: 2, pause: Duration::from_secs(3600) };
    let mut engine = RemoteEngine::connect(&RemoteConfig { breaker, ..config(&server.url()) }).unwrap();
    server.stop();
    for _ in 0..2 {
        let written = write(&mut engine);
        assert!(written.failure().contains("cannot be reached: "), "{written:?}");
    }
    let refused = engine.begin(0, &generation()).unwrap_err().to_string();
    assert!(refused.contains("failed several times in a row"), "{refused}");
    assert!(engine.step().unwrap().is_empty(), "the engine itself lives");
}

#[test]
fn an_answer_that_repeats_itself_is_ended_and_its_connection_closed() {
    let server = ScriptedServer::start();
    let (report, closed) = mpsc::sync_channel(1);
    server.then(move |connection| {
        connection.begin();
        for _ in 0..20 {
            connection.text("A heap is a tree.\n");
        }
        report.send(connection.closed_by_client()).unwrap();
    });
    let written = write(&mut engine(&server));
    assert_eq!(
        (written.end.as_ref(), written.text()),
        (Some(&Ok(FinishReason::Stop)), "A heap is a tree.\n".repeat(3))
    );
    assert_eq!(closed.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn the_source_tells_that_a_server_is_not_asked_and_that_it_is_again() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.reply(500, "", ""));
    let breaker = BreakerSettings { failures: 1, pause: Duration::from_secs(3600) };
    let source = RemoteSource::new(RemoteConfig { breaker, ..config(&server.url()) });
    let mut engine = source.build().unwrap();
    assert_eq!(source.problem(), None);
    assert!(write(&mut engine).failure().ends_with("answered with status 500"));
    let problem = source.problem().expect("it is open");
    assert!(problem.starts_with("the remote server failed several times in a row"), "{problem}");
    drop(source.build().unwrap());
    assert_eq!(source.problem(), None, "a new engine asks");
}

#[test]
fn a_server_that_comes_back_is_asked_again_after_the_pause() {
    let server = ScriptedServer::start();
    server.then(|connection| connection.reply(500, "", ""));
    server.then(answer).then(answer);
    let breaker = BreakerSettings { failures: 1, pause: Duration::ZERO };
    let mut engine = RemoteEngine::connect(&RemoteConfig { breaker, ..config(&server.url()) }).unwrap();
    assert!(write(&mut engine).failure().ends_with("answered with status 500"));
    for _ in 0..2 {
        assert_eq!(write(&mut engine).text(), "A tree.");
    }
}

#[test]
fn what_does_not_fit_the_context_is_refused_before_anybody_is_asked() {
    let server = ScriptedServer::start();
    let mut engine = engine(&server);
    assert_eq!(engine.context_tokens(), 1000, "the server says less than the configuration");
    let refused = engine.begin(0, &Generation { max_tokens: 990, ..generation() });
    assert!(matches!(refused, Err(EngineError::TooLarge(_))), "{refused:?}");
    assert!(engine.begin(32, &generation()).is_err(), "there are 32 slots");
    assert_eq!(server.unseen_requests(), 0);
}

#[test]
fn a_wrong_model_and_several_without_a_choice_are_errors_that_list_them() {
    let server = ScriptedServer::with_models(r#"{"data": [{"id": "small"}, {"id": "large"}]}"#);
    let several = config(&server.url());
    assert!(load_error(&several).ends_with("has several models; set llm_model to one of: small, large"));
    let wrong = RemoteConfig { model: Some("medium".into()), ..several.clone() };
    assert!(load_error(&wrong).ends_with("has no model \"medium\"; set llm_model to one of: small, large"));
    let right = RemoteConfig { model: Some("large".into()), ..several };
    assert_eq!(RemoteEngine::connect(&right).unwrap().info().model, "large");
}

#[test]
fn a_server_that_is_not_there_is_one_clear_line_at_the_start() {
    let mut server = ScriptedServer::start();
    server.stop();
    let line = load_error(&config(&server.url()));
    assert!(line.starts_with(&format!("the remote server {} cannot be reached: ", server.url())), "{line}");
    assert!(line.contains("check llm, and that the server runs") && !line.contains('\n'), "{line}");
}

#[test]
fn something_else_at_that_address_is_one_clear_line_at_the_start() {
    let server = ScriptedServer::with_models("<html>");
    let line = load_error(&config(&server.url()));
    assert!(line.contains("no list of models"), "{line}");
}

/// Needs a server, as in `llama-server -m MODEL.gguf --port 8080` and `MENTOR_TEST_LLAMA_SERVER=http://127.0.0.1:8080`.
#[test]
fn a_real_server_answers_and_stops_when_it_is_told_to() {
    let Some(url) = std::env::var("MENTOR_TEST_LLAMA_SERVER").ok().filter(|url| !url.is_empty()) else {
        eprintln!("skipped: MENTOR_TEST_LLAMA_SERVER names no server");
        return;
    };
    let mut engine = RemoteEngine::connect(&config(&url)).unwrap();
    let written = write(&mut engine);
    assert!(matches!(written.end, Some(Ok(_))), "{written:?}");
    assert!(written.pieces.len() > 1 && !written.text().starts_with(char::is_whitespace), "{written:?}");
    let usage = written.usage.expect("it counts");
    assert!(usage.prompt_tokens > 5 && usage.completion_tokens > 1, "{usage:?}");

    engine.begin(0, &Generation { max_tokens: 1000, ..generation() }).unwrap();
    let mut slots = [Written::default()];
    step_until(&mut engine, &mut slots, |slots| !slots[0].pieces.is_empty());
    engine.end(0);
    assert!(matches!(write(&mut engine).end, Some(Ok(_))), "it answers the next one");
}
