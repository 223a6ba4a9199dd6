//! Kills, stops and long use under load, over the real server with the real models. Each runs briefly here; how long is said by
//! `MENTOR_TEST_KILLS` and `MENTOR_TEST_TURNS`.

use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::socket::{Client, QUESTION, all_events, is_end, with_course};
use crate::support::Server;

/// Longest that any step waits.
const PATIENCE: Duration = Duration::from_secs(120);

fn times(variable: &str, briefly: usize) -> usize {
    std::env::var(variable).map_or(briefly, |text| text.parse().unwrap())
}

/// Asks one question after the other and reports what was called complete, until the connection is lost.
fn ask_until_lost(mut client: Client, conversation: &str, acknowledged: &SyncSender<(String, Value)>) {
    for turn in 0.. {
        // Most are refused, without the model: many turns for a kill to fall among.
        let message = if turn % 4 == 3 { QUESTION } else { "Who won the football cup?" };
        let question = json!({"type": "ask", "message": message, "turn_id": format!("t{turn}"),
            "options": {"max_tokens": 2 + turn % 7}});
        if !client.tell(&question) {
            return;
        }
        let Some(end) = client.hear_turn().pop().filter(is_end) else { return };
        assert_eq!(end["type"], "complete", "{end}");
        acknowledged.send((conversation.to_owned(), end)).unwrap();
    }
}

