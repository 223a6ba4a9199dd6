//! The generator: a thread that owns the engine and steps all running turns, and the actor in front of it.
//!
//! A turn's events travel on a channel that has room for every event the turn can have (its longest answer, its places in
//! the queue, its end), so the engine thread never waits for a reader and nothing is lost. A receiver that is gone is a
//! cancel, and a turn that waits is gone at once.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message, Supervised};
use tokio::sync::mpsc;

use crate::cancel::CancelToken;
use crate::deadline::Deadline;
use crate::domain::{EngineError, ErrorCode, FinishReason, TurnError, TurnId, Usage};
use crate::health::Pulse;
use crate::ports::{Factory, Generation, GenerationEngine, PromptMessage, Sampling, Slot, SlotOutput};
use crate::prompt::{PromptParts, PromptSize, build_prompt};
use crate::queue::Rejected;
use crate::telemetry::{Measurement, Telemetry};
use crate::turn_queue::{Flow, Outlook, Place, Ticket, TurnQueue};
use crate::workers::{RestartBudget, Starting, WorkerHealth, WorkerPool, WorkerSpec};
use crate::workload::Workload;

/// An engine on its thread.
pub type BoxedEngine = Box<dyn GenerationEngine>;

/// Events of a turn that are neither tokens nor places in the queue: begun, finished or failed, and some to spare.
const OTHER_EVENTS: usize = 4;

/// Places in the queue that may be told and not read yet. A newer one is worth more than these: it waits for the next change.
const PLACES_AT_ONCE: usize = 8;

/// Turns that a batch names in the log; more are counted.
const NAMED_TURNS: usize = 16;

/// What happens to a turn in the generator. Exactly one `Finished` or `Failed` ends it; a channel that closes without one
/// means that the worker was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum GenerationEvent {
    /// It has to wait, there.
    Queued(Place),
    /// The engine took it in.
    Begun {
        /// How long it waited.
        waited: Duration,
        /// How many of the passages are in the prompt.
        passages: usize,
        /// The prompt, as the model reads it.
        read: Vec<PromptMessage>,
    },
    /// More text.
    Piece(String),
    /// The answer ended.
    Finished {
        /// Why.
        reason: FinishReason,
        /// What it used.
        usage: Usage,
    },
    /// It failed.
    Failed(TurnError),
}

/// Asks for an answer. Its result says whether it got into the queue.
#[derive(Message)]
#[rtype(result = "Result<Generating, TurnError>")]
pub struct Generate {
    /// Which turn.
    pub turn_id: TurnId,
    /// Whose, to take turns by.
    pub flow: Flow,
    /// What the prompt is made of.
    pub parts: PromptParts,
    /// Longest answer, in tokens.
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Within which evaluated tokens may be reused: the conversation.
    pub cache_scope: String,
    /// Until when the answer is wanted.
    pub deadline: Deadline,
    /// Whether it is still wanted.
    pub cancel: CancelToken,
}

/// An answer that is waited for or written. Dropping it is a cancel; a turn that still waits leaves the queue.
pub struct Generating {
    events: mpsc::Receiver<GenerationEvent>,
    _place: QueuePlace,
}

impl Generating {
    /// The next event; `None` when the worker was lost. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<GenerationEvent> {
        self.events.recv().await
    }
}

/// A turn's way out of the queue.
struct QueuePlace {
    worker: GenerationWorker,
    ticket: Ticket,
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let Some(job) = self.worker.queue.remove(self.ticket) else { return };
        job.record_cancel(self.worker.telemetry.as_ref());
        announce_places(&self.worker.queue, self.worker.telemetry.as_ref());
    }
}

struct Job {
    request: Generate,
    events: mpsc::Sender<GenerationEvent>,
    queued_at: Instant,
    /// The last place it was told.
    told: Option<usize>,
    /// How long it was first told to wait, and when.
    foreseen: Option<(Duration, Instant)>,
    span: tracing::Span,
}

impl Job {
    /// The channel has room for every event of its turn, so sending fails only when the receiver is gone.
    fn tell(&self, event: GenerationEvent) {
        drop(self.events.try_send(event));
    }

