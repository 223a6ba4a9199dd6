//! The protocol's rules: a pure judge of the frames that one conversation's client gets. It knows no socket, no time.
//!
//! It is made for a client that is alone in a new conversation and asks one question at a time: then every event
//! belongs to the turn that the client began, and numbers begin with 1. Such a client may lose its connection, come back and
//! resume: then too each event counts once, and in order.

use std::fmt;

use crate::failure::Failure;
use crate::frame::{ServerFrame, Usage};

/// Version of the protocol whose rules these are.
const PROTOCOL: u64 = 1;

/// A rule of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// `ready` comes first, once, and describes the new conversation.
    ReadyFirst,
    /// Events are numbered from 1 without gaps.
    SeqWithoutGaps,
    /// Events carry the id of the turn that runs.
    EventsOfTheTurn,
    /// The sources come before the first token.
    SourcesBeforeTokens,
    /// A turn ends with exactly one `complete` or `error`.
    OneEnd,
    /// The tokens are the answer, byte for byte.
    TokensAreTheAnswer,
    /// An answer is stored once, as it was said.
    StoredAsSaid,
    /// Messages are what the protocol says they are.
    Shape,
    /// A `ping` is answered by a `pong`.
    PingIsAnswered,
    /// What is no proper frame is answered as the protocol says.
    MalformedIsRefused,
}

impl Rule {
    /// The rule's name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadyFirst => "ready_first",
            Self::SeqWithoutGaps => "seq_without_gaps",
            Self::EventsOfTheTurn => "events_of_the_turn",
            Self::SourcesBeforeTokens => "sources_before_tokens",
            Self::OneEnd => "one_end",
            Self::TokensAreTheAnswer => "tokens_are_the_answer",
            Self::StoredAsSaid => "stored_as_said",
            Self::Shape => "shape",
            Self::PingIsAnswered => "ping_is_answered",
            Self::MalformedIsRefused => "malformed_is_refused",
        }
    }
}

/// A rule that was broken, and how. The detail has no text of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What happened, for people.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.as_str(), self.detail)
    }
}

/// What a frame means to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The conversation is there.
    Ready,
    /// Nothing that a client waits for.
    Progress,
    /// More of the answer.
    Token(String),
    /// The turn ended with an answer.
    Completed(Completion),
    /// The turn ended with an error, or never began.
    Failed(Failure),
    /// The answer to a `ping`.
    Pong,
}

/// What is measured of a `complete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Why the answer ended.
    pub finish_reason: String,
    /// Tokens used.
    pub usage: Usage,
    /// The whole answer.
    pub answer: String,
}

/// The judge of one conversation.
#[derive(Debug)]
pub struct ProtocolCheck {
    conversation_id: String,
    /// The generator's name, once `ready` has said it.
    model: Option<String>,
    is_ready: bool,
    /// After a new connection, until the first event that was asked for has come.
    resuming: Option<Resuming>,
    next_seq: u64,
    turn: Option<Turn>,
    violations: Vec<Violation>,
}

/// What may have happened while the client was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resuming {
    /// The connection alone was lost.
    SameServer,
    /// The server was started again: numbers may be skipped, and the turn that ran may end with an error.
    NewServer,
}

/// The turn that runs.
#[derive(Debug)]
struct Turn {
    id: String,
    /// Whether any event of it came.
    has_begun: bool,
    has_sources: bool,
    has_tokens: bool,
    /// The tokens so far.
    answer: String,
}

impl ProtocolCheck {
    /// The judge of a conversation that does not exist yet.
    pub fn new(conversation_id: &str) -> Self {
        Self {
            conversation_id: conversation_id.to_owned(),
            model: None,
            is_ready: false,
            resuming: None,
            next_seq: 1,
            turn: None,
            violations: Vec::new(),
        }
    }

    /// The client asks a question now.
    pub fn begin(&mut self, turn_id: &str) {
        self.turn = Some(Turn {
            id: turn_id.to_owned(),
            has_begun: false,
            has_sources: false,
            has_tokens: false,
            answer: String::new(),
        });
    }

    /// The connection is gone, and the client makes another: a new `ready` comes, and then what it resumes.
    pub fn reconnect(&mut self, resuming: Resuming) {
        self.is_ready = false;
        self.resuming = Some(resuming);
    }

