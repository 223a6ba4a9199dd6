//! The queue in front of the generator: turns wait in a fair order, know their place in it and about how long it will take.
//!
//! What is decided stands in pure parts: [`fair_queue`] says who is next, [`pace`] how long turns take. Here is the lock around
//! them, shared by the actor that lets turns in and the thread that takes them out.

mod accounts;
mod fair_queue;
mod pace;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use fair_queue::{Flow, Ticket};

use crate::domain::Usage;
use crate::queue::Rejected;
use crate::workload::Workload;
use fair_queue::{FairQueue, Taken};
use pace::{Pace, starts};

/// Where a waiting turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 1, in the order in which turns are really taken.
    pub position: usize,
    /// How long until it is taken, in whole milliseconds; `None` before anything was measured.
    pub wait: Option<Duration>,
}

/// What the queue foresees, for those who are about to come in. Clones of its `Arc` share it.
#[derive(Debug)]
pub struct Outlook(AtomicU64);

/// Stands for nothing known.
const UNKNOWN: u64 = u64::MAX;

impl Default for Outlook {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl Outlook {
    /// How long one more turn would wait; `None` before anything was measured.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let ms = self.0.load(Ordering::Relaxed);
        (ms != UNKNOWN).then(|| Duration::from_millis(ms))
    }

