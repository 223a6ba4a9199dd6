//! The events of a conversation, numbered, bounded, and read by cursors at their own pace.
//!
//! Nobody is ever pushed to: a reader that stops reading costs nothing but its cursor. Tokens that nobody has read yet are
//! joined into one event, so a slow client gets fewer and larger ones and the log of a turn stays small.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::domain::{NumberedEvent, TurnEvent, TurnId};

/// Events kept for late readers. A turn of 1,024 tokens read at once by a fast client needs about that many.
const DEFAULT_CAPACITY: usize = 8_192;

/// One conversation's events.
#[derive(Debug)]
pub struct TurnLog {
    state: Mutex<State>,
    /// Carries the number of the newest event: at most one wake-up can be pending for each reader.
    newest: watch::Sender<u64>,
    capacity: usize,
}

#[derive(Debug)]
struct State {
    /// In order of their numbers, which may be skipped where a turn was interrupted by the end of the program.
    events: VecDeque<NumberedEvent>,
    /// Number of the newest event; 0 before the first.
    last_seq: u64,
    /// Number of the newest event that is not kept any more; 0 while all are.
    forgotten: u64,
    /// Highest number that any reader has taken: later tokens must not be joined to it.
    highest_read: u64,
    /// Readers now, and since when there has been none.
    readers: usize,
    unwatched_since: Option<Instant>,
}

/// A reader fell so far behind that events it has not seen are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged;

impl Default for TurnLog {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl TurnLog {
    /// An empty log that keeps that many events.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let state = State {
            events: VecDeque::new(),
            last_seq: 0,
            forgotten: 0,
            highest_read: 0,
            readers: 0,
            unwatched_since: Some(Instant::now()),
        };
        Self { state: Mutex::new(state), newest: watch::Sender::new(0), capacity }
    }

    /// No code runs under this lock that could panic half-way, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event and wakes the readers.
    pub fn append(&self, turn_id: &TurnId, event: TurnEvent) {
        let mut state = self.lock();
        if !state.join_token(turn_id, &event) {
            state.last_seq += 1;
            let seq = state.last_seq;
            state.make_room(turn_id, self.capacity);
            state.events.push_back(NumberedEvent { seq, turn_id: turn_id.clone(), event });
        }
        let last_seq = state.last_seq;
        drop(state);
        self.newest.send_replace(last_seq);
    }

    /// Number of the newest event; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.lock().last_seq
    }

    /// Puts the events of former turns into an empty log, in order; those up to `forgotten` are not kept.
    pub fn restore(&self, events: Vec<NumberedEvent>, forgotten: u64) {
        let mut state = self.lock();
        state.last_seq = events.last().map_or(forgotten, |event| event.seq);
        state.forgotten = forgotten;
        state.highest_read = state.last_seq;
        state.events = events.into();
        let last_seq = state.last_seq;
        drop(state);
        self.newest.send_replace(last_seq);
    }

    /// Keeps no event up to that number any more.
    pub fn forget(&self, up_to: u64) {
        let mut state = self.lock();
        let gone = state.place_of(up_to + 1);
        state.events.drain(..gone);
        state.forgotten = state.forgotten.max(up_to);
    }

    /// The events after that number, as far as they are kept.
    #[must_use]
    pub fn since(&self, after: u64) -> Vec<NumberedEvent> {
        let state = self.lock();
        state.events.iter().skip(state.place_of(after + 1)).cloned().collect()
    }

    /// Whether all events after that number are kept.
    #[must_use]
    pub fn holds_since(&self, after: u64) -> bool {
        self.lock().forgotten <= after
    }

    /// Counts as watched until now: whoever found the conversation has a moment to begin reading.
    pub fn touch(&self) {
        let mut state = self.lock();
        if state.readers == 0 {
            state.unwatched_since = Some(Instant::now());
        }
    }

    /// Since when nobody has read this log; `None` while somebody does.
    #[must_use]
    pub fn unwatched_since(&self) -> Option<Instant> {
        self.lock().unwatched_since
    }

    /// A reader of everything after that number.
    #[must_use]
    pub fn watch(self: &Arc<Self>, after: u64) -> Cursor {
        let mut state = self.lock();
        state.readers += 1;
        state.unwatched_since = None;
        drop(state);
        Cursor { next: after + 1, wake: self.newest.subscribe(), log: self.clone(), is_again: false }
    }

    /// The first event with that number or a higher one.
    fn take(&self, seq: u64) -> Result<Option<NumberedEvent>, Lagged> {
        let mut state = self.lock();
        if seq <= state.forgotten {
            return Err(Lagged);
        }
        let event = state.events.get(state.place_of(seq)).cloned();
        if let Some(event) = &event {
            state.highest_read = state.highest_read.max(event.seq);
        }
        Ok(event)
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.readers -= 1;
        if state.readers == 0 {
            state.unwatched_since = Some(Instant::now());
        }
    }
}

