//! A bounded queue between actors and worker threads, with two lanes: questions overtake bulk work.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who may overtake whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Somebody waits for the answer.
    Interactive,
    /// Ingest and other bulk work.
    Bulk,
}

/// Why a job was handed back.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected<J> {
    /// The lane is full.
    Full(J),
    /// The queue is closed.
    Closed(J),
}

/// Each lane holds at most `capacity` jobs.
#[derive(Debug)]
pub struct JobQueue<J> {
    state: Mutex<State<J>>,
    capacity: usize,
    /// Signalled when a job arrives or the queue closes.
    filled: Condvar,
    /// Signalled when a job leaves or the queue closes.
    drained: Condvar,
}

#[derive(Debug)]
struct State<J> {
    interactive: VecDeque<J>,
    bulk: VecDeque<J>,
    closed: bool,
}

impl<J> State<J> {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<J> {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Bulk => &mut self.bulk,
        }
    }

    fn take(&mut self) -> Option<J> {
        self.interactive.pop_front().or_else(|| self.bulk.pop_front())
    }
}

impl<J> JobQueue<J> {
    /// An empty queue of that many places a lane.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let state = State { interactive: VecDeque::new(), bulk: VecDeque::new(), closed: false };
        Self { state: Mutex::new(state), capacity, filled: Condvar::new(), drained: Condvar::new() }
    }

    /// No code runs under this lock that could panic half-way, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in, or hands it back; returns how many jobs of the lane are before it.
    ///
    /// # Errors
    /// [`Rejected`] with the job when the lane is full or the queue closed.
    pub fn try_push(&self, lane: Lane, job: J) -> Result<usize, Rejected<J>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Rejected::Closed(job));
        }
        let waiting = state.lane(lane).len();
        if waiting >= self.capacity {
            return Err(Rejected::Full(job));
        }
        state.lane(lane).push_back(job);
        self.filled.notify_one();
        Ok(waiting)
    }

    /// Puts a job in, waiting for room. For threads only.
    ///
    /// # Errors
    /// The job, when the queue is closed.
    pub fn push(&self, lane: Lane, job: J) -> Result<(), J> {
        let mut state = self.lock();
        while !state.closed && state.lane(lane).len() >= self.capacity {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(job);
        }
        state.lane(lane).push_back(job);
        self.filled.notify_one();
        Ok(())
    }

    /// The next job, waiting for one; `None` once the queue is closed.
    pub fn pop(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.take() {
                self.drained.notify_one();
                return Some(job);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next job, if there is one.
    pub fn try_pop(&self) -> Option<J> {
        let job = self.lock().take()?;
        self.drained.notify_one();
        Some(job)
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.interactive.len() + state.bulk.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes no more jobs, wakes everybody who waits, and drops what waited: its senders learn that from their replies.
    pub fn close(&self) {
        let dropped = {
            let mut state = self.lock();
            state.closed = true;
            (std::mem::take(&mut state.interactive), std::mem::take(&mut state.bulk))
        };
        self.filled.notify_all();
        self.drained.notify_all();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_overtakes_bulk_work() {
        let queue = JobQueue::new(2);
        queue.try_push(Lane::Bulk, "bulk").unwrap();
        queue.try_push(Lane::Interactive, "question").unwrap();
        assert_eq!((queue.pop(), queue.pop()), (Some("question"), Some("bulk")));
    }

    #[test]
    fn a_full_lane_hands_the_job_back_and_leaves_the_other_lane_alone() {
        let queue = JobQueue::new(1);
        assert_eq!(queue.try_push(Lane::Bulk, 1), Ok(0));
        assert_eq!(queue.try_push(Lane::Bulk, 2), Err(Rejected::Full(2)));
        assert_eq!(queue.try_push(Lane::Interactive, 3), Ok(0));
    }

    #[test]
    fn a_waiting_producer_goes_on_when_a_job_leaves() {
        let queue = JobQueue::new(1);
        queue.try_push(Lane::Bulk, 1).unwrap();
        std::thread::scope(|scope| {
            let producer = scope.spawn(|| queue.push(Lane::Bulk, 2));
            assert_eq!((queue.pop(), queue.pop()), (Some(1), Some(2)));
            assert_eq!(producer.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn closing_wakes_consumers_and_producers() {
        let queue = JobQueue::new(1);
        std::thread::scope(|scope| {
            let consumer = scope.spawn(|| queue.pop());
            queue.close();
            assert_eq!(consumer.join().unwrap(), None::<u8>);
        });
        assert_eq!(queue.push(Lane::Bulk, 9), Err(9));
        assert_eq!(queue.try_push(Lane::Bulk, 9), Err(Rejected::Closed(9)));
    }
}
