//! Conversations that are kept for as long as the process lives: for a single question in the terminal, and for tests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{
    ConversationId, ConversationSummary, EngineError, Feedback, ListPlace, Owner, StoredConversation, StoredTurn,
    TurnBegin, TurnChange, TurnEnd, TurnEvent, TurnId,
};
use crate::ports::ConversationStore;
use crate::prompt::Exchange;

/// Clones share what is kept.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    conversations: HashMap<ConversationId, KeptConversation>,
    /// How many there ever were.
    numbers: u64,
}

#[derive(Debug)]
struct KeptConversation {
    number: u64,
    owner: Option<Owner>,
    created_at: SystemTime,
    changed_at: SystemTime,
    /// In order of their numbers.
    turns: Vec<StoredTurn>,
}

impl MemoryStore {
    /// No code runs under this lock that could panic half-way, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn begin(&mut self, begin: TurnBegin) {
        let number = self.numbers + 1;
        let conversation = self.conversations.entry(begin.conversation_id).or_insert_with(|| {
            self.numbers = number;
            let at = begin.asked_at;
            KeptConversation { number, owner: begin.owner, created_at: at, changed_at: at, turns: Vec::new() }
        });
        if conversation.turns.iter().any(|turn| turn.turn_id == begin.turn_id) {
            return;
        }
        conversation.changed_at = begin.asked_at;
        conversation.turns.push(StoredTurn {
            turn_id: begin.turn_id,
            parent: begin.parent,
            question: begin.question,
            asked_at: begin.asked_at,
            first_seq: begin.first_seq,
            events: Vec::new(),
            feedback: None,
        });
    }

    fn end(&mut self, end: TurnEnd) {
        let Some(conversation) = self.conversations.get_mut(&end.conversation_id) else { return };
        let open = |turn: &&mut StoredTurn| turn.turn_id == end.turn_id && turn.events.is_empty();
        if let Some(turn) = conversation.turns.iter_mut().find(open) {
            turn.events = end.events;
            conversation.changed_at = end.ended_at;
        }
    }
}

impl ConversationStore for MemoryStore {
    fn write(&mut self, changes: &[TurnChange]) -> Result<(), EngineError> {
        let mut kept = self.lock();
        for change in changes.iter().cloned() {
            match change {
                TurnChange::Begin(begin) => kept.begin(begin),
                TurnChange::End(end) => kept.end(end),
            }
        }
        Ok(())
    }

    fn conversation(&mut self, id: &ConversationId, turns: usize) -> Result<Option<StoredConversation>, EngineError> {
        let kept = self.lock();
        Ok(kept.conversations.get(id).map(|conversation| {
            let older = conversation.turns.len().saturating_sub(turns);
            let answered = conversation.turns.iter().rev().find(|turn| answer_of(turn).is_some());
            StoredConversation {
                owner: conversation.owner.clone(),
                turns: conversation.turns[older..].to_vec(),
                has_older: older > 0,
                head: answered.map(|turn| turn.turn_id.clone()),
            }
        }))
    }

    fn turn(&mut self, id: &ConversationId, turn: &TurnId) -> Result<Option<StoredTurn>, EngineError> {
        let kept = self.lock();
        let turns = kept.conversations.get(id).into_iter().flat_map(|conversation| &conversation.turns);
        Ok(turns.into_iter().find(|kept| kept.turn_id == *turn).cloned())
    }

    fn turns(&mut self, id: &ConversationId, after: u64, limit: usize) -> Result<Vec<StoredTurn>, EngineError> {
        let kept = self.lock();
        let turns = kept.conversations.get(id).into_iter().flat_map(|conversation| &conversation.turns);
        Ok(turns.filter(|turn| turn.first_seq > after).take(limit).cloned().collect())
    }

    fn path(&mut self, id: &ConversationId, to: &TurnId, limit: usize) -> Result<Vec<Exchange>, EngineError> {
        let mut path = Vec::new();
        let mut next = Some(to.clone());
        while let Some(turn) = next.take().map(|id_of| self.turn(id, &id_of)).transpose()?.flatten() {
            if let Some(answer) = answer_of(&turn) {
                path.push(Exchange { question: turn.question.clone(), read: None, answer: answer.to_owned() });
            }
            next = turn.parent.filter(|_| path.len() < limit);
        }
        path.reverse();
        Ok(path)
    }

    fn list(
        &mut self,
        owner: Option<&Owner>,
        after: Option<ListPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationSummary>, EngineError> {
        let kept = self.lock();
        let theirs = kept.conversations.iter().filter(|(_, conversation)| conversation.owner.as_ref() == owner);
        let mut all: Vec<ConversationSummary> = theirs.map(|(id, conversation)| summary(id, conversation)).collect();
        all.sort_by_key(|summary| std::cmp::Reverse(summary.place));
        all.retain(|summary| after.is_none_or(|after| summary.place < after));
        all.truncate(limit);
        Ok(all)
    }

    fn rate(&mut self, owner: Option<&Owner>, turn: &TurnId, feedback: &Feedback) -> Result<bool, EngineError> {
        let mut kept = self.lock();
        let theirs = kept.conversations.values_mut().filter(|conversation| conversation.owner.as_ref() == owner);
        let turns = theirs.flat_map(|conversation| &mut conversation.turns).filter(|kept| kept.turn_id == *turn);
        let newest = turns.max_by_key(|turn| turn.asked_at);
        Ok(newest.map(|turn| turn.feedback = Some(feedback.clone())).is_some())
    }

    fn remove(&mut self, id: &ConversationId) -> Result<bool, EngineError> {
        Ok(self.lock().conversations.remove(id).is_some())
    }

    fn unchanged_since(&mut self, time: SystemTime, limit: usize) -> Result<Vec<ConversationId>, EngineError> {
        let kept = self.lock();
        let old = kept.conversations.iter().filter(|(_, conversation)| conversation.changed_at < time);
        Ok(old.map(|(id, _)| id.clone()).take(limit).collect())
    }

    fn remove_unchanged(&mut self, ids: &[ConversationId], since: SystemTime) -> Result<usize, EngineError> {
        let mut kept = self.lock();
        let before = kept.conversations.len();
        kept.conversations.retain(|id, conversation| conversation.changed_at >= since || !ids.contains(id));
        Ok(before - kept.conversations.len())
    }
}

fn answer_of(turn: &StoredTurn) -> Option<&str> {
    match turn.end() {
        Some(TurnEvent::Completed(done)) => Some(&done.answer),
        _ => None,
    }
}

fn summary(id: &ConversationId, conversation: &KeptConversation) -> ConversationSummary {
    let since = conversation.changed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    ConversationSummary {
        id: id.clone(),
        title: conversation.turns.first().map(|turn| turn.question.clone()).unwrap_or_default(),
        turns: conversation.turns.len() as u64,
        created_at: conversation.created_at,
        changed_at: conversation.changed_at,
        place: ListPlace { changed_ms, number: conversation.number },
    }
}