/// Everything acknowledged is there once, in order, and asking for it again begins nothing.
fn check(server: &Server, acknowledged: &[(String, Value)]) {
    for (conversation, end) in acknowledged {
        let turns = turns(server, conversation);
        let found: Vec<_> = turns.iter().filter(|turn| turn["turn_id"] == end["turn_id"]).collect();
        assert_eq!(found.len(), 1, "{conversation}: {end}");
        assert_eq!((&found[0]["last_seq"], &found[0]["complete"]["answer"]), (&end["seq"], &end["answer"]));
        let numbers: Vec<u64> = turns.iter().map(|turn| turn["last_seq"].as_u64().unwrap()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{conversation}: {numbers:?}");
    }
    if let Some((conversation, end)) = acknowledged.last() {
        let before = turns(server, conversation).len();
        let again = json!({"message": QUESTION, "conversation_id": conversation, "turn_id": end["turn_id"]});
        assert_eq!(server.post("/api/chat", &again)["answer"], end["answer"]);
        assert_eq!(turns(server, conversation).len(), before);
    }
}

fn turns(server: &Server, conversation: &str) -> Vec<Value> {
    let tree: Value =
        serde_json::from_str(&server.get(&format!("/api/conversations/{conversation}?limit=200"))).unwrap();
    tree["turns"].as_array().unwrap().clone()
}

#[test]
fn a_server_that_is_killed_under_load_has_every_acknowledged_turn_once() {
    let Some(workplace) = with_course() else { return };
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut server = workplace.serve();
    let kills = times("MENTOR_TEST_KILLS", 6);
    for round in 0..kills {
        let (report, acknowledged) = mpsc::sync_channel(10_000);
        let names = (0..8).map(|number| format!("r{round}-c{number}"));
        let clients: Vec<_> = names.map(|name| (Client::connect(&server, &name), name)).collect();
        let askers = clients.into_iter().map(|(client, name)| {
            let report = report.clone();
            thread::spawn(move || ask_until_lost(client, &name, &report))
        });
        let askers: Vec<_> = askers.collect();
        drop(report);
        // At the moment at which something was acknowledged, which is another one in each round.
        let mut heard: Vec<_> = (0..1 + round * 7 % 23).map(|_| acknowledged.recv_timeout(PATIENCE).unwrap()).collect();
        server.kill();
        heard.extend(acknowledged.iter());
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        server = workplace.serve();
        check(&server, &heard);
        all.extend(heard);
    }
    check(&server, &all);
    eprintln!("{kills} kills, {} acknowledged turns, all there and none twice", all.len());
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_server_that_stops_with_fifty_streams_gives_each_its_end_and_is_gone_in_time() {
    const STREAMS: usize = 50;
    const GRACE: Duration = Duration::from_secs(3);
    let Some(workplace) = with_course() else { return };
    let grace = GRACE.as_secs().to_string();
    let server = workplace.serve_with(&["--drain-seconds", &grace, "--max-turns", "64", "--max-tokens", "150"]);
    let names: Vec<String> = (0..STREAMS).map(|number| format!("c{number}")).collect();
    let mut clients: Vec<Client> = names.iter().map(|name| Client::connect(&server, name)).collect();
    let mut late = Client::connect(&server, "late");
    late.hear_type("ready");
    for client in &mut clients {
        client.say(&json!({"type": "ask", "message": QUESTION, "turn_id": "t"}));
    }
    // Each was taken, most of them to wait.
    for client in &mut clients {
        client.hear_type("workflow");
    }
    let address = server.address.clone();
    let stop = Instant::now();
    let stopping = thread::spawn(move || (server.terminate(), stop.elapsed()));
    until_going_away(&address);
    let asked = Instant::now();
    late.say(&json!({"type": "ask", "message": QUESTION}));
    let refused = late.hear_type("error");
    let refused_after = asked.elapsed();
    assert_eq!(refused["code"], "unavailable", "{refused}");

    let readers =
        clients.into_iter().map(|mut client| thread::spawn(move || (client.hear_turn().pop(), client.hear())));
    let readers: Vec<_> = readers.collect();
    let ends: Vec<Value> = readers
        .into_iter()
        .map(|reader| {
            let (end, close) = reader.join().unwrap();
            let end = end.filter(is_end).expect("a stream without its end");
            assert_eq!(close, Some(Err(CloseCode::Away)), "{end}");
            end
        })
        .collect();
    let (code, took) = stopping.join().unwrap();
    eprintln!("{STREAMS} streams: refused after {refused_after:?}, gone after {took:?} of {GRACE:?} and 2 s");
    assert_eq!(code, Some(0));
    // Normally within two seconds of the grace; on a busy machine the engine's last step and fifty ends to store take longer.
    assert!(took <= GRACE + Duration::from_secs(12), "{took:?}");

    let server = workplace.serve();
    for (name, end) in names.iter().zip(&ends) {
        assert_eq!(all_events(&server, name).last(), Some(end));
    }
}

/// Waits for the first answer of the server that tells of its stop.
fn until_going_away(address: &str) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let is_going = || {
        let ready = agent.get(format!("http://{address}/readyz")).call();
        ready
            .is_ok_and(|mut ready| ready.status() == 503 && ready.body_mut().read_to_string().unwrap().contains("down"))
    };
    assert!((0..10_000).any(|_| is_going()), "the server never said that it stops");
}

#[test]
fn a_secret_word_of_one_conversation_never_reaches_another() {
    const SECRETS: [(&str, &str); 2] = [("ann", "walrus"), ("bob", "pelican")];
    let Some(workplace) = with_course() else { return };
    // Two slots, and little room for what leaves them: conversations push each other out all the time. Short prompts, for many turns.
    let cramped = ["--slots", "2", "--min-score", "0", "--state-cache-mb", "8", "--prompt-tokens", "200"];
    let server = workplace.serve_with(&cramped);
    let turns = times("MENTOR_TEST_TURNS", 24);
    let ask = |conversation: &str, message: &str| {
        let asked = json!({"message": message, "conversation_id": conversation, "options": {"max_tokens": 8}});
        let answer = server.post("/api/chat", &asked);
        answer["answer"].as_str().unwrap_or_else(|| panic!("{answer}")).to_lowercase()
    };
    let said = thread::scope(|scope| {
        let askers = (0..4).map(|number| {
            let ask = &ask;
            scope.spawn(move || {
                let mut repeated = 0;
                for turn in 0..turns / 4 {
                    match SECRETS.get(number) {
                        Some((name, secret)) => {
                            let question = format!("Explain how a {secret} stores a heap.");
                            let answer = ask(name, if turn % 2 == 0 { &question } else { "Who stores a heap?" });
                            let other = SECRETS[1 - number].1;
                            assert!(!answer.contains(other), "{name} was told of {other}: {answer}");
                            repeated += usize::from(answer.contains(secret));
                        }
                        // These come and go, and know nothing.
                        None => {
                            let answer = ask(&format!("passer-by-{number}-{}", turn % 5), "Who stores a heap?");
                            assert!(SECRETS.iter().all(|(_, secret)| !answer.contains(secret)), "{answer}");
                        }
                    }
                }
                repeated
            })
        });
        let askers: Vec<_> = askers.collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum::<usize>()
    });
    eprintln!("{turns} turns: {said} answers with their own conversation's word, none with another's");
    assert!(said > 0, "a model that never says the word shows nothing");
    assert_eq!(server.terminate(), Some(0));
}
