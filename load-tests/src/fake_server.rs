//! Servers for this crate's tests, on real sockets. Their tasks end with the runtime of the test.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::address::Address;

/// Changes the events of a turn before they are sent.
pub type SpoilTurn = fn(&mut Vec<Value>);

/// An address where nobody listens.
pub fn unused_address() -> Address {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Address::web_socket(&format!("ws://{}", listener.local_addr().unwrap())).unwrap()
}

/// A server of conversations; every question gets a turn without fault, after `spoil` has changed it.
pub async fn serve_turns(spoil: SpoilTurn) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::web_socket(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, spoil));
        }
    });
    address
}

async fn converse(stream: TcpStream, spoil: SpoilTurn) {
    let conversation_id = conversation_of(&stream).await;
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let ready = json!({"type": "ready", "protocol": 1, "conversation_id": conversation_id, "last_seq": 0,
                       "model": "fake", "busy": false});
    say(&mut socket, &ready).await;
    let mut last_seq = 0;
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let frame: Value = serde_json::from_str(&text).unwrap();
        let answers = if frame["type"] == "ping" {
            vec![json!({"type": "pong"})]
        } else {
            let mut events = turn(&conversation_id, &frame["turn_id"], &mut last_seq);
            spoil(&mut events);
            events
        };
        for answer in answers {
            say(&mut socket, &answer).await;
        }
    }
}

/// The conversation's id in the request, which stays unread: its first line fits the first packet.
async fn conversation_of(stream: &TcpStream) -> String {
    let mut bytes = [0; 512];
    let read = stream.peek(&mut bytes).await.unwrap();
    let request = String::from_utf8_lossy(&bytes[..read]);
    let path = request.split(' ').nth(1).unwrap();
    path.strip_prefix("/api/ws/chat/").unwrap().to_owned()
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: &Value) {
    // A client that has seen enough may be gone.
    let _gone = socket.send(Message::text(frame.to_string())).await;
}

/// The events of a turn.
fn turn(conversation_id: &str, turn_id: &Value, last_seq: &mut u64) -> Vec<Value> {
    let usage = json!({"prompt_tokens": 10, "cached_tokens": 0, "completion_tokens": 2});
    let mut events = vec![
        json!({"type": "workflow", "node": "retrieve", "message": "Searching the course materials"}),
        json!({"type": "sources", "sources": []}),
        json!({"type": "token", "content": "A "}),
        json!({"type": "token", "content": "tree."}),
        json!({"type": "complete", "answer": "A tree.", "sources": [], "conversation_id": conversation_id,
               "finish_reason": "stop", "usage": usage}),
    ];
    for event in &mut events {
        *last_seq += 1;
        event["seq"] = json!(*last_seq);
        event["turn_id"] = turn_id.clone();
    }
    events
}

/// A server that gives every request the same answer. With `Connection: close` behind the status it closes after each.
pub async fn serve_searches(status: &'static str, body: &'static str) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::http(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_searches(stream, status, body));
        }
    });
    address
}

async fn answer_searches(stream: TcpStream, status: &str, body: &str) {
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut stream = BufReader::new(stream);
    while read_request(&mut stream).await {
        stream.write_all(response.as_bytes()).await.unwrap();
        if status.ends_with("close") {
            return;
        }
    }
}

/// Reads a request and forgets it; false when there is none any more.
async fn read_request(stream: &mut BufReader<TcpStream>) -> bool {
    let mut bytes = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return false;
        }
        if let Some(length) = line.strip_prefix("Content-Length: ") {
            bytes = length.trim().parse().unwrap();
        }
        if line == "\r\n" {
            let mut body = vec![0; bytes];
            return stream.read_exact(&mut body).await.is_ok();
        }
    }
}
