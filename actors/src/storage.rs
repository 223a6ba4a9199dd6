//! The conversation store on a thread of its own, behind a bounded queue.
//!
//! What turns write is gathered: everything that waits goes into one transaction, so that many conversations share one flush of
//! the disk. A store that cannot be opened does not stop the program: every call then answers `unavailable`, and readiness says
//! why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::domain::{
    ConversationId, EngineError, ErrorCode, NumberedEvent, StoredConversation, StoredTurn, TurnChange, TurnEnd,
    TurnError, TurnEvent, interrupted,
};
use crate::health::Pulse;
use crate::ports::{ConversationStore, Factory};
use crate::queue::{JobQueue, Lane, Rejected};
use crate::telemetry::{Measurement, Telemetry};
use crate::workers::{RestartBudget, WorkerHealth, WorkerPool, WorkerSpec};

/// A store of some kind.
pub type BoxedStore = Box<dyn ConversationStore>;

/// Name of its worker.
const NAME: &str = "conversations";

/// Jobs that may wait in each lane. A turn has one or two under way, so this is more than `max_turns` by default needs.
const QUEUE: usize = 1_024;

/// Changes that share a transaction: beyond some tens the flush of the disk is a small part of it.
const BATCH: usize = 64;

/// Longest anybody waits for the store. A disk that takes longer is as good as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns whose events are in memory while their conversation is. Older ones can be read from the store, not replayed.
pub const REPLAYED_TURNS: usize = 8;

/// Numbers that a turn may have used when the program was killed: nobody knows how many were seen, so that many are skipped.
/// More than a turn has events, which are about one a token.
const SKIPPED_NUMBERS: u64 = 100_000;

type Work = Box<dyn FnOnce(&mut dyn ConversationStore) + Send>;
type Reply = oneshot::Sender<Result<(), EngineError>>;

enum Job {
    /// Shares a transaction with others.
    Change(TurnChange, Option<Reply>),
    /// Anything else.
    Work(Work),
}

/// A way to the store; clones share it.
#[derive(Clone)]
pub struct Storage {
    queue: Arc<JobQueue<Job>>,
    health: Arc<WorkerHealth>,
    /// Whether the last change could not be written.
    failing: Arc<AtomicBool>,
}

impl Storage {
    /// Opens the store on its thread and waits until that has succeeded or failed. A failure is logged, and stays as
    /// [`Self::problem`].
    ///
    /// # Errors
    /// [`EngineError::Load`] when the system refuses a thread.
    pub fn start(
        factory: &Factory<BoxedStore>,
        budget: RestartBudget,
        telemetry: &Arc<dyn Telemetry>,
    ) -> Result<(Self, Option<WorkerPool>), EngineError> {
        let queue = Arc::new(JobQueue::new(QUEUE));
        let failing = Arc::new(AtomicBool::new(false));
        let closing = queue.clone();
        let spec = WorkerSpec {
            name: NAME,
            count: 1,
            budget,
            on_down: Arc::new(move || closing.close()),
            telemetry: telemetry.clone(),
        };
        let work = {
            let (queue, failing, telemetry) = (queue.clone(), failing.clone(), telemetry.clone());
            move |store: &mut BoxedStore, pulse: &Arc<Pulse>| {
                serve(store.as_mut(), &queue, &failing, telemetry.as_ref(), pulse);
                Ok(())
            }
        };
        let starting = WorkerPool::start(spec, factory, |_: &BoxedStore| (), work)?;
        let health = starting.health();
        let pool = match starting.ready() {
            Ok((pool, ())) => Some(pool),
            Err(error) => {
                queue.close();
                tracing::error!(%error, "conversations cannot be kept, so no question is answered");
                None
            }
        };
        Ok((Self { queue, health, failing }, pool))
    }