impl State {
    /// Where the first event with that number or a higher one stands. Most readers want one of the newest.
    fn place_of(&self, seq: u64) -> usize {
        let from_behind = self.events.iter().rev().take_while(|event| event.seq >= seq).take(8).count();
        if from_behind < 8 {
            return self.events.len() - from_behind;
        }
        self.events.partition_point(|event| event.seq < seq)
    }

    /// Forgets the oldest event when every place is taken. A turn that runs keeps all of its events: it is stored with them.
    fn make_room(&mut self, running: &TurnId, capacity: usize) {
        if self.events.len() < capacity || self.events.front().is_none_or(|event| event.turn_id == *running) {
            return;
        }
        if let Some(gone) = self.events.pop_front() {
            self.forgotten = gone.seq;
        }
    }

    /// Joins a token to the newest event where that is a token of the same turn which nobody has read.
    fn join_token(&mut self, turn: &TurnId, event: &TurnEvent) -> bool {
        let unread = self.highest_read < self.last_seq;
        match (self.events.back_mut(), event) {
            (Some(NumberedEvent { turn_id, event: TurnEvent::Token(text), .. }), TurnEvent::Token(more))
                if unread && turn_id == turn =>
            {
                text.push_str(more);
                true
            }
            _ => false,
        }
    }
}

/// One reader of a log.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<TurnLog>,
    /// Number of the event to read next.
    next: u64,
    wake: watch::Receiver<u64>,
    is_again: bool,
}

impl Cursor {
    /// The same, of a turn that an earlier request began.
    #[must_use]
    pub(crate) fn again(mut self) -> Self {
        self.is_again = true;
        self
    }

    /// Whether it reads a turn that an earlier request began.
    #[must_use]
    pub fn is_again(&self) -> bool {
        self.is_again
    }

    /// The next event if there is one.
    ///
    /// # Errors
    /// [`Lagged`] when it is gone; the cursor stays where it is.
    pub fn try_next(&mut self) -> Result<Option<NumberedEvent>, Lagged> {
        let event = self.log.take(self.next)?;
        if let Some(event) = &event {
            self.next = event.seq + 1;
        }
        Ok(event)
    }

    /// The next event, waiting for it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Lagged`] when it is gone.
    pub async fn next(&mut self) -> Result<NumberedEvent, Lagged> {
        loop {
            self.wake.borrow_and_update();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            // The sender lives in the log, which this cursor keeps alive, so waiting can't fail.
            let _changed = self.wake.changed().await;
        }
    }