    /// Number of the last event that counted: what to resume after.
    pub fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Whether a turn has begun and not ended.
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Notes that a rule was broken.
    pub fn broke(&mut self, rule: Rule, detail: impl Into<String>) {
        self.violations
            .push(Violation { rule, detail: format!("conversation {}: {}", self.conversation_id, detail.into()) });
    }

    /// The generator's name, and all rules that were broken.
    pub fn into_parts(self) -> (Option<String>, Vec<Violation>) {
        (self.model, self.violations)
    }

    /// Judges a frame.
    pub fn take(&mut self, text: &str) -> Heard {
        match serde_json::from_str(text) {
            Ok(frame) => self.take_frame(frame),
            Err(error) => {
                self.broke(Rule::Shape, format!("a frame cannot be read: {error}"));
                Heard::Progress
            }
        }
    }

    /// Judges that the server closed the connection: going away, it ends the running turn first.
    pub fn take_close(&mut self, code: u16) {
        const GOING_AWAY: u16 = 1001;
        if code == GOING_AWAY && self.turn.is_some() {
            self.broke(Rule::OneEnd, "the server went away (1001) without ending the turn");
        }
    }

    fn take_frame(&mut self, frame: ServerFrame) -> Heard {
        match frame.kind.as_str() {
            "ready" => self.take_ready(frame),
            "error" if frame.turn_id.is_none() => self.take_refusal(frame),
            "workflow" | "sources" | "token" | "citation" | "complete" | "error" => self.take_event(frame),
            "pong" => Heard::Pong,
            // A client ignores types that it does not know; their numbers count all the same.
            _ => {
                if frame.seq.is_some() {
                    self.count(&frame);
                }
                Heard::Progress
            }
        }
    }

    fn take_ready(&mut self, frame: ServerFrame) -> Heard {
        if self.is_ready {
            self.broke(Rule::ReadyFirst, "ready came twice");
        }
        self.is_ready = true;
        if frame.protocol != Some(PROTOCOL) {
            self.broke(Rule::ReadyFirst, format!("ready has protocol {:?}, not {PROTOCOL}", frame.protocol));
        }
        if frame.conversation_id.as_ref() != Some(&self.conversation_id) {
            self.broke(Rule::ReadyFirst, format!("ready is for conversation {:?}", frame.conversation_id));
        }
        self.model = frame.model;
        if self.resuming.is_some() {
            if frame.last_seq.is_none_or(|last| last < self.last_seq()) {
                let detail =
                    format!("ready has last_seq {:?} after event {} was seen", frame.last_seq, self.last_seq());
                self.broke(Rule::SeqWithoutGaps, detail);
            }
            return Heard::Ready;
        }
        if frame.busy != Some(false) {
            self.broke(Rule::ReadyFirst, format!("a new conversation has busy {:?}", frame.busy));
        }
        if frame.last_seq != Some(0) {
            self.broke(Rule::SeqWithoutGaps, format!("a new conversation has last_seq {:?}", frame.last_seq));
            self.next_seq = frame.last_seq.unwrap_or(0).saturating_add(1);
        }
        Heard::Ready
    }

    /// An error of no turn: the question was refused, or the connection is told about something.
    fn take_refusal(&mut self, frame: ServerFrame) -> Heard {
        let failure = self.failure(frame);
        match self.turn.take() {
            None if self.is_ready => {
                self.broke(Rule::EventsOfTheTurn, format!("the error {} came while nothing was asked", failure.code));
                Heard::Progress
            }
            Some(turn) if turn.has_begun => {
                self.broke(
                    Rule::OneEnd,
                    format!("the error {} without a turn_id came in the middle of a turn", failure.code),
                );
                self.turn = Some(turn);
                Heard::Progress
            }
            _ => Heard::Failed(failure),
        }
    }

    fn take_event(&mut self, frame: ServerFrame) -> Heard {
        if !self.is_ready {
            self.broke(Rule::ReadyFirst, format!("{} came before ready", frame.kind));
        }
        if self.is_early(&frame) {
            return Heard::Progress;
        }
        self.count(&frame);
        match &mut self.turn {
            Some(turn) if frame.turn_id.as_ref() == Some(&turn.id) => turn.has_begun = true,
            _ => return self.take_stray(&frame),
        }
        match frame.kind.as_str() {
            "sources" => self.take_sources(&frame),
            "token" => self.take_token(frame),
            "complete" => self.complete(frame),
            "error" => {
                self.turn = None;
                Heard::Failed(self.failure(frame))
            }
            _ => Heard::Progress,
        }
    }

