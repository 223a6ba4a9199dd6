//! Conversations over the real server: after kills, restarts and stops, with the real models.

use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::socket::{Client, QUESTION, all_events, is_end, with_course};
use crate::support::Server;

#[test]
fn a_killed_server_has_every_answer_that_it_called_complete_and_goes_on_counting() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve();
    let mut client = Client::connect(&server, "c");
    client.say(&json!({"type": "ask", "message": QUESTION, "turn_id": "t1"}));
    let first = client.hear_turn();
    client.say(&json!({"type": "ask", "message": "and where is its parent?", "turn_id": "t2"}));
    let seen = loop {
        let frame = client.hear().unwrap().unwrap();
        if frame["type"] == "token" {
            break frame["seq"].as_u64().unwrap();
        }
    };
    server.kill();

    let server = workplace.serve();
    let mut client = Client::connect(&server, "c");
    assert_eq!(client.hear_type("ready")["busy"], false);
    client.say(&json!({"type": "resume", "after": seen}));
    let lost = client.hear().unwrap().unwrap();
    assert_eq!((&lost["type"], &lost["turn_id"]), (&json!("error"), &json!("t2")), "{lost}");
    assert!(lost["seq"].as_u64() > Some(seen));
    client.say(&json!({"type": "ask", "message": QUESTION, "turn_id": "t1"}));
    client.say(&json!({"type": "ask", "message": "and where is its parent?", "turn_id": "t3"}));
    let third = client.hear_turn();
    assert_eq!(third[0]["seq"].as_u64(), lost["seq"].as_u64().map(|seq| seq + 1));
    assert_eq!(third.last().unwrap()["was_rewritten"], true, "the question before it is known");

    let expected: Vec<Value> = [first.clone(), vec![lost], third].concat();
    assert_eq!(all_events(&server, "c"), expected);
    let answer = server.post("/api/chat", &json!({"message": QUESTION, "conversation_id": "c", "turn_id": "t1"}));
    assert_eq!(answer["answer"], first.last().unwrap()["answer"]);
    let tree: Value = serde_json::from_str(&server.get("/api/conversations/c")).unwrap();
    let states: Vec<_> = tree["turns"].as_array().unwrap().iter().map(|turn| turn["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["complete", "error", "complete"]);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_no_answer_and_has_none_twice() {
    let Some(workplace) = with_course() else { return };
    let mut complete: Vec<Value> = Vec::new();
    for round in 0..6_u64 {
        let server = workplace.serve();
        let mut client = Client::connect(&server, "c");
        client.hear_type("ready");
        let begun = Instant::now();
        for turn in 0.. {
            let question = json!({"type": "ask", "message": QUESTION, "turn_id": format!("t{round}-{turn}"),
                "options": {"max_tokens": 8}});
            client.say(&question);
            complete.extend(client.hear_turn().pop().filter(|event| event["type"] == "complete"));
            if begun.elapsed() > Duration::from_millis(300 * round) {
                client.say(&json!({"type": "ask", "message": QUESTION, "turn_id": format!("lost{round}")}));
                break;
            }
        }
        server.kill();
    }
    let server = workplace.serve();
    let tree: Value = serde_json::from_str(&server.get("/api/conversations/c?limit=200")).unwrap();
    let turns = tree["turns"].as_array().unwrap();
    for event in &complete {
        let found: Vec<_> = turns.iter().filter(|turn| turn["turn_id"] == event["turn_id"]).collect();
        assert_eq!(found.len(), 1, "{event}");
        assert_eq!((&found[0]["last_seq"], &found[0]["complete"]["answer"]), (&event["seq"], &event["answer"]));
    }
    let numbers: Vec<u64> = turns.iter().map(|turn| turn["last_seq"].as_u64().unwrap()).collect();
    assert!(complete.len() >= 6 && numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

#[test]
fn a_server_that_is_told_to_stop_gives_every_stream_its_end_and_a_restart_resumes_it() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve_with(&["--drain-seconds", "2", "--slots", "2", "--max-tokens", "150"]);
    let names: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let mut clients: Vec<Client> = names.iter().map(|name| Client::connect(&server, name)).collect();
    for client in &mut clients {
        client.say(&json!({"type": "ask", "message": QUESTION, "turn_id": "t"}));
    }
    clients[0].hear_type("token");
    // Each listens for itself, as clients do: one that took a heartbeat only after the server had gone could not answer it, and would
    // hear no more.
    let listening: Vec<_> =
        clients.into_iter().map(|mut client| std::thread::spawn(move || (client.hear_turn(), client.hear()))).collect();
    let address = server.address.clone();
    let stopping = std::thread::spawn(move || server.terminate());
    // The first answer of the server that tells of its stop; connecting fails at the latest when it is gone.
    let refused = (0..10_000).find_map(|_| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut ready = agent.get(format!("http://{address}/readyz")).call().ok()?;
        (ready.status() == 503).then(|| ready.body_mut().read_to_string().unwrap())
    });
    assert!(refused.is_some_and(|said| said.contains("shutting down")));
    let heard = listening.into_iter().map(|client| client.join().unwrap());
    let ends: Vec<Vec<Value>> = heard
        .map(|(events, after)| {
            assert_eq!(events.last().map(is_end), Some(true), "{events:?}");
            assert_eq!(after, Some(Err(CloseCode::Away)));
            events
        })
        .collect();
    assert_eq!(stopping.join().unwrap(), Some(0));

    let server = workplace.serve();
    for (name, events) in names.iter().zip(&ends) {
        assert_eq!(all_events(&server, name).last(), events.last());
    }
}

#[test]
fn a_damaged_file_of_conversations_is_left_alone_and_readiness_says_no() {
    let Some(workplace) = with_course() else { return };
    let file = workplace.path("vector_data/conversations.sqlite");
    std::fs::write(&file, "no database at all, but something that somebody may want back").unwrap();
    let before = std::fs::read(&file).unwrap();
    let server = workplace.serve();
    assert!(server.said.iter().any(|line| line.contains("conversations.sqlite: it is damaged")), "{:?}", server.said);
    let ready: Value = serde_json::from_str(&server.get("/readyz")).unwrap();
    assert!(ready["detail"].as_str().unwrap().contains("conversations"), "{ready}");
    let refused = server.post("/api/chat", &json!({"message": QUESTION}));
    assert_eq!(refused["error"]["code"], "unavailable");
    assert!(!server.post("/api/search", &json!({"query": "heap"}))["sources"].as_array().unwrap().is_empty());
    assert_eq!((server.terminate(), std::fs::read(&file).unwrap()), (Some(0), before));
}

#[test]
fn a_full_disk_ends_turns_with_an_error_that_says_so_and_loses_no_answer() {
    let Some(workplace) = with_course() else { return };
    let mut command = workplace.command(&["serve", "--listen", "127.0.0.1:0"]);
    // SAFETY: between fork and exec only two calls are made, both of which are allowed there.
    unsafe {
        command.pre_exec(|| {
            // No file may grow beyond this, and a write that wants to gets an error instead of a signal.
            let limit = libc::rlimit { rlim_cur: 600_000, rlim_max: 600_000 };
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            if libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    let server = Server::start(command);
    let mut answers = Vec::new();
    // The server tries now and then whether it can write again, and may find so between a question and a look at its readiness.
    let told = (0..200).any(|_| {
        let asked = json!({"message": QUESTION, "conversation_id": "c", "options": {"max_tokens": 4}});
        let answer = server.post("/api/chat", &asked);
        if answer.get("error").is_none() {
            answers.push(answer);
            return false;
        }
        assert_eq!(answer["error"]["code"], "unavailable", "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("stored"), "{answer}");
        server.get("/readyz").contains("conversations cannot be written")
    });
    assert!(told, "the disk was never full, or readiness never said so");
    server.kill();

    let server = workplace.serve();
    let tree: Value = serde_json::from_str(&server.get("/api/conversations/c?limit=200")).unwrap();
    let turns = tree["turns"].as_array().unwrap();
    for answer in &answers {
        let stored = turns.iter().find(|turn| turn["turn_id"] == answer["interaction_id"]).unwrap();
        assert_eq!(stored["complete"]["answer"], answer["answer"]);
    }
}
