//! The published schema of frames against what really goes over a WebSocket.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::schema::check;
use crate::support::{Gate, Script};
use crate::{Client, Server};

/// The schema, and which of its frames were seen.
struct Frames {
    schema: Value,
    seen: BTreeSet<String>,
}

impl Frames {
    async fn of(server: &Server) -> Self {
        let (status, schema) = server.call("GET", "/schema/frames.json", "").await;
        assert_eq!(status, 200);
        Self { schema, seen: BTreeSet::new() }
    }

    fn names(&self, side: &str) -> BTreeSet<String> {
        let frames = self.schema["$defs"][side]["anyOf"].as_array().unwrap();
        frames.iter().map(|frame| frame["$ref"].as_str().unwrap().trim_start_matches("#/$defs/").to_owned()).collect()
    }

    /// Exactly one of the side's frames fits.
    fn take(&mut self, frame: &Value, side: &str) {
        let checked = |name: &String| check(frame, &self.schema["$defs"][name], &self.schema);
        let names = self.names(side);
        let fits: Vec<&String> = names.iter().filter(|name| checked(name).is_ok()).collect();
        let wrong: Vec<String> = names.iter().filter_map(|name| checked(name).err()).collect();
        assert_eq!(fits.len(), 1, "{frame} fits {fits:?}; {}", wrong.join("\n"));
        self.seen.insert(fits[0].clone());
    }

    async fn say(&mut self, client: &mut Client, frame: Value) {
        self.take(&frame, "ClientFrame");
        client.say(&frame).await;
    }

    async fn hear_until(&mut self, client: &mut Client, last: &str) {
        loop {
            let frame = client.hear().await.unwrap();
            self.take(&frame, "ServerFrame");
            if frame["type"] == last {
                return;
            }
        }
    }
}

#[actix::test]
async fn every_frame_of_real_conversations_fits_the_published_schema() {
    let gate = Arc::new(Gate::default());
    let server = Server::start(Script { gate: gate.clone(), ..Script::default() });
    let mut frames = Frames::of(&server).await;
    let (mut one, mut two) = (server.connect("/one").await, server.connect("").await);
    frames.hear_until(&mut one, "ready").await;
    let options =
        json!({"top_k": 2, "documents": ["*.pdf"], "temperature": 0, "seed": 1, "stop": ["END"], "max_tokens": 9});
    let asked = json!({"type": "ask", "message": "what is a heap?", "turn_id": "t1", "options": options});
    frames.say(&mut one, asked).await;
    // The engine has one slot, which the first question holds until the gate opens: the second one waits.
    gate.permit(1);
    frames.hear_until(&mut one, "token").await;
    frames.say(&mut two, json!({"message": "and what is a list?", "conversation_id": "two"})).await;
    frames.hear_until(&mut two, "workflow").await;
    frames.say(&mut one, json!({"type": "cancel", "turn_id": "t1"})).await;
    frames.hear_until(&mut one, "complete").await;
    gate.open();
    frames.hear_until(&mut two, "complete").await;
    frames.say(&mut one, json!({"type": "resume", "after": 0})).await;
    frames.hear_until(&mut one, "complete").await;
    frames.say(&mut one, json!({"type": "regenerate", "turn_id": "t1", "new_turn_id": null})).await;
    frames.hear_until(&mut one, "complete").await;
    let edited =
        json!({"type": "edit", "turn_id": "t1", "message": "what is a list?", "new_turn_id": "t3", "options": {}});
    frames.say(&mut one, edited).await;
    frames.hear_until(&mut one, "complete").await;
    frames.say(&mut one, json!({"type": "ping"})).await;
    frames.hear_until(&mut one, "pong").await;
    two.say(&json!({"type": "dance"})).await;
    frames.hear_until(&mut two, "error").await;
    frames.say(&mut two, json!({"message": "what about poison, in a question of its own?"})).await;
    frames.hear_until(&mut two, "error").await;
    let all: BTreeSet<String> =
        [frames.names("ClientFrame"), frames.names("ServerFrame")].into_iter().flatten().collect();
    assert_eq!(frames.seen, all, "every documented frame was seen");
    server.stop().await;
}