    /// Tells its place where that is news, and where there is room for more than the events that must not be lost.
    fn hear(&mut self, place: Place) {
        let is_news = self.told.is_none_or(|told| is_news(told, place.position));
        if !is_news || self.events.capacity() <= self.request.max_tokens + OTHER_EVENTS {
            return;
        }
        self.told = Some(place.position);
        if self.foreseen.is_none() {
            self.foreseen = place.wait.map(|wait| (wait, Instant::now()));
        }
        self.tell(GenerationEvent::Queued(place));
    }

    fn record_cancel(&self, telemetry: &dyn Telemetry) {
        if let Some(since) = self.request.cancel.cancelled_since() {
            telemetry.record(Measurement::Cancelled(since.elapsed()));
        }
    }

    /// Why it should not go on, if so: nobody wants it any more, or not in time.
    fn verdict(&self) -> Option<Verdict> {
        if self.request.cancel.is_cancelled() || self.events.is_closed() {
            return Some(Verdict::Cancelled);
        }
        self.request.deadline.has_passed().then_some(Verdict::Late)
    }
}

/// Whether another place is worth an event: far back, one more or less says nothing.
fn is_news(told: usize, now: usize) -> bool {
    /// Part of a place by which it must have changed.
    const TENTH: usize = 10;
    told.abs_diff(now) * TENTH >= told && told != now
}

/// Tells every waiting turn its place.
fn announce_places(queue: &TurnQueue<Job>, telemetry: &dyn Telemetry) {
    telemetry.record(Measurement::TurnQueueDepth(queue.len()));
    queue.inspect(|place, job| job.hear(place));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Cancelled,
    Late,
}

impl Verdict {
    fn event(self, usage: Usage) -> GenerationEvent {
        match self {
            Self::Cancelled => GenerationEvent::Finished { reason: FinishReason::Cancelled, usage },
            Self::Late => GenerationEvent::Failed(TurnError::deadline("while the answer was written")),
        }
    }
}

/// A handle on the generator's queue; clones share it.
#[derive(Clone)]
pub struct GenerationWorker {
    queue: Arc<TurnQueue<Job>>,
    health: Arc<WorkerHealth>,
    telemetry: Arc<dyn Telemetry>,
}

/// What an engine says of itself once it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineShape {
    /// Turns it runs at once.
    pub slots: usize,
    /// Tokens of one conversation, prompt and answer together.
    pub context_tokens: usize,
}

/// A worker whose engine is being built.
pub struct StartingGenerationWorker {
    starting: Starting<EngineShape>,
    queue: Arc<TurnQueue<Job>>,
    telemetry: Arc<dyn Telemetry>,
}

impl StartingGenerationWorker {
    /// Waits for the engine.
    ///
    /// # Errors
    /// The engine's load failure.
    pub fn ready(self) -> Result<(GenerationWorker, EngineShape, WorkerPool), EngineError> {
        let (pool, shape) = self.starting.ready()?;
        let worker = GenerationWorker { queue: self.queue, health: pool.health(), telemetry: self.telemetry };
        Ok((worker, shape, pool))
    }
}

impl GenerationWorker {
    /// Starts the engine's thread behind a queue of `queue_capacity` turns.
    ///
    /// # Errors
    /// [`EngineError::Load`] when the system refuses a thread.
    pub fn start(
        factory: &Factory<BoxedEngine>,
        queue_capacity: usize,
        budget: RestartBudget,
        telemetry: &Arc<dyn Telemetry>,
    ) -> Result<StartingGenerationWorker, EngineError> {
        let queue = Arc::new(TurnQueue::new(queue_capacity));
        let describe =
            |engine: &BoxedEngine| EngineShape { slots: engine.slots(), context_tokens: engine.context_tokens() };
        let work = {
            let (queue, telemetry) = (queue.clone(), telemetry.clone());
            move |engine: &mut BoxedEngine, pulse: &Arc<Pulse>| {
                Driver::new(&mut **engine, &queue, telemetry.as_ref(), pulse).run()
            }
        };
        let closed = queue.clone();
        let spec = WorkerSpec {
            name: "generate",
            count: 1,
            budget,
            on_down: Arc::new(move || closed.close()),
            telemetry: telemetry.clone(),
        };
        let starting = WorkerPool::start(spec, factory, describe, work)?;
        Ok(StartingGenerationWorker { starting, queue, telemetry: telemetry.clone() })
    }

