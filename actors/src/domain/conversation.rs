//! Conversations as they are kept: what goes into a store, and what comes back after a restart.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::{ConversationId, ErrorCode, NumberedEvent, TurnError, TurnEvent, TurnId};

/// Whom a conversation belongs to: opaque text, made by whatever knows who is asking. Others do not find it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Owner(Arc<str>);

impl Owner {
    /// The owner that goes by this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Never the text: it may be made of a secret.
impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner")
    }
}

/// A turn that begins.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnBegin {
    /// Which conversation it belongs to.
    pub conversation_id: ConversationId,
    /// Whose conversation that is; looked at when this is its first turn.
    pub owner: Option<Owner>,
    /// Which turn.
    pub turn_id: TurnId,
    /// The turn it goes on from; `None` at the beginning of the conversation.
    pub parent: Option<TurnId>,
    /// What was asked.
    pub question: String,
    /// When.
    pub asked_at: SystemTime,
    /// Number of its first event.
    pub first_seq: u64,
}

/// A turn that ends.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnEnd {
    /// Which conversation it belongs to.
    pub conversation_id: ConversationId,
    /// Which turn.
    pub turn_id: TurnId,
    /// When it ended.
    pub ended_at: SystemTime,
    /// All its events in order; the last one is its end.
    pub events: Vec<NumberedEvent>,
}

/// One step in the life of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnChange {
    /// It begins; nothing happens when it has begun before.
    Begin(TurnBegin),
    /// It ends; nothing happens when it has ended before, or is not there any more.
    End(TurnEnd),
}

/// What a student thought of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// 1 to 5.
    pub rating: u8,
    /// In words.
    pub text: Option<String>,
}

/// A turn as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTurn {
    /// Which.
    pub turn_id: TurnId,
    /// The turn it goes on from; turns of one parent are siblings.
    pub parent: Option<TurnId>,
    /// What was asked.
    pub question: String,
    /// When.
    pub asked_at: SystemTime,
    /// Number of its first event.
    pub first_seq: u64,
    /// All its events in order, the last one its end; empty while it has none.
    pub events: Vec<NumberedEvent>,
    /// What the student thought of it.
    pub feedback: Option<Feedback>,
}

impl StoredTurn {
    /// How it ended; `None` while it runs, or when the program stopped meanwhile.
    #[must_use]
    pub fn end(&self) -> Option<&TurnEvent> {
        self.events.last().map(|last| &last.event)
    }

    /// Number of its last event.
    #[must_use]
    pub fn last_seq(&self) -> Option<u64> {
        self.events.last().map(|last| last.seq)
    }
}

/// A conversation as it is kept, with its newest turns.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredConversation {
    /// Whose it is.
    pub owner: Option<Owner>,
    /// Its newest turns, in order of their numbers.
    pub turns: Vec<StoredTurn>,
    /// Whether there are older ones.
    pub has_older: bool,
    /// The newest turn with an answer: the one that a question goes on from.
    pub head: Option<TurnId>,
}

/// A conversation in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationSummary {
    /// Which.
    pub id: ConversationId,
    /// Its first question.
    pub title: String,
    /// How many turns it has, siblings among them.
    pub turns: u64,
    /// When it began.
    pub created_at: SystemTime,
    /// When a turn last began or ended in it.
    pub changed_at: SystemTime,
    /// Where it stands in the list.
    pub place: ListPlace,
}

/// A place in the list of conversations, the one that changed last first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPlace {
    /// Milliseconds since 1970.
    pub changed_ms: u64,
    /// Tells apart those that changed at the same moment.
    pub number: u64,
}

/// How a turn ends that was running when the program was killed.
#[must_use]
pub fn interrupted() -> TurnError {
    let message = "the server stopped while this was answered, ask again";
    TurnError::new(ErrorCode::Unavailable, message)
}
