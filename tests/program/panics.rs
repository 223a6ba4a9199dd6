//! Panics in the real server, with the real models: what is lost is there again for the next question. With `--nocapture` it says
//! after how long.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use mentor::faults::Part;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::support::{Server, Workplace};
use crate::tutor::with_course;

/// Longest that any step waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Panics of each part: fewer than its budget of restarts.
const ROUNDS: usize = 5;

/// Who asks over a socket.
struct Student(WebSocket<MaybeTlsStream<TcpStream>>);

impl Student {
    fn connect(server: &Server) -> Self {
        let (socket, _) = connect(format!("ws://{}/api/ws/chat/c", server.address)).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self(socket)
    }

    /// Asks; the turn's last event, and when the generator took it and when its first token came.
    fn ask(&mut self) -> (Value, Option<Instant>, Option<Instant>) {
        let asked = json!({"message": "How is a binary heap stored in an array?", "options": {"max_tokens": 8}});
        self.0.send(Message::text(asked.to_string())).unwrap();
        let (mut taken, mut first) = (None, None);
        loop {
            let Message::Text(text) = self.0.read().unwrap() else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            match frame["type"].as_str() {
                Some("workflow") if frame["node"] == "generate" => taken = Some(Instant::now()),
                Some("token") => first = first.or_else(|| Some(Instant::now())),
                Some("complete" | "error") => return (frame, taken, first),
                _ => {}
            }
        }
    }

    /// Asks again and again until a question is answered; the time from now until the generator took it, and to its first token.
    fn ask_until_answered(&mut self) -> (Duration, Duration) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let (end, Some(taken), Some(first)) = self.ask()
                && end["type"] == "complete"
            {
                return (taken - start, first - start);
            }
        }
        panic!("no question was answered");
    }
}

/// Median and longest, in milliseconds.
fn shown(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<u128> = times.map(|time| time.as_millis()).collect();
    times.sort_unstable();
    format!("{} ms, at most {} ms", times[times.len() / 2], times[times.len() - 1])
}

fn print(what: &str, times: &[(Duration, Duration)]) {
    let (taken, first) = (shown(times.iter().map(|times| times.0)), shown(times.iter().map(|times| times.1)));
    println!("{what}: a question is taken after {taken}; first token after {first}");
}

#[test]
fn what_panics_is_there_again_for_the_next_question() {
    let Some(workplace) = with_course() else { return };
    let server = workplace.serve_with(&["--fault-injection"]);
    assert!(server.said.iter().any(|line| line.contains("FAULT INJECTION IS ON")), "{:?}", server.said);
    let mut student = Student::connect(&server);
    let usual: Vec<_> = (0..ROUNDS).map(|_| student.ask_until_answered()).collect();
    print("without a panic", &usual);
    for part in Part::ALL.into_iter().filter(|part| ![Part::Http, Part::Socket].contains(part)) {
        let after_a_panic = |_| {
            let path = format!("/debug/panic/{}?conversation_id=c", part.as_str());
            assert_eq!(server.call("POST", &path, &[], b"").0, 204, "{part:?}");
            // These panic in the midst of a turn.
            if matches!(part, Part::Embed | Part::Generate | Part::Search | Part::Turn) {
                assert_eq!(student.ask().0["type"], "error", "{part:?}");
            }
            student.ask_until_answered()
        };
        let times: Vec<_> = (0..ROUNDS).map(after_a_panic).collect();
        print(&format!("after a panic of {}", part.as_str()), &times);
    }
    let metrics = server.get("/metrics");
    for worker in ["embed", "generate", "conversations", "turn", "directory", "conversation", "retriever"] {
        let line = format!("mentor_worker_restarts_total{{cause=\"panic\",worker=\"{worker}\"}} {ROUNDS}");
        assert!(metrics.contains(&line), "{line} is missing in\n{metrics}");
    }
    assert_eq!(server.call("GET", "/readyz", &[], b"").0, 200);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn nobody_orders_panics_by_mistake() {
    let Some(workplace) = Workplace::new() else { return };
    for help in [["serve", "--help"], ["help", "serve"]] {
        assert!(!workplace.expect(0, &help).contains("fault-injection"), "{help:?}");
    }
    let line = workplace.run(&["config", "--fault-injection"]);
    assert_eq!(line.status.code(), Some(2), "it belongs to no other command, and no configuration has it");
}