    /// The state of the thread.
    #[must_use]
    pub fn health(&self) -> Arc<WorkerHealth> {
        self.health.clone()
    }

    /// What the queue foresees, for those who let turns in.
    #[must_use]
    pub fn outlook(&self) -> Arc<Outlook> {
        self.queue.outlook()
    }

    /// Takes no more turns; running ones are dropped at their next step.
    pub fn close(&self) {
        self.queue.close();
    }

    fn submit(&self, request: Generate) -> Result<Generating, TurnError> {
        if self.health.is_down() {
            return Err(TurnError::new(ErrorCode::Unavailable, "the generator is down"));
        }
        let (sender, events) = mpsc::channel(request.max_tokens + PLACES_AT_ONCE + OTHER_EVENTS);
        let (flow, work) = (request.flow.clone(), Workload::of_prompt(&request.parts, request.max_tokens));
        let span = tracing::info_span!("turn", turn_id = %request.turn_id);
        let job = Job { request, events: sender, queued_at: Instant::now(), told: None, foreseen: None, span };
        let pushed = self.queue.try_push(flow, work, job);
        announce_places(&self.queue, self.telemetry.as_ref());
        match pushed {
            Ok(ticket) => Ok(Generating { events, _place: QueuePlace { worker: self.clone(), ticket } }),
            Err(Rejected::Full(_)) => {
                let wait = self.outlook().wait().unwrap_or_default().max(Duration::from_secs(1));
                Err(TurnError::overloaded("the queue of questions", wait))
            }
            Err(Rejected::Closed(_)) => Err(TurnError::new(ErrorCode::Unavailable, "the server is shutting down")),
        }
    }
}

/// Stands in front of the generator's thread.
pub struct GeneratorActor {
    worker: GenerationWorker,
}

impl GeneratorActor {
    /// An actor in front of a running worker.
    #[must_use]
    pub fn new(worker: GenerationWorker) -> Self {
        Self { worker }
    }
}

impl Actor for GeneratorActor {
    type Context = Context<Self>;
}

/// It holds nothing that a panic could leave half-way.
impl Supervised for GeneratorActor {}

impl Handler<Generate> for GeneratorActor {
    type Result = Result<Generating, TurnError>;

    fn handle(&mut self, request: Generate, _: &mut Self::Context) -> Self::Result {
        self.worker.submit(request)
    }
}

/// A turn that has a slot.
struct Running {
    ticket: Ticket,
    job: Job,
    usage: Usage,
    /// The engine said itself what was used.
    is_counted: bool,
    last_token: Option<Instant>,
    /// Number of the first batch that it was in.
    first_batch: u64,
}

/// The engine thread's loop: admit, look for cancels and deadlines, step, pass on what came out.
struct Driver<'a> {
    engine: &'a mut dyn GenerationEngine,
    queue: &'a TurnQueue<Job>,
    telemetry: &'a dyn Telemetry,
    pulse: &'a Arc<Pulse>,
    slots: Vec<Option<Running>>,
    /// Batches so far.
    batches: u64,
}

impl<'a> Driver<'a> {
    fn new(
        engine: &'a mut dyn GenerationEngine,
        queue: &'a TurnQueue<Job>,
        telemetry: &'a dyn Telemetry,
        pulse: &'a Arc<Pulse>,
    ) -> Self {
        let slots = (0..engine.slots()).map(|_| None).collect();
        queue.serve(engine.slots());
        Self { engine, queue, telemetry, pulse, slots, batches: 0 }
    }

    /// Works until the queue is closed. An error means that the engine is lost: the thread's supervisor builds another, and
    /// the turns that were running end with the error of a lost worker.
    fn run(&mut self) -> Result<(), EngineError> {
        while !self.queue.is_closed() {
            if self.busy() == 0 {
                let Some((ticket, job)) = self.queue.pop() else { return Ok(()) };
                self.admit(ticket, job);
            }
            self.fill_free_slots();
            self.end_unwanted();
            if self.busy() > 0 {
                self.step()?;
            }
        }
        Ok(())
    }