    /// Whether a new connection is ahead of what it was asked to resume: events that come live before the server has read
    /// `resume` come once more behind the ones that are missing.
    fn is_early(&mut self, frame: &ServerFrame) -> bool {
        let Some(resuming) = self.resuming else { return false };
        let is_next = frame.seq == Some(self.next_seq);
        let is_behind = frame.seq.is_some_and(|seq| seq < self.next_seq);
        let skips = resuming == Resuming::NewServer && frame.kind == "error" && !is_behind;
        if skips {
            self.next_seq = frame.seq.unwrap_or(self.next_seq);
        }
        if is_next || is_behind || skips {
            self.resuming = None;
        }
        self.resuming.is_some()
    }

    /// An event of another turn than the running one: a turn goes on behind its end, or ends twice.
    fn take_stray(&mut self, frame: &ServerFrame) -> Heard {
        let is_end = matches!(frame.kind.as_str(), "complete" | "error");
        let rule = if is_end { Rule::OneEnd } else { Rule::EventsOfTheTurn };
        let running = self.turn.as_ref().map(|turn| turn.id.clone());
        self.broke(rule, format!("{} of turn {:?} came while {running:?} runs", frame.kind, frame.turn_id));
        Heard::Progress
    }

    fn count(&mut self, frame: &ServerFrame) {
        let Some(seq) = frame.seq else {
            return self.broke(Rule::SeqWithoutGaps, format!("{} has no seq, {} was next", frame.kind, self.next_seq));
        };
        if seq != self.next_seq {
            self.broke(Rule::SeqWithoutGaps, format!("{} has seq {seq}, {} was next", frame.kind, self.next_seq));
        }
        self.next_seq = seq.saturating_add(1);
    }

    fn take_sources(&mut self, frame: &ServerFrame) -> Heard {
        if frame.sources.is_none() {
            self.broke(Rule::Shape, "sources has no list of sources");
        }
        if let Some(turn) = &mut self.turn {
            turn.has_sources = true;
        }
        Heard::Progress
    }

    fn take_token(&mut self, frame: ServerFrame) -> Heard {
        let Some(turn) = &mut self.turn else { return Heard::Progress };
        let comes_first = !std::mem::replace(&mut turn.has_tokens, true);
        let is_early = comes_first && !turn.has_sources;
        let content = frame.content;
        match &content {
            Some(content) => turn.answer.push_str(content),
            None => self.broke(Rule::Shape, "token has no content"),
        }
        if is_early {
            self.broke(Rule::SourcesBeforeTokens, "the first token came before the sources");
        }
        Heard::Token(content.unwrap_or_default())
    }

    fn complete(&mut self, frame: ServerFrame) -> Heard {
        let said = self.turn.take().map(|turn| turn.answer).unwrap_or_default();
        match &frame.answer {
            Some(answer) => self.compare(&said, answer),
            None => self.broke(Rule::Shape, "complete has no answer"),
        }
        if frame.conversation_id.as_ref() != Some(&self.conversation_id) {
            self.broke(Rule::Shape, format!("complete is for conversation {:?}", frame.conversation_id));
        }
        if frame.finish_reason.is_none() || frame.usage.is_none() || frame.sources.is_none() {
            self.broke(Rule::Shape, "complete lacks finish_reason, usage or sources");
        }
        Heard::Completed(Completion {
            finish_reason: frame.finish_reason.unwrap_or_else(|| "missing".into()),
            usage: frame.usage.unwrap_or_default(),
            answer: frame.answer.unwrap_or_default(),
        })
    }

    fn compare(&mut self, said: &str, answer: &str) {
        if said != answer {
            let alike = said.bytes().zip(answer.bytes()).take_while(|(a, b)| a == b).count();
            let (said, answer) = (said.len(), answer.len());
            let detail =
                format!("the tokens have {said} bytes, the answer {answer}, and they differ from byte {alike} on");
            self.broke(Rule::TokensAreTheAnswer, detail);
        }
    }

    fn failure(&mut self, frame: ServerFrame) -> Failure {
        if frame.code.is_none() || frame.message.is_none() {
            self.broke(Rule::Shape, "error lacks code or message");
        }
        let code = frame.code.unwrap_or_else(|| "missing".into());
        Failure::new(code, frame.message.unwrap_or_default()).retry_after_ms(frame.retry_after_ms)
    }
}

#[cfg(test)]
mod tests;