    /// The next event of one turn, waiting for it and passing over others.
    ///
    /// # Errors
    /// [`Lagged`] when events are gone.
    pub async fn next_of(&mut self, turn: &TurnId) -> Result<NumberedEvent, Lagged> {
        loop {
            let event = self.next().await?;
            if event.turn_id == *turn {
                return Ok(event);
            }
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.log.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(name: &str) -> TurnId {
        TurnId::parse(name).unwrap()
    }

    fn token(text: &str) -> TurnEvent {
        TurnEvent::Token(text.into())
    }

    #[test]
    fn numbers_start_at_one_and_have_no_gaps() {
        let log = Arc::new(TurnLog::default());
        let mut cursor = log.watch(0);
        for text in ["a", "b", "c"] {
            log.append(&turn("t"), token(text));
            assert_eq!(cursor.try_next().unwrap().unwrap().event, token(text));
        }
        assert_eq!((log.last_seq(), cursor.try_next()), (3, Ok(None)));
    }

    #[test]
    fn tokens_nobody_has_read_are_joined() {
        let log = Arc::new(TurnLog::default());
        let mut fast = log.watch(0);
        log.append(&turn("t"), token("a"));
        assert_eq!(fast.try_next().unwrap().unwrap().event, token("a"));
        log.append(&turn("t"), token("b"));
        log.append(&turn("t"), token("c"));
        let mut late = log.watch(0);
        assert_eq!(fast.try_next().unwrap().unwrap().event, token("bc"));
        assert_eq!(late.try_next().unwrap().unwrap().event, token("a"));
        assert_eq!(late.try_next().unwrap().unwrap().event, token("bc"));
    }

    #[test]
    fn tokens_of_two_turns_are_never_joined() {
        let log = Arc::new(TurnLog::default());
        log.append(&turn("one"), token("a"));
        log.append(&turn("two"), token("b"));
        assert_eq!(log.last_seq(), 2);
    }

    #[test]
    fn a_reader_that_fell_behind_is_told_so() {
        let log = Arc::new(TurnLog::new(2));
        let mut cursor = log.watch(0);
        for name in ["a", "b", "c"] {
            log.append(&turn(name), token("x"));
        }
        assert_eq!(cursor.try_next(), Err(Lagged));
        assert!(log.watch(1).try_next().unwrap().is_some());
    }

    #[test]
    fn the_running_turn_keeps_its_events_and_former_ones_make_room() {
        let log = Arc::new(TurnLog::new(3));
        let mut reader = log.watch(0);
        for (name, text) in [("old", "a"), ("new", "b"), ("new", "c"), ("new", "d"), ("new", "e")] {
            log.append(&turn(name), token(text));
            reader.try_next().unwrap();
        }
        let kept: Vec<u64> = log.since(1).iter().map(|event| event.seq).collect();
        assert_eq!(kept, [2, 3, 4, 5]);
        assert!(log.holds_since(1) && !log.holds_since(0));
        log.forget(3);
        assert_eq!((log.watch(2).try_next(), log.since(0).len()), (Err(Lagged), 2));
    }

    #[test]
    fn a_restored_log_goes_on_where_it_ended_and_passes_over_numbers_that_were_skipped() {
        let log = Arc::new(TurnLog::default());
        let event = |seq: u64| NumberedEvent { seq, turn_id: turn("t"), event: token("x") };
        log.restore(vec![event(5), event(6), event(1_000)], 4);
        assert_eq!(log.watch(3).try_next(), Err(Lagged));
        let mut cursor = log.watch(6);
        log.append(&turn("t"), token("live"));
        let read: Vec<u64> = std::iter::from_fn(|| cursor.try_next().unwrap()).map(|event| event.seq).collect();
        assert_eq!(read, [1_000, 1_001], "what was read before is not joined with what comes");
    }

    #[test]
    fn a_log_knows_whether_anybody_watches() {
        let log = Arc::new(TurnLog::default());
        assert!(log.unwatched_since().is_some());
        let (one, two) = (log.watch(0), log.watch(0));
        drop(one);
        assert!(log.unwatched_since().is_none());
        drop(two);
        assert!(log.unwatched_since().is_some());
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let log = Arc::new(TurnLog::default());
        let mut cursor = log.watch(0);
        let append = async { log.append(&turn("t"), token("late")) };
        let (event, ()) = tokio::join!(cursor.next(), append);
        assert_eq!(event.unwrap().event, token("late"));
    }
}