    fn busy(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn fill_free_slots(&mut self) {
        while self.busy() < self.slots.len() {
            let Some((ticket, job)) = self.queue.try_pop() else { return };
            self.admit(ticket, job);
        }
    }

    /// Gives a turn a slot, unless it is not wanted any more or the engine refuses it.
    fn admit(&mut self, ticket: Ticket, job: Job) {
        announce_places(self.queue, self.telemetry);
        if let Some(verdict) = job.verdict() {
            self.queue.end(ticket, Usage::default(), false);
            job.record_cancel(self.telemetry);
            job.tell(verdict.event(Usage::default()));
            return;
        }
        let Some(slot) = self.slots.iter().position(Option::is_none) else {
            debug_assert!(false, "admit is called with a free slot");
            return;
        };
        match self.begin(slot, &job) {
            Ok(usage) => {
                let first_batch = self.batches + 1;
                let running = Running { ticket, job, usage, is_counted: false, last_token: None, first_batch };
                self.slots[slot] = Some(running);
            }
            Err(error) => {
                self.queue.end(ticket, Usage::default(), false);
                job.tell(GenerationEvent::Failed(refusal(&error)));
            }
        }
        self.record_slots();
    }

    fn begin(&mut self, slot: Slot, job: &Job) -> Result<Usage, EngineError> {
        let request = &job.request;
        let waited = job.queued_at.elapsed();
        let (_turn, _step) = (job.span.enter(), self.pulse.begin());
        let room_tokens = self.engine.context_tokens().saturating_sub(request.max_tokens);
        let built = build_prompt(&request.parts, room_tokens, |messages| {
            let tokens = self.engine.count_prompt_tokens(messages)?;
            Ok(PromptSize { tokens, cached: self.engine.count_cached_tokens(messages, &request.cache_scope)? })
        })?;
        let generation = Generation {
            messages: built.messages,
            max_tokens: request.max_tokens,
            sampling: request.sampling.clone(),
            stop: request.stop.clone(),
            cache_scope: request.cache_scope.clone(),
        };
        let begun = self.engine.begin(slot, &generation)?;
        self.telemetry.record(Measurement::TurnQueueWaited(waited));
        if let Some((foreseen, since)) = job.foreseen {
            self.telemetry.record(Measurement::WaitForeseen { foreseen, waited: since.elapsed() });
        }
        let read = generation.messages;
        job.tell(GenerationEvent::Begun { waited, passages: built.passages, read });
        Ok(Usage { prompt_tokens: begun.prompt_tokens, cached_tokens: begun.cached_tokens, completion_tokens: 0 })
    }

    fn end_unwanted(&mut self) {
        for slot in 0..self.slots.len() {
            let verdict = self.slots[slot].as_ref().and_then(|running| running.job.verdict());
            if let Some(verdict) = verdict {
                self.end(slot, |usage| verdict.event(usage));
            }
        }
    }

    fn step(&mut self) -> Result<(), EngineError> {
        self.batches += 1;
        let batch = self.batch_span();
        let (_batch, _step) = (batch.enter(), self.pulse.begin());
        let outputs = self.engine.step()?;
        tracing::debug!(outputs = outputs.len(), "a batch was evaluated");
        for (slot, output) in outputs {
            match output {
                SlotOutput::Prefilled => {}
                SlotOutput::Token(text) => self.pass_on(slot, text),
                SlotOutput::Finished(rest, reason) => {
                    self.pass_on_rest(slot, rest);
                    self.end(slot, |usage| GenerationEvent::Finished { reason, usage });
                }
                SlotOutput::Counted(usage) => self.correct(slot, usage),
                SlotOutput::Failed(error) => self.end(slot, |_| GenerationEvent::Failed(refusal(&error))),
            }
        }
        Ok(())
    }

    /// What is evaluated together next. Its turns and it name each other: it has their ids, and the line that ends a turn the
    /// numbers of its batches. Nothing of it is made where the log leaves it out.
    fn batch_span(&self) -> tracing::Span {
        let batch = tracing::debug_span!("batch", number = self.batches, turns = tracing::field::Empty);
        if !batch.is_disabled() {
            let running = || self.slots.iter().flatten();
            running().for_each(|running| {
                batch.follows_from(&running.job.span);
            });
            batch.record("turns", names(running().map(|running| &running.job.request.turn_id)).as_str());
        }
        batch
    }

    /// The end of an answer may bring text. Where the engine has not counted the tokens itself, it stands for one.
    fn pass_on_rest(&mut self, slot: Slot, rest: String) {
        match self.slots.get(slot).and_then(Option::as_ref) {
            Some(running) if running.is_counted && !rest.is_empty() => running.job.tell(GenerationEvent::Piece(rest)),
            Some(_) if !rest.is_empty() => self.pass_on(slot, rest),
            _ => {}
        }
    }

    fn pass_on(&mut self, slot: Slot, text: String) {
        let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        running.usage.completion_tokens += 1;
        let now = Instant::now();
        if let Some(before) = running.last_token.replace(now) {
            self.telemetry.record(Measurement::InterToken(now - before));
        }
        if !text.is_empty() {
            running.job.tell(GenerationEvent::Piece(text));
        }
    }

    fn correct(&mut self, slot: Slot, usage: Usage) {
        if let Some(running) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            running.usage = usage;
            running.is_counted = true;
        }
    }

