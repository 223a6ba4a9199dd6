//! A client of one conversation that judges everything it hears, and can lose its connection and come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::check::{Completion, Heard, ProtocolCheck, Resuming, Rule};
use crate::conversation::{connect, hear, path_of};
use crate::failure::{Failure, within};
use crate::frame::ClientFrame;
use crate::recital::Recital;
use crate::socket::{Dial, Socket};

/// How a turn ended.
#[derive(Debug)]
pub enum Ending {
    /// With an answer.
    Completed(Completion),
    /// With an error of the server, or it never began.
    Failed(Failure),
}

/// How a connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// With a close frame, and without waiting for the other one.
    Goodbye,
    /// The connection ends.
    Silently,
    /// The connection is reset.
    Abruptly,
}

/// What the times of a client are called in the report.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// From the moment a question was due to its first token.
    pub first_token: &'static str,
    /// From the moment a fake generator's word was due to its arrival.
    pub token_delay: &'static str,
    /// From the moment a question was due to the end of its answer.
    pub total: &'static str,
}

impl Default for Names {
    fn default() -> Self {
        Self { first_token: "first_token_ms", token_delay: "token_delay_ms", total: "total_ms" }
    }
}

/// Times of a running turn.
#[derive(Debug)]
struct Turn {
    /// When the question was due.
    asked: Instant,
    has_tokens: bool,
    recital: Option<Recital>,
}

/// The client.
pub struct Student {
    bench: Arc<Bench>,
    /// The conversation.
    pub id: String,
    dial: Dial,
    names: Names,
    check: ProtocolCheck,
    socket: Option<Socket>,
    was_ready: bool,
    turn: Option<Turn>,
}

impl Student {
    /// A client of a new conversation, not connected yet.
    pub fn new(bench: &Arc<Bench>, name: &str) -> Self {
        let id = bench.id(name);
        let check = ProtocolCheck::new(&id);
        Self {
            bench: bench.clone(),
            id,
            dial: Dial::default(),
            names: Names::default(),
            check,
            socket: None,
            was_ready: false,
            turn: None,
        }
    }

    /// The same, with a receive buffer of so many bytes.
    pub fn with_receive_buffer(mut self, bytes: u32) -> Self {
        self.dial.receive_buffer = Some(bytes);
        self
    }

    /// The same, with other names for its times.
    pub fn measured_as(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Connects and waits for `ready`.
    ///
    /// # Errors
    /// When that fails.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        let (common, path) = (&self.bench.common, path_of(&self.id));
        let connecting = connect(&common.url, &path, self.dial, &mut self.check);
        self.socket = Some(within(common.connect_deadline, "connecting", connecting).await?);
        self.was_ready = true;
        Ok(())
    }

    /// Connects again, and asks for everything since the last event that was seen.
    ///
    /// # Errors
    /// When that fails.
    pub async fn resume(&mut self, resuming: Resuming) -> Result<(), Failure> {
        self.check.reconnect(resuming);
        self.connect().await?;
        let after = self.check.last_seq();
        self.say(&ClientFrame::Resume { after }).await
    }

