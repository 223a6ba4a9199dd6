//! Rates, sizes and patience.

use std::time::Duration;

use mentor::guard::{Allowance, Scope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::scene::{LITTLE, PATIENCE, Scene, read_answer};

const NO_LIMIT: Allowance = Allowance { requests_per_min: 0, tokens_per_min: 0, connections: 0 };

#[actix::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let scene = Scene::start_with(|settings| {
        settings.everybody = true;
        settings.address = Allowance { requests_per_min: 3, ..NO_LIMIT };
    });
    for _ in 0..3 {
        assert_eq!(scene.ask("GET /", &[], "").await.status, 200);
    }
    let refused = scene.ask("GET /", &[], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "overloaded"));
    assert!(refused.head.contains("retry-after: ") && refused.body.contains("retry_after_ms"), "{refused:?}");
    assert_eq!(scene.ask("GET /livez", &[], "").await.status, 200, "that the process lives is told to everybody");
    assert_eq!(scene.ask("GET /nothing", &[], "").await.status, 429, "who tries addresses is counted");
    scene.clock.advance(Duration::from_secs(21));
    assert_eq!(scene.ask("GET /", &[], "").await.status, 200);
    scene.stop().await;
}

#[actix::test]
async fn proxies_speak_for_their_clients_when_they_are_trusted() {
    let few = Allowance { requests_per_min: 2, ..NO_LIMIT };
    let asked = async |scene: &Scene, client: u8| {
        scene.ask("GET /", &[&format!("x-forwarded-for: 203.0.113.{client}")], "").await.status
    };
    let trusting = Scene::start_with(|settings| {
        (settings.everybody, settings.address) = (true, few);
        settings.proxies.networks = vec!["127.0.0.0/8".parse().unwrap()];
    });
    assert_eq!([asked(&trusting, 1).await, asked(&trusting, 1).await, asked(&trusting, 1).await], [200, 200, 429]);
    assert_eq!(asked(&trusting, 2).await, 200);
    trusting.stop().await;
    let wary = Scene::start_with(|settings| (settings.everybody, settings.address) = (true, few));
    assert_eq!([asked(&wary, 1).await, asked(&wary, 2).await, asked(&wary, 3).await], [200, 200, 429]);
    wary.stop().await;
}

#[actix::test]
async fn questions_and_answers_are_counted_in_tokens_on_both_doors() {
    let scene = Scene::start_with(|settings| settings.key = Allowance { tokens_per_min: 600, ..NO_LIMIT });
    let (_, key) = scene.key(&[Scope::Ask], None);
    // An answer may have 256 tokens and has 3: were the rest not given back, the third question would be refused.
    for _ in 0..4 {
        assert_eq!(scene.chat(Some(&key)).await.status, 200);
    }
    let mut socket = scene.socket(&format!("/c?ticket={}", scene.ticket(&key).await), None).await.unwrap();
    for _ in 0..4 {
        socket.say(r#"{"message":"what is a heap?"}"#).await;
        socket.hear_type("complete").await;
    }
    let long = format!(r#"{{"message":"{}"}}"#, "what is a heap? ".repeat(120));
    let bearer = format!("authorization: Bearer {key}");
    let refused = scene.ask("POST /api/chat", &[&bearer], &long).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "overloaded"), "{refused:?}");
    socket.say(&long).await;
    let error = socket.hear().await.unwrap();
    assert!(error["code"] == "overloaded" && error["retry_after_ms"].as_u64().unwrap() >= 1_000, "{error}");
    scene.stop().await;
}