    /// Says so.
    pub fn set(&self, wait: Option<Duration>) {
        self.0.store(wait.map_or(UNKNOWN, milliseconds), Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(UNKNOWN - 1)
}

/// Holds at most `capacity` waiting turns.
#[derive(Debug)]
pub struct TurnQueue<J> {
    state: Mutex<State<J>>,
    capacity: usize,
    /// Signalled when a turn arrives or the queue closes.
    filled: Condvar,
    outlook: Arc<Outlook>,
}

#[derive(Debug)]
struct State<J> {
    waiting: FairQueue<J>,
    running: HashMap<Ticket, Running>,
    pace: Pace,
    /// Of the engine, while there is one.
    slots: usize,
    closed: bool,
}

#[derive(Debug)]
struct Running {
    taken: Taken,
    since: Instant,
}

impl<J> State<J> {
    fn pop(&mut self, now: Instant) -> Option<(Ticket, J)> {
        let (ticket, taken, job) = self.waiting.pop()?;
        self.running.insert(ticket, Running { taken, since: now });
        Some((ticket, job))
    }

    /// When each of these turns is taken, and, last, when one more would be; nothing where that is not known.
    fn starts(&self, units: impl Iterator<Item = u64>, now: Instant) -> Vec<Duration> {
        let left = |running: &Running| {
            self.pace.time_left(running.taken.expected(), now.saturating_duration_since(running.since))
        };
        let running: Option<Vec<Duration>> = self.running.values().map(left).collect();
        let waiting: Option<Vec<Duration>> = units.map(|units| self.pace.time_for(units)).collect();
        match (running, waiting) {
            (Some(running), Some(waiting)) => starts(self.slots, running, waiting),
            _ => Vec::new(),
        }
    }
}

impl<J> TurnQueue<J> {
    /// An empty queue of that many places.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let state = State {
            waiting: FairQueue::default(),
            running: HashMap::new(),
            pace: Pace::default(),
            slots: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), capacity, filled: Condvar::new(), outlook: Arc::default() }
    }

    /// No code runs under this lock that could panic half-way, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it foresees.
    #[must_use]
    pub fn outlook(&self) -> Arc<Outlook> {
        self.outlook.clone()
    }

    /// An engine with that many slots takes turns from now on; what ran in a former one is over.
    pub fn serve(&self, slots: usize) {
        let mut state = self.lock();
        state.slots = slots;
        let lost = std::mem::take(&mut state.running);
        lost.values().for_each(|running| state.waiting.end(&running.taken, running.taken.expected()));
        self.look_out(&state);
    }

    /// Puts a turn in, or hands it back.
    ///
    /// # Errors
    /// [`Rejected`] with the job when the queue is full or closed.
    pub fn try_push(&self, flow: Flow, work: Workload, job: J) -> Result<Ticket, Rejected<J>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Rejected::Closed(job));
        }
        if state.waiting.len() >= self.capacity {
            return Err(Rejected::Full(job));
        }
        let units = state.pace.expect(work);
        let ticket = state.waiting.push(flow, units, job);
        self.look_out(&state);
        self.filled.notify_one();
        Ok(ticket)
    }

    /// The next turn, waiting for one; `None` once the queue is closed. Whoever takes it says when it has [ended](Self::end).
    pub fn pop(&self) -> Option<(Ticket, J)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(next) = state.pop(Instant::now()) {
                self.look_out(&state);
                return Some(next);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next turn, if one waits.
    pub fn try_pop(&self) -> Option<(Ticket, J)> {
        let mut state = self.lock();
        let next = state.pop(Instant::now())?;
        self.look_out(&state);
        Some(next)
    }

    /// A turn that was taken has ended; how long it took is learned from when it was answered as a whole.
    pub fn end(&self, ticket: Ticket, usage: Usage, is_whole: bool) {
        let mut state = self.lock();
        let is_crowded = state.running.len() >= state.slots;
        let Some(Running { taken, since }) = state.running.remove(&ticket) else { return };
        if is_whole {
            state.pace.observe(taken.expected(), since.elapsed(), usage.completion_tokens, is_crowded);
        }
        state.waiting.end(&taken, Workload::of_usage(usage).units());
        self.look_out(&state);
    }

    /// Takes a turn out that does not want to wait any more; `None` when it waits no longer.
    pub fn remove(&self, ticket: Ticket) -> Option<J> {
        let mut state = self.lock();
        let job = state.waiting.remove(ticket)?;
        self.look_out(&state);
        Some(job)
    }

    /// Looks at every turn that has to wait, with its place.
    pub fn inspect(&self, mut look: impl FnMut(Place, &mut J)) {
        let mut state = self.lock();
        let state = &mut *state;
        let units: Vec<u64> = state.waiting.in_order().map(|(units, _)| units).collect();
        let starts = state.starts(units.into_iter(), Instant::now());
        // Whoever finds a free slot is taken in a moment.
        let at_once = state.slots.saturating_sub(state.running.len());
        for (index, (_, job)) in state.waiting.in_order().enumerate().skip(at_once) {
            let wait = starts.get(index).map(|wait| Duration::from_millis(milliseconds(*wait)));
            look(Place { position: index + 1 - at_once, wait }, job);
        }
    }

    /// How many turns wait.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue takes no more turns.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes no more turns, wakes who waits for one, and drops what waited: its receivers learn that from their channels.
    pub fn close(&self) {
        let dropped = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        self.filled.notify_all();
        drop(dropped);
    }

    fn look_out(&self, state: &State<J>) {
        self.outlook.set(state.starts(state.waiting.units(), Instant::now()).last().copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Workload = Workload { prompt_tokens: 100, answer_tokens: 10 };

    fn flow() -> Flow {
        Flow { client: None, conversation: None }
    }

    fn places(queue: &TurnQueue<&'static str>) -> Vec<(usize, &'static str)> {
        let mut places = Vec::new();
        queue.inspect(|place, job| places.push((place.position, *job)));
        places
    }

    #[test]
    fn places_are_counted_from_where_waiting_begins() {
        let queue = TurnQueue::new(4);
        queue.serve(1);
        for job in ["a", "b", "c"] {
            queue.try_push(flow(), WORK, job).unwrap();
        }
        assert_eq!(places(&queue), [(1, "b"), (2, "c")], "a slot is free for the first");
        assert_eq!(queue.pop().map(|(_, job)| job), Some("a"));
        assert_eq!(places(&queue), [(1, "b"), (2, "c")]);
    }

    #[test]
    fn a_full_queue_hands_the_turn_back_and_one_that_leaves_makes_room() {
        let queue = TurnQueue::new(1);
        let first = queue.try_push(flow(), WORK, 1).unwrap();
        assert_eq!(queue.try_push(flow(), WORK, 2), Err(Rejected::Full(2)));
        assert_eq!(queue.remove(first), Some(1));
        assert!(queue.try_push(flow(), WORK, 3).is_ok());
        assert_eq!((queue.try_pop().map(|(_, job)| job), queue.remove(first)), (Some(3), None));
    }

    #[test]
    fn nothing_is_foreseen_before_a_turn_has_ended_and_again_after_engines_were_lost() {
        let queue = TurnQueue::new(4);
        assert_eq!(queue.outlook().wait(), None);
        queue.serve(1);
        let push = || queue.try_push(flow(), WORK, "turn").unwrap();
        push();
        assert_eq!(queue.outlook().wait(), None);
        let (first, _) = queue.pop().unwrap();
        queue.end(first, Usage { prompt_tokens: 100, cached_tokens: 0, completion_tokens: 10 }, true);
        assert_eq!(queue.outlook().wait(), Some(Duration::ZERO), "nobody is before one more");
        push();
        queue.pop().unwrap();
        push();
        let mut told = None;
        queue.inspect(|place, _| told = Some(place));
        assert!(told.is_some_and(|place| place.position == 1 && place.wait.is_some()), "{told:?}");
        queue.serve(1);
        assert_eq!(places(&queue), [], "the rebuilt engine is free");
    }

    #[test]
    fn closing_wakes_the_engine_and_refuses_turns() {
        let queue = TurnQueue::new(1);
        std::thread::scope(|scope| {
            let engine = scope.spawn(|| queue.pop());
            queue.close();
            assert_eq!(engine.join().unwrap(), None);
        });
        assert_eq!(queue.try_push(flow(), WORK, 9), Err(Rejected::Closed(9)));
    }
}