    fn end(&mut self, slot: Slot, last: impl FnOnce(Usage) -> GenerationEvent) {
        self.engine.end(slot);
        let ended = self.slots.get_mut(slot).and_then(Option::take);
        // Before anybody can hear of the end.
        self.record_slots();
        if let Some(Running { ticket, job, usage, first_batch, .. }) = ended {
            self.telemetry.record(Measurement::TokensUsed(usage));
            job.record_cancel(self.telemetry);
            let event = last(usage);
            log_end(&job, &event, usage, first_batch, self.batches);
            self.queue.end(ticket, usage, is_whole(&event));
            job.tell(event);
        }
    }

    fn record_slots(&self) {
        self.telemetry.record(Measurement::GenerationSlots { busy: self.busy(), total: self.slots.len() });
    }
}

/// Ids of turns for the log: the first ones, and how many more there are.
fn names<'t>(mut turns: impl Iterator<Item = &'t TurnId>) -> String {
    let mut names = turns.by_ref().take(NAMED_TURNS).map(TurnId::as_str).collect::<Vec<_>>().join(" ");
    let more = turns.count();
    if more > 0 {
        // Writing to a string can't fail.
        let _written = write!(names, " and {more} more");
    }
    names
}

/// One line for each turn that had a slot, in the turn's own span.
fn log_end(job: &Job, end: &GenerationEvent, usage: Usage, first_batch: u64, last_batch: u64) {
    let _turn = job.span.enter();
    let outcome = match end {
        GenerationEvent::Finished { reason, .. } => reason.as_str(),
        GenerationEvent::Failed(error) => error.code.as_str(),
        // Neither ends a turn.
        GenerationEvent::Queued(_) | GenerationEvent::Begun { .. } | GenerationEvent::Piece(_) => return,
    };
    let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
    // Cancelled before its first batch, it was in none.
    let steps = (last_batch + 1).saturating_sub(first_batch);
    let rows = prompt_tokens.saturating_sub(cached_tokens) + completion_tokens;
    tracing::info!(
        outcome,
        first_batch,
        steps,
        rows,
        prompt_tokens,
        cached_tokens,
        completion_tokens,
        "a turn's answer ended"
    );
}

/// Whether a turn that ends so was answered to its end.
fn is_whole(end: &GenerationEvent) -> bool {
    matches!(end, GenerationEvent::Finished { reason: FinishReason::Stop | FinishReason::Length, .. })
}

fn refusal(error: &EngineError) -> TurnError {
    match error {
        EngineError::TooLarge(reason) => TurnError::new(ErrorCode::TooLarge, reason.clone()),
        EngineError::Rejected(reason) => TurnError::new(ErrorCode::InvalidRequest, reason.clone()),
        other => {
            tracing::error!(error = %other, "generation failed");
            TurnError::new(ErrorCode::Unavailable, "the answer could not be generated, try again")
                .retry_after(Duration::from_secs(1))
        }
    }
}