    fn socket(&mut self) -> Result<&mut Socket, Failure> {
        self.socket.as_mut().ok_or_else(|| Failure::new("not_connected", "there is no connection"))
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection is lost, or takes nothing for as long as connecting may take.
    pub async fn say(&mut self, frame: &ClientFrame<'_>) -> Result<(), Failure> {
        let patience = self.bench.common.connect_deadline;
        within(patience, "sending", self.socket()?.say(frame)).await
    }

    /// Asks, at a moment when that was due. The same turn once more changes nothing of its times.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn ask(&mut self, turn_id: &str, message: &str, due: Instant) -> Result<(), Failure> {
        if !self.check.has_turn() {
            self.check.begin(turn_id);
            self.turn = Some(Turn { asked: due, has_tokens: false, recital: None });
        }
        let options = self.bench.options();
        self.say(&ClientFrame::Ask { message, turn_id, options }).await
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether the conversation was there at least once.
    pub fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection is lost or closed.
    pub async fn hear(&mut self) -> Result<(Heard, Instant), Failure> {
        let Some(socket) = self.socket.as_mut() else {
            return Err(Failure::new("not_connected", "there is no connection"));
        };
        hear(socket, &mut self.check).await
    }

    /// Follows the running turn to its end.
    ///
    /// # Errors
    /// When the connection is lost or closed.
    pub async fn follow(&mut self) -> Result<Ending, Failure> {
        loop {
            match self.hear().await? {
                (Heard::Token(text), at) => self.take_token(&text, at),
                (Heard::Completed(done), at) => return Ok(self.complete(done, at)),
                (Heard::Failed(failure), at) => return Ok(self.fail(failure, at)),
                (Heard::Ready | Heard::Progress | Heard::Pong, _) => {}
            }
        }
    }

    /// The same, for at most that long; `None` when the turn goes on.
    ///
    /// # Errors
    /// When the connection is lost or closed.
    pub async fn follow_for(&mut self, time: Duration) -> Result<Option<Ending>, Failure> {
        match tokio::time::timeout(time, self.follow()).await {
            Ok(ending) => ending.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Asks and follows, within the deadline of a turn.
    ///
    /// # Errors
    /// When the connection is lost or closed, or the deadline passes.
    pub async fn take_turn(&mut self, turn_id: &str, message: &str, due: Instant) -> Result<Ending, Failure> {
        let deadline = self.bench.common.turn_deadline;
        let asking = async {
            self.ask(turn_id, message, due).await?;
            self.follow().await
        };
        within(deadline, "the turn", asking).await
    }

    fn take_token(&mut self, text: &str, at: Instant) {
        let (figures, names) = (&self.bench.figures, self.names);
        let Some(turn) = &mut self.turn else { return };
        if !std::mem::replace(&mut turn.has_tokens, true) {
            figures.time(self.names.first_token, at.saturating_duration_since(turn.asked));
            turn.recital = Recital::begin(text);
        }
        match &mut turn.recital {
            Some(recital) => {
                let before = recital.words();
                recital.take(text, at).for_each(|late| figures.watched_time(names.token_delay, late));
                figures.add("tokens", u64::from(recital.words() - before));
            }
            None => figures.count("tokens"),
        }
    }

    fn complete(&mut self, done: Completion, at: Instant) -> Ending {
        let figures = &self.bench.figures;
        figures.count("turns_completed");
        if let Some(turn) = self.turn.take() {
            let total = at.saturating_duration_since(turn.asked);
            figures.time(self.names.total, total);
            let words = turn.recital.map(|recital| u64::from(recital.words()));
            if words.is_some_and(|words| words != done.usage.completion_tokens) {
                let counted = done.usage.completion_tokens;
                self.check.broke(Rule::TokensAreTheAnswer, format!("{words:?} words came, {counted} were counted"));
            }
        }
        Ending::Completed(done)
    }

    fn fail(&mut self, failure: Failure, at: Instant) -> Ending {
        let figures = &self.bench.figures;
        figures.count("turns_failed");
        if let Some(turn) = self.turn.take()
            && failure.code == "overloaded"
        {
            figures.time("rejected_ms", at.saturating_duration_since(turn.asked));
        }
        Ending::Failed(failure)
    }

    /// Loses the connection.
    pub async fn leave(&mut self, how: Leave) {
        let Some(socket) = self.socket.take() else { return };
        match how {
            // The other side may be gone already.
            Leave::Goodbye => drop(within(Duration::from_secs(1), "closing", socket.close()).await),
            Leave::Silently => drop(socket),
            Leave::Abruptly => socket.abort(),
        }
    }

    /// The raw connection, for those who break rules themselves.
    ///
    /// # Errors
    /// When there is none.
    pub fn into_socket(mut self) -> Result<Socket, Failure> {
        self.socket.take().ok_or_else(|| Failure::new("not_connected", "there is no connection"))
    }

    /// Compares a stored answer with the one that was heard.
    pub async fn compare_stored(&mut self, turn_id: &str, answer: &str) {
        let figures = &self.bench.figures;
        match self.bench.stored_answers(&self.id).await {
            Err(failure) => figures.failed(&failure),
            Ok(stored) => {
                let turns: Vec<&String> =
                    stored.iter().filter(|(id, _)| id == turn_id).map(|(_, answer)| answer).collect();
                if turns == [answer] {
                    figures.count("stored_equal");
                } else {
                    let count = turns.len();
                    let detail = format!("turn {turn_id} is stored {count} times, or with another text");
                    self.check.broke(Rule::StoredAsSaid, detail);
                }
            }
        }
    }
}

impl Drop for Student {
    fn drop(&mut self) {
        let check = std::mem::replace(&mut self.check, ProtocolCheck::new(""));
        let (model, violations) = check.into_parts();
        self.bench.figures.model(model);
        self.bench.figures.broken(&violations);
    }
}