    /// The state of its thread.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// What is wrong with the store now, for anybody.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.failing.load(Ordering::Acquire).then(|| "conversations cannot be written".to_owned())
    }

    /// Takes no more work; the thread ends after what it is doing. Flush before.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Waits until everything that was submitted before is done.
    ///
    /// # Errors
    /// `unavailable` when the store is not there or takes too long.
    pub async fn flush(&self) -> Result<(), TurnError> {
        self.run(Lane::Bulk, |_| Ok(())).await
    }

    /// Tries again whether the store can be written to, when it could not the last time: a server that is not ready may get no
    /// turn that would find out.
    ///
    /// # Errors
    /// `overloaded` or `unavailable`.
    pub async fn probe(&self) -> Result<(), TurnError> {
        if self.problem().is_none() {
            return Ok(());
        }
        let failing = self.failing.clone();
        let work = move |store: &mut dyn ConversationStore| {
            store.write(&[])?;
            failing.store(false, Ordering::Release);
            Ok(())
        };
        self.run(Lane::Bulk, work).await
    }

    /// Writes a change; it is durable when this returns.
    ///
    /// # Errors
    /// `overloaded` or `unavailable`; the change is not made then.
    pub async fn change(&self, change: TurnChange) -> Result<(), TurnError> {
        let (reply, receiver) = oneshot::channel();
        self.submit(Lane::Interactive, Job::Change(change, Some(reply)))?;
        answer(receiver).await
    }

    /// Writes a change when there is time, for those who cannot wait: whether it succeeds is not told.
    pub fn change_later(&self, change: TurnChange) {
        if let Err(error) = self.submit(Lane::Interactive, Job::Change(change, None)) {
            tracing::error!(%error, "the end of a turn is not stored");
        }
    }

    /// Lets the store do something else, unless the caller has left meanwhile. Changes of turns overtake the bulk lane.
    ///
    /// # Errors
    /// `overloaded` or `unavailable`.
    pub async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut dyn ConversationStore) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, TurnError> {
        let (reply, receiver) = oneshot::channel();
        let work = move |store: &mut dyn ConversationStore| {
            if !reply.is_closed() {
                // The caller may leave meanwhile.
                drop(reply.send(work(store)));
            }
        };
        self.submit(lane, Job::Work(Box::new(work)))?;
        answer(receiver).await
    }

    /// A conversation with its newest turns. Turns that were interrupted have an end then.
    ///
    /// # Errors
    /// `overloaded` or `unavailable`.
    pub async fn wake(&self, id: ConversationId) -> Result<Option<StoredConversation>, TurnError> {
        self.run(Lane::Interactive, move |store| wake(store, &id)).await
    }

    fn submit(&self, lane: Lane, job: Job) -> Result<(), TurnError> {
        match self.queue.try_push(lane, job) {
            Ok(_) => Ok(()),
            Err(Rejected::Full(_)) => Err(TurnError::overloaded("the conversation store", Duration::from_secs(1))),
            Err(Rejected::Closed(_)) => Err(not_there()),
        }
    }
}

async fn answer<T>(receiver: oneshot::Receiver<Result<T, EngineError>>) -> Result<T, TurnError> {
    match tokio::time::timeout(PATIENCE, receiver).await {
        Ok(Ok(done)) => done.map_err(|error| {
            tracing::error!(%error, "the conversation store failed");
            not_there()
        }),
        Ok(Err(_)) => Err(not_there()),
        Err(_) => {
            tracing::error!(seconds = PATIENCE.as_secs(), "the conversation store does not answer");
            Err(not_there())
        }
    }
}

fn not_there() -> TurnError {
    TurnError::new(ErrorCode::Unavailable, "conversations cannot be stored or read at the moment, try again")
        .retry_after(Duration::from_secs(5))
}

