//! Keeps one turn: its beginning is stored before its first event can be seen, its end before its last one.

use std::time::SystemTime;

use crate::domain::{ErrorCode, NumberedEvent, TurnBegin, TurnChange, TurnEnd, TurnError};
use crate::storage::Storage;

/// One turn's way into the store.
pub(crate) struct Keeper {
    storage: Storage,
    begin: TurnBegin,
    /// Whether the store knows of the turn, so that it wants its end.
    begun: bool,
}

impl Keeper {
    pub fn new(storage: Storage, begin: TurnBegin) -> Self {
        Self { storage, begin, begun: false }
    }

    /// Number of the turn's first event.
    pub fn first_seq(&self) -> u64 {
        self.begin.first_seq
    }

    /// Stores that the turn begins.
    pub async fn begin(&mut self) -> Result<(), TurnError> {
        self.storage.change(TurnChange::Begin(self.begin.clone())).await?;
        self.begun = true;
        Ok(())
    }

    /// Stores the turn with all its events, of which the last is its end.
    pub async fn end(&mut self, events: Vec<NumberedEvent>) -> Result<(), TurnError> {
        if !self.begun {
            return Err(TurnError::new(ErrorCode::Unavailable, "the turn has no beginning in the store"));
        }
        let stored = self.storage.change(self.change(events)).await;
        self.begun = false;
        stored
    }

    /// Stores the turn without waiting for it.
    pub fn end_later(&mut self, events: Vec<NumberedEvent>) {
        if std::mem::take(&mut self.begun) {
            self.storage.change_later(self.change(events));
        }
    }

    fn change(&self, events: Vec<NumberedEvent>) -> TurnChange {
        TurnChange::End(TurnEnd {
            conversation_id: self.begin.conversation_id.clone(),
            turn_id: self.begin.turn_id.clone(),
            ended_at: SystemTime::now(),
            events,
        })
    }
}