#[actix::test]
async fn a_question_that_is_asked_again_under_its_id_reserves_nothing_for_an_answer() {
    let scene = Scene::start_with(|settings| settings.key = Allowance { tokens_per_min: 600, ..NO_LIMIT });
    let (_, key) = scene.key(&[Scope::Ask], None);
    let mut socket = scene.socket(&format!("/c?ticket={}", scene.ticket(&key).await), None).await.unwrap();
    let asked = r#"{"type":"ask","message":"what is a heap?","turn_id":"t"}"#;
    socket.say(asked).await;
    socket.hear_type("complete").await;
    // Each time 256 tokens are reserved; were they kept, the next but one would be refused however long it waits.
    for _ in 0..6 {
        socket.say(asked).await;
        socket.say(r#"{"type":"ping"}"#).await;
        while let frame = socket.hear().await.unwrap()
            && frame["type"] != "pong"
        {
            // It came before the one before it was looked up.
            assert_eq!(frame["code"], "overloaded", "{frame}");
        }
    }
    let is_answered = async || scene.chat(Some(&key)).await.status == 200;
    let mut answered = false;
    for _ in 0..1_000 {
        answered = answered || is_answered().await;
    }
    assert!(answered, "the reservations are never given back");
    scene.stop().await;
}

#[actix::test]
async fn openais_door_counts_tokens_gives_back_the_unused_and_refuses_in_its_own_shape() {
    let scene = Scene::start_with(|settings| settings.key = Allowance { tokens_per_min: 600, ..NO_LIMIT });
    let (_, key) = scene.key(&[Scope::Ask], None);
    let bearer = format!("authorization: Bearer {key}");
    let asked = |stream: bool| {
        let message = r#"{"role":"user","content":"what is a heap?"}"#;
        format!(r#"{{"model":"mentor","stream":{stream},"messages":[{message}]}}"#)
    };
    // An answer may have 256 tokens and has 3, and one that is not begun has none.
    for stream in [false, true, false, true] {
        let answer = scene.ask("POST /v1/chat/completions", &[&bearer], &asked(stream)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Each of these texts has 3 tokens, and 2 that the embedder puts around it.
    let texts = vec![r#""a b c""#; 100].join(",");
    let embed = format!(r#"{{"model":"mentor","input":[{texts}]}}"#);
    assert_eq!(scene.ask("POST /v1/embeddings", &[&bearer], &embed).await.status, 200);
    let refused = scene.ask("POST /v1/embeddings", &[&bearer], &embed).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "overloaded"), "{refused:?}");
    assert!(refused.body.contains("rate_limit_error") && refused.head.contains("retry-after: "), "{refused:?}");
    let refused = scene.ask("POST /v1/chat/completions", &[&bearer], &asked(true)).await;
    assert_eq!((refused.status, refused.body.contains("rate_limit_error")), (429, true), "{refused:?}");
    scene.stop().await;
}

#[actix::test]
async fn a_stranger_at_openais_door_is_refused_in_its_shape() {
    let scene = Scene::start();
    let (_, key) = scene.key(&[Scope::Ingest], None);
    let refused = scene.ask("GET /v1/models", &[], "").await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"));
    assert!(refused.has("www-authenticate: bearer") && refused.body.contains("invalid_request_error"), "{refused:?}");
    let refused = scene.ask("GET /v1/models", &[&format!("authorization: Bearer {key}")], "").await;
    assert_eq!((refused.status, refused.body.contains("invalid_request_error")), (403, true), "{refused:?}");
    scene.stop().await;
}

#[actix::test]
async fn frames_of_a_socket_count_as_requests() {
    let scene = Scene::start_with(|settings| settings.key = Allowance { requests_per_min: 4, ..NO_LIMIT });
    let (_, key) = scene.key(&[Scope::Ask], None);
    let mut socket = scene.socket(&format!("?ticket={}", scene.ticket(&key).await), None).await.unwrap();
    let mut types = Vec::new();
    for _ in 0..3 {
        socket.say(r#"{"type":"ping"}"#).await;
        types.push(socket.hear().await.unwrap()["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(types, ["pong", "pong", "error"]);
    scene.stop().await;
}

#[actix::test]
async fn a_socket_that_goes_on_after_a_hundred_refusals_is_closed() {
    let scene = Scene::start_with(|settings| settings.key = Allowance { requests_per_min: 4, ..NO_LIMIT });
    let (_, key) = scene.key(&[Scope::Ask], None);
    let mut socket = scene.socket(&format!("?ticket={}", scene.ticket(&key).await), None).await.unwrap();
    // Whoever asked too much may still stop it, but not without end.
    for frame in [r#"{"type":"cancel"}"#, r#"{"type":"ping"}"#, "{"].into_iter().cycle().take(150) {
        futures_util::SinkExt::feed(&mut socket.stream, Message::text(frame)).await.unwrap();
    }
    futures_util::SinkExt::flush(&mut socket.stream).await.unwrap();
    let closed = loop {
        match socket.hear().await {
            Ok(frame) => assert!(["pong", "error"].iter().any(|kind| frame["type"] == *kind), "{frame}"),
            Err(code) => break code,
        }
    };
    assert_eq!(closed, 1008);
    scene.stop().await;
}

#[actix::test]
async fn an_address_has_only_so_many_connections() {
    let scene = Scene::start_with(|settings| {
        settings.everybody = true;
        settings.address = Allowance { connections: 2, ..NO_LIMIT };
    });
    let (one, two) = (scene.socket("/a", None).await.unwrap(), scene.socket("/b", None).await.unwrap());
    let mut third = scene.dial().await;
    assert_eq!(read_answer(&mut third).await.status, 0, "closed without a word");
    drop((one, two));
    // The server notices the end of a connection in its own time.
    while scene.ask("GET /livez", &[], "").await.status != 200 {}
    scene.stop().await;
}

#[actix::test]
async fn a_key_has_only_so_many_sockets() {
    let scene = Scene::start_with(|settings| settings.key = Allowance { connections: 2, ..NO_LIMIT });
    let (_, key) = scene.key(&[Scope::Ask], None);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(scene.socket(&format!("/c?ticket={}", scene.ticket(&key).await), None).await.unwrap());
        held.last_mut().unwrap().hear_type("ready").await;
    }
    assert_eq!(scene.chat(Some(&key)).await.status, 429);
    held.clear();
    while scene.chat(Some(&key)).await.status != 200 {}
    scene.stop().await;
}

#[actix::test]
async fn large_heads_are_refused_in_the_protocols_words_or_by_the_parser() {
    let scene = Scene::start();
    let many: Vec<String> = (0..70).map(|number| format!("x-{number}: y")).collect();
    let fields: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = scene.ask("GET /livez", &fields, "").await;
    assert_eq!((refused.status, refused.code().as_str()), (431, "too_large"), "{refused:?}");
    let long = format!("x: {}", "y".repeat(20_000));
    assert_eq!(scene.ask("GET /livez", &[&long], "").await.status, 431);
    let address = format!("GET /livez?{}", "y".repeat(4_000));
    assert_eq!(scene.ask(&address, &[], "").await.status, 431);
    // Beyond 96 fields or 128 KiB it is the parser that refuses, without words.
    let parser: Vec<String> = (0..200).map(|number| format!("x-{number}: y")).collect();
    let fields: Vec<&str> = parser.iter().map(String::as_str).collect();
    let refused = scene.ask("GET /livez", &fields, "").await;
    assert!(refused.status == 431 && refused.body.is_empty(), "{refused:?}");
    let huge = format!("x: {}", "y".repeat(200_000));
    // It may close before the client has written everything, and the answer is lost then.
    let status = scene.ask("GET /livez", &[&huge], "").await.status;
    assert!([0, 431].contains(&status), "{status}");
    assert_eq!(scene.ask("GET /livez", &[], "").await.status, 200);
    scene.stop().await;
}

#[actix::test]
async fn large_bodies_frames_and_messages_are_refused() {
    let scene = Scene::start();
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(scene.ask("POST /api/chat", &[], &large).await.status, 413);
    let mut socket = scene.socket("/c", None).await.unwrap();
    socket.hear_type("ready").await;
    futures_util::SinkExt::send(&mut socket.stream, Message::text(large.clone())).await.unwrap();
    assert_eq!(socket.hear().await.unwrap()["code"], "too_large");
    assert_eq!(socket.hear().await, Err(1009));
    scene.stop().await;
}

#[actix::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let scene = Scene::start_with(|settings| settings.patience.head = LITTLE);
    let mut silent = scene.dial().await;
    assert!([0, 408].contains(&read_answer(&mut silent).await.status));
    let mut slow = scene.dial().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: ").await.unwrap();
    assert_eq!(read_answer(&mut slow).await.status, 408);
    scene.stop().await;
}

#[actix::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let scene = Scene::start_with(|settings| settings.patience.body = LITTLE);
    let mut slow = scene.dial().await;
    let head =
        "POST /api/chat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 50\r\n\r\n{\"message\":";
    slow.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut slow).await;
    assert!(answer.status == 400 && answer.body.contains("too slowly"), "{answer:?}");
    scene.stop().await;
}

#[actix::test]
async fn a_connection_without_a_next_request_is_closed() {
    let scene = Scene::start_with(|settings| settings.patience.idle = Duration::from_secs(1));
    let mut idle = scene.dial().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, idle.read_to_end(&mut bytes)).await.expect("still open").unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    scene.stop().await;
}

#[actix::test]
async fn a_next_request_that_is_begun_and_never_ended_does_not_hold_its_connection() {
    let scene = Scene::start_with(|settings| (settings.patience.idle, settings.patience.head) = (LITTLE * 10, LITTLE));
    let mut socket = scene.socket("/c", None).await.unwrap();
    socket.hear_type("ready").await;
    let mut slow = scene.dial().await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\nG").await.unwrap();
    let answer = read_answer(&mut slow).await;
    assert_eq!(answer.status, 200, "the whole one is answered");
    // It was there before, and longer than that without a request: but one of it is being answered.
    socket.say(r#"{"type":"ping"}"#).await;
    assert_eq!(socket.hear().await.unwrap()["type"], "pong");
    scene.stop().await;
}
