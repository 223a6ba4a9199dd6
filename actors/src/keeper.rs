//! Keeps one turn: its beginning is stored before its first event can be seen, its end before its last one.

use std::time::SystemTime;

use crate::domain::{NumberedEvent, TurnBegin, TurnChange, TurnEnd, TurnError};
use crate::storage::Storage;

/// The way into the store of one turn that the store knows of.
pub(crate) struct Keeper {
    storage: Storage,
    begin: TurnBegin,
    /// Whether its end was stored, or could not be.
    ended: bool,
}

impl Keeper {
    /// Stores that the turn begins.
    pub async fn begin(storage: Storage, begin: TurnBegin) -> Result<Self, TurnError> {
        storage.change(TurnChange::Begin(begin.clone())).await?;
        Ok(Self { storage, begin, ended: false })
    }

    /// Number of the turn's first event.
    pub fn first_seq(&self) -> u64 {
        self.begin.first_seq
    }

    /// Stores the turn with all its events, of which the last is its end.
    pub async fn end(&mut self, events: Vec<NumberedEvent>) -> Result<(), TurnError> {
        let stored = self.storage.change(self.change(events)).await;
        self.ended = true;
        stored
    }

    /// Stores the turn without waiting for it, unless that was done.
    pub fn end_later(&mut self, events: Vec<NumberedEvent>) {
        if !std::mem::replace(&mut self.ended, true) {
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
