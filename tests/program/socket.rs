//! A WebSocket client that waits, and what a conversation's events are.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::support::{Server, Workplace};

/// Longest that any step waits.
const PATIENCE: Duration = Duration::from_secs(60);

pub const QUESTION: &str = "How is a binary heap stored in an array?";

/// A workplace with a course of one page.
pub fn with_course() -> Option<Workplace> {
    let workplace = Workplace::new()?;
    let text = "# Heaps\n\nA binary heap is a complete binary tree that is stored in an array. The children of the node at \
        index i stand at the indexes 2i + 1 and 2i + 2, and its parent at (i - 1) / 2.\n";
    workplace.course_file("heaps.md", text);
    workplace.expect(0, &["ingest", "--directory", "course"]);
    Some(workplace)
}

pub struct Client {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub fn connect(server: &Server, conversation: &str) -> Self {
        let url = format!("ws://{}/api/ws/chat/{conversation}", server.address);
        let (socket, _) = connect(url).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self { socket }
    }

    pub fn say(&mut self, frame: &Value) {
        assert!(self.tell(frame), "the connection was lost");
    }

    /// The same where the server may be gone: whether it was sent.
    pub fn tell(&mut self, frame: &Value) -> bool {
        self.socket.send(Message::text(frame.to_string())).is_ok()
    }

    /// The next frame: JSON, or what the server closed with; `None` when the connection was lost.
    pub fn hear(&mut self) -> Option<Result<Value, CloseCode>> {
        loop {
            match self.socket.read().ok()? {
                Message::Text(text) => return Some(Ok(serde_json::from_str(&text).unwrap())),
                Message::Close(frame) => return Some(Err(frame?.code)),
                _ => {}
            }
        }
    }

    pub fn hear_type(&mut self, wanted: &str) -> Value {
        loop {
            let frame = self.hear().unwrap().unwrap();
            if frame["type"] == wanted {
                return frame;
            }
        }
    }

    /// The events from here on to the end of their turn, or to the end of the connection.
    pub fn hear_turn(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(Ok(frame)) = self.hear() {
            events.extend(frame.get("seq").is_some().then(|| frame.clone()));
            if is_end(&frame) {
                break;
            }
        }
        events
    }
}

pub fn is_end(frame: &Value) -> bool {
    frame.get("seq").is_some() && (frame["type"] == "complete" || frame["type"] == "error")
}

/// All events of a conversation, as a client that knows none gets them.
pub fn all_events(server: &Server, conversation: &str) -> Vec<Value> {
    let mut client = Client::connect(server, conversation);
    let last = client.hear_type("ready")["last_seq"].as_u64().unwrap();
    client.say(&json!({"type": "resume", "after": 0}));
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Value| event["seq"].as_u64() < Some(last)) {
        events.push(client.hear().unwrap().unwrap());
    }
    events
}