/// Does jobs until the queue is closed.
fn serve(
    store: &mut dyn ConversationStore,
    queue: &JobQueue<Job>,
    failing: &AtomicBool,
    telemetry: &dyn Telemetry,
    pulse: &Arc<Pulse>,
) {
    let mut next = queue.pop();
    while let Some(job) = next {
        let step = pulse.begin();
        next = match job {
            Job::Work(work) => {
                work(store);
                drop(step);
                queue.pop()
            }
            Job::Change(change, reply) => {
                let (batch, after) = gather(queue, change, reply);
                let start = Instant::now();
                if write(store, batch, failing) {
                    telemetry.record(Measurement::TurnsStored { took: start.elapsed() });
                }
                drop(step);
                after.or_else(|| queue.pop())
            }
        };
    }
}

/// The changes that wait, and the first job that is none.
fn gather(
    queue: &JobQueue<Job>,
    change: TurnChange,
    reply: Option<Reply>,
) -> (Vec<(TurnChange, Option<Reply>)>, Option<Job>) {
    let mut batch = vec![(change, reply)];
    while batch.len() < BATCH {
        match queue.try_pop() {
            Some(Job::Change(change, reply)) => batch.push((change, reply)),
            other => return (batch, other),
        }
    }
    (batch, None)
}

/// Writes a batch as one, or each for itself when that fails: one change must not cost another turn its end. False when nobody
/// wants any of them, so that nothing was tried.
fn write(store: &mut dyn ConversationStore, batch: Vec<(TurnChange, Option<Reply>)>, failing: &AtomicBool) -> bool {
    // Who gave up has told the student so already.
    let wanted = batch.into_iter().filter(|(_, reply)| reply.as_ref().is_none_or(|reply| !reply.is_closed()));
    let (changes, replies): (Vec<_>, Vec<_>) = wanted.unzip();
    if changes.is_empty() {
        return false;
    }
    let together = store.write(&changes);
    let alone = |index: usize| match &together {
        Err(_) if changes.len() > 1 => store.write(&changes[index..=index]),
        whole => whole.clone(),
    };
    let results: Vec<_> = (0..changes.len()).map(alone).collect();
    // Before anybody hears of it: who asks then whether the store can be written is told the same.
    failing.store(results.iter().any(Result::is_err), Ordering::Release);
    for (result, reply) in results.into_iter().zip(replies) {
        match reply {
            // Whoever waits may leave meanwhile.
            Some(reply) => drop(reply.send(result)),
            None => {
                if let Err(error) = result {
                    tracing::error!(%error, "the end of a turn is not stored");
                }
            }
        }
    }
    true
}

fn wake(store: &mut dyn ConversationStore, id: &ConversationId) -> Result<Option<StoredConversation>, EngineError> {
    let Some(found) = store.conversation(id, REPLAYED_TURNS)? else { return Ok(None) };
    let ends = ends_of_interrupted(id, &found.turns, SystemTime::now());
    if ends.is_empty() {
        return Ok(Some(found));
    }
    store.write(&ends)?;
    store.conversation(id, REPLAYED_TURNS)
}

/// The ends of turns that have none. Their numbers are above all that a client can have seen of them, and below those of the
/// turns after them.
fn ends_of_interrupted(id: &ConversationId, turns: &[StoredTurn], now: SystemTime) -> Vec<TurnChange> {
    let next_seqs = turns.iter().skip(1).map(|turn| Some(turn.first_seq)).chain([None]);
    let open = turns.iter().zip(next_seqs).filter(|(turn, _)| turn.events.is_empty());
    let end = |(turn, next_seq): (&StoredTurn, Option<u64>)| {
        let seq = next_seq.map_or(turn.first_seq + SKIPPED_NUMBERS, |next| next - 1);
        let event = NumberedEvent { seq, turn_id: turn.turn_id.clone(), event: TurnEvent::Failed(interrupted()) };
        TurnChange::End(TurnEnd {
            conversation_id: id.clone(),
            turn_id: turn.turn_id.clone(),
            ended_at: now,
            events: vec![event],
        })
    };
    open.map(end).collect()
}
