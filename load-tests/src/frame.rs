//! The WebSocket's frames, as far as a client needs them.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// What the client sends.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientFrame<'a> {
    /// A question.
    Ask {
        /// Its text.
        message: &'a str,
        /// The client's id of the turn.
        turn_id: &'a str,
        /// How to answer.
        options: AskOptions,
    },
    /// Stops the running turn.
    Cancel,
    /// Repeats the events after that number.
    Resume {
        /// Which.
        after: u64,
    },
    /// Answered by `pong`.
    Ping,
}

/// `options` of a question; the server's own values where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct AskOptions {
    /// Longest answer, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Seed of the sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
}

impl ClientFrame<'_> {
    /// The frame's JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can always be written")
    }
}

/// What the server sends: the fields of all types of event together, each as the protocol has it.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerFrame {
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its number in the conversation.
    pub seq: Option<u64>,
    /// The turn it belongs to.
    pub turn_id: Option<String>,
    /// Of `token`: more of the answer.
    pub content: Option<String>,
    /// Of `sources` and `complete`.
    pub sources: Option<Vec<IgnoredAny>>,
    /// Of `complete`: the whole answer.
    pub answer: Option<String>,
    /// Of `complete`: why it ended.
    pub finish_reason: Option<String>,
    /// Of `complete`: tokens used.
    pub usage: Option<Usage>,
    /// Of `ready` and `complete`.
    pub conversation_id: Option<String>,
    /// Of `ready`: version of the protocol.
    pub protocol: Option<u64>,
    /// Of `ready`: number of the newest event.
    pub last_seq: Option<u64>,
    /// Of `ready`: whether a turn is running.
    pub busy: Option<bool>,
    /// Of `ready`: the generator's name.
    pub model: Option<String>,
    /// Of `error`: its stable code.
    pub code: Option<String>,
    /// Of `error` and `workflow`: for people.
    pub message: Option<String>,
    /// Of `error`: when trying again makes sense, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// Tokens that a turn used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// How many of them the server still had from before.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_written_as_the_protocol_has_it() {
        let options = AskOptions { max_tokens: Some(96), seed: None };
        let frame = ClientFrame::Ask { message: "what is a heap?", turn_id: "t1", options };
        assert_eq!(
            frame.to_json(),
            r#"{"type":"ask","message":"what is a heap?","turn_id":"t1","options":{"max_tokens":96}}"#
        );
        assert_eq!(ClientFrame::Ping.to_json(), r#"{"type":"ping"}"#);
        assert_eq!(ClientFrame::Cancel.to_json(), r#"{"type":"cancel"}"#);
        assert_eq!(ClientFrame::Resume { after: 7 }.to_json(), r#"{"type":"resume","after":7}"#);
    }
}
